"""Tells the audit log to its sinks: in order, at least once, and never in the way of what the server is there for."""
