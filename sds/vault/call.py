"""One request to Vault, checked before anything is sent. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from ca.masked import Masked
from sds.vault.errors import VaultRefused

METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "LIST"})
MAX_PATH = 2048  # characters
_IDEMPOTENT = frozenset({"GET", "LIST", "PUT", "DELETE"})
"""Sent twice they do what they do once. PUT is what Vault takes for POST, but only we choose where it is used."""
_UNRESERVED = "/-._~!$&'()*+,;=:@"  # RFC 3986 section 3.3: what a path may hold as it is
_SHORTEST_SECRET = 4
_OPERATIONS = (
    "data", "metadata", "detailed-metadata", "delete", "undelete", "destroy", "creds", "static-creds", "roles",
    "config", "issue", "sign", "sign-verbatim", "root", "issuer", "cert", "ca", "crl", "revoke", "keys", "encrypt",
    "decrypt", "rewrap", "datakey", "verify", "hmac", "hash", "random", "subscribe",
)  # fmt: skip
OPERATIONS = ("login", "token", "sys", *_OPERATIONS, "other")
"""What a request is about, without where an engine is mounted."""


@dataclass(frozen=True, slots=True)
class Call:
    """`path` is quoted, and lacks "/v1/". `secrets`: what must not be seen in an error, should Vault repeat it."""

    method: str
    path: str
    body: bytes | None = field(default=None, repr=False)
    params: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    operation: str = "other"
    namespaced: bool = True

    @property
    def idempotent(self) -> bool:
        return self.method in _IDEMPOTENT


def make_call(
    method: str, path: str, body: Mapping[str, Any] | None = None, params: Mapping[str, str] | None = None
) -> Call:
    """Check and encode a request. Values of `body` may be masked. Raises VaultRefused."""
    if method not in METHODS:
        raise VaultRefused("this is no method that Vault knows")
    segments = _segments(path)
    secrets = tuple(_secrets(body)) if body else ()
    try:
        encoded = None if body is None else json.dumps(body, allow_nan=False, default=_reveal).encode()
    except (TypeError, ValueError):
        raise VaultRefused("the request holds what JSON cannot say") from None
    quoted = quote("/".join(segments), safe=_UNRESERVED)
    return Call(method, quoted, encoded, dict(params or {}), secrets, operation_of(segments))


def operation_of(segments: list[str]) -> str:
    """One of OPERATIONS."""
    if segments[0] == "auth":
        return "token" if segments[1:2] == ["token"] else "login"
    if segments[0] in {"sys", "identity", "cubbyhole"}:
        return "sys" if segments[0] == "sys" else "other"
    return next((segment for segment in segments[1:] if segment in _OPERATIONS), "other")


def _segments(path: str) -> list[str]:
    """A path could climb out of what it was meant for: HTTP libraries resolve "..", and "?" would end it."""
    if not 0 < len(path) <= MAX_PATH:
        raise VaultRefused(f"a path in Vault has 1 to {MAX_PATH} characters")
    segments = path.removesuffix("/").split("/")
    if any(segment in {"", ".", ".."} for segment in segments):
        raise VaultRefused('a path in Vault has no empty segment, "." or ".."')
    if not path.isprintable():
        raise VaultRefused("a path in Vault has no control characters")
    return segments


def _reveal(value: object) -> str:
    if isinstance(value, Masked):
        secret = value.reveal()
        return secret if isinstance(secret, str) else secret.decode()
    raise TypeError


def _secrets(value: object, name: str = "") -> Iterator[str]:
    """Every text in a request may be secret, but for the name of a role, which is what errors are about."""
    if isinstance(value, Masked):
        yield _reveal(value)
    elif isinstance(value, str):
        if len(value) >= _SHORTEST_SECRET and name not in {"role", "name"}:
            yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _secrets(item, str(key))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _secrets(item)
