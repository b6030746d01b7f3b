"""HTTP for administrators and probes: a Unix socket that knows its peers, and the operational routes."""
