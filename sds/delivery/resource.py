"""One secret as a sidecar sees it: a name, a version that is a digest of the content, and the content. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256

from ca.masked import Masked

VERSION_HEX_DIGITS = 32
"""128 bits of the digest: enough to never meet twice, short enough to read."""


@dataclass(frozen=True, slots=True, eq=False)
class TlsCertificate:
    """A certificate chain (leaf first) and its private key, both PEM; `serial` is hex, `not_after` aware UTC.

    `ocsp_staple`: an OCSP answer about the leaf (DER) for clients that want one; empty where nobody asked for that.
    """

    chain_pem: bytes = field(repr=False)
    private_key_pem: Masked[bytes] = field(repr=False)
    serial: str
    not_after: datetime
    ocsp_staple: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class TrustedCa:
    """A plain validation context: the CA certificates to trust, PEM, whatever the SPIFFE ID of the peer.

    `crl_pem`: no CRL at all, or one of each of these authorities that issues; with some of them alone Envoy would turn
    away every leaf of the others.
    """

    pem: bytes = field(repr=False)
    crl_pem: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class SpiffeValidator:
    """Envoy's SPIFFE validator: each trust domain's name with the PEM that alone may vouch for it."""

    bundles: tuple[tuple[str, bytes], ...] = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class TicketKeys:
    """TLS session-ticket keys of 80 bytes each; the first encrypts, all decrypt."""

    keys: tuple[Masked[bytes], ...] = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class GenericSecret:
    """A named secret's values; one under the empty key is Envoy's `secret`, the others its `secrets` map.

    `revision` is the version at the secret's source and must change with the values. The version shown to clients and
    logs is made from it and never from the values: a digest of a short password could be guessed from.
    """

    values: tuple[tuple[str, Masked[bytes]], ...] = field(repr=False)
    revision: str


Content = TlsCertificate | TrustedCa | SpiffeValidator | TicketKeys | GenericSecret


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Resource:
    """A named, versioned secret. Build it with `make_resource`.

    `version` is what clients and reports see. `digest` covers every byte of the content, stays inside the process and
    tells whether two resources may share one encoding. `sequence` is that of our own trust domain's bundle, where the
    content was made from it, else 0. It is no part of the content: under a newer sequence that may be the same.
    """

    name: str
    version: str
    content: Content
    digest: bytes = field(repr=False)
    sequence: int = 0

    def renamed(self, name: str) -> Resource:
        """The same content, version, digest and sequence under another name."""
        return Resource(name, self.version, self.content, self.digest, self.sequence)

    @property
    def serial(self) -> str:
        """Hex serial of the leaf, or empty where the content is no certificate."""
        return self.content.serial if isinstance(self.content, TlsCertificate) else ""


def make_resource(name: str, content: Content, sequence: int = 0) -> Resource:
    """Digest `content` once and name it."""
    digest = _digest(_parts(content))
    shown = digest
    if isinstance(content, GenericSecret):
        shown = _digest(iter((b"generic-revision", content.revision.encode())))
    return Resource(name, shown.hex()[:VERSION_HEX_DIGITS], content, digest, sequence)


def _digest(parts: Iterator[bytes]) -> bytes:
    """SHA-256 over length-prefixed parts, so that no two lists of parts run together."""
    total = sha256()
    for part in parts:
        total.update(len(part).to_bytes(8, "big"))
        total.update(part)
    return total.digest()


def _parts(content: Content) -> Iterator[bytes]:
    """Everything the client would be sent, with the kind first."""
    match content:
        case TlsCertificate():
            yield from (b"tls-certificate", content.chain_pem, content.private_key_pem.reveal())
            if content.ocsp_staple:
                yield content.ocsp_staple
        case TrustedCa():
            yield from (b"trusted-ca", content.pem)
            if content.crl_pem:
                yield content.crl_pem
        case SpiffeValidator():
            yield b"spiffe-validator"
            for trust_domain, pem in content.bundles:
                yield from (trust_domain.encode(), pem)
        case TicketKeys():
            yield b"ticket-keys"
            yield from (key.reveal() for key in content.keys)
        case GenericSecret():
            yield from (b"generic-secret", content.revision.encode())
            for key, value in content.values:
                yield from (key.encode(), value.reveal())
