"""Notices, and what they are made of."""
