"""Notices: when, to whom and how."""
