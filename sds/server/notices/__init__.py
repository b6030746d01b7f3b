"""Notices at work: looks at what stands, keeps what is told on record, and sends it."""
