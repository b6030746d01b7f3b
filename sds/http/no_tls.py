"""For HTTP clients on Unix sockets, which speak no TLS."""

from __future__ import annotations

import ssl

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""A context that trusts nobody. httpx would otherwise load all public roots for each client, which takes 30 ms."""
