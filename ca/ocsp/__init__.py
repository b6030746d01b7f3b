"""The Online Certificate Status Protocol (RFC 6960): reads requests, writes answers and what certifies their key."""
