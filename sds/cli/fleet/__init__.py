"""Choosing and exporting agents and what their sidecars hold."""
