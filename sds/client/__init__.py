"""A typed client of the admin API: ``Client(UnixSocket(path))`` or ``Client(Https(url, ...))``; see docs/client.md.

What it returns is in the module of its noun, e.g. `sds.client.entries.Entry`.
"""

from __future__ import annotations

from sds.client.client import Client
from sds.client.errors import ClientError
from sds.client.targets import ClientCertificate, Credential, Https, Target, Token, TokenFile, UnixSocket
from sds.client.transport.connection import Call
from sds.client.transport.retry import NEVER, Retry

__all__ = [
    "NEVER",
    "Call",
    "Client",
    "ClientCertificate",
    "ClientError",
    "Credential",
    "Https",
    "Retry",
    "Target",
    "Token",
    "TokenFile",
    "UnixSocket",
]
