"""What sinks of the audit log are sent, byte for byte. No I/O here."""
