"""The server's engine of secrets: who may have what, values in memory while they are wanted, and their sources."""
