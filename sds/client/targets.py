"""Where the admin API is, and as whom it is called."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from attestation.spiffe_id import SpiffeId
from ca.masked import Masked
from sds.client.errors import Unusable

MAX_TOKEN = 64 * 1024
"""Bytes of a bearer token: what the server reads of one."""
_SCHEME = "https://"


class Credential(Protocol):
    """What is sent as ``Authorization: Bearer`` (RFC 6750 section 2.1) with each call."""

    def bearer(self) -> Masked[str]:
        """Raises Unusable."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Token:
    """An API token, or an OIDC token that somebody else keeps fresh."""

    value: Masked[str]

    def bearer(self) -> Masked[str]:
        return _checked(self.value.reveal(), "the token")


@dataclass(frozen=True, slots=True)
class TokenFile:
    """A token in a file, read anew for each call: whoever rotates it writes the file."""

    path: Path

    def bearer(self) -> Masked[str]:
        try:
            with self.path.open("rb") as stream:
                content = stream.read(MAX_TOKEN + 1)
        except OSError as error:
            raise Unusable(f"the token file {self.path} cannot be read: {error.strerror}") from None
        try:
            return _checked(content.decode("ascii").strip(), f"the token file {self.path}")
        except UnicodeDecodeError:
            raise Unusable(f"the token file {self.path} holds no token") from None


def _checked(token: str, what: str) -> Masked[str]:
    """Refuses what would not stay within its header."""
    if not token or len(token) > MAX_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise Unusable(f"{what} holds no token")
    return Masked(token)


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """An X.509-SVID and its key, PEM, by which the caller proves itself (mTLS).

    The files are looked at before each call: an SVID that was renewed is used from the next one on.
    """

    certificate_file: Path
    key_file: Path


@dataclass(frozen=True, slots=True)
class UnixSocket:
    """The admin socket of a server or an agent; the kernel says who calls."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class Https:
    """The admin API over TLS.

    `ca_file`: PEM certificates that the server's must chain to; None: those of this system. `server_name`: the DNS
    name that its certificate must have, if that is not the URL's. `server_id`: the SPIFFE ID that it must have instead
    of any name; then `ca_file` has to be its trust domain's bundle.
    """

    url: str
    ca_file: Path | None = None
    credential: Credential | None = field(default=None, repr=False)
    certificate: ClientCertificate | None = None
    server_name: str | None = None
    server_id: SpiffeId | None = None

    def __post_init__(self) -> None:
        """Raises Unusable for a URL that is none, carries a password, or would send a token in clear."""
        if self.server_id is not None and self.ca_file is None:
            raise Unusable("a server that is told by its SPIFFE ID needs the bundle of its trust domain (ca_file)")
        try:
            parts = urlsplit(self.url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            raise Unusable("the URL of the admin API cannot be read") from None
        if "@" in parts.netloc:
            raise Unusable("the URL of the admin API must not hold a user or a password")
        if parts.scheme != "https":
            raise Unusable("the URL of the admin API must begin with https://: a token would be sent in clear")
        if not host or not self.url.isprintable() or " " in self.url:
            raise Unusable("the URL of the admin API names no host")
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise Unusable("the URL of the admin API ends after its host and port")

    @property
    def base_url(self) -> str:
        return self.url.rstrip("/")

    def __str__(self) -> str:
        return self.base_url


Target = UnixSocket | Https
