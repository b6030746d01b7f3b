"""Leased credentials: what is known of each lease, and what is due. Pure."""
