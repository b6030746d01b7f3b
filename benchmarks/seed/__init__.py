"""Fills a server's database as a company that has used it for long does: people, fleets, certificates, an audit log."""
