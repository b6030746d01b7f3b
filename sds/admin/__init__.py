"""The admin API: REST over a Unix socket, for the security team and for the CLI."""
