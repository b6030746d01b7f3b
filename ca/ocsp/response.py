"""OCSP answers (RFC 6960 section 4.2), signed by a responder whose certificate the authority in question has issued.

The library writes answers about one certificate only. Tests hold those about one against what it makes of the same
facts, byte by byte.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ca import der
from ca.der_reader import DerReader
from ca.ocsp.request import CertId, cert_id
from ca.revocation import Reason, Revoked
from ca.signer import Signer, signature_algorithm

HASHES = ("sha1", "sha256", "sha384", "sha512")

_BASIC = der.oid("1.3.6.1.5.5.7.48.1.1")
_NONCE = der.oid("1.3.6.1.5.5.7.48.1.2")
_ENUMERATED = 0x0A
_EXPLICIT_0, _EXPLICIT_1, _BY_KEY = 0xA0, 0xA1, 0xA2
_GOOD, _UNKNOWN = b"\x80\x00", b"\x82\x00"


class Refusal(Enum):
    """Answers that are not signed (RFC 6960 section 4.2.1, OCSPResponseStatus)."""

    MALFORMED_REQUEST = 1
    INTERNAL_ERROR = 2
    TRY_LATER = 3
    UNAUTHORIZED = 6
    """This responder knows nothing about the issuers that are asked for (RFC 5019 section 2.2.3)."""

    @property
    def der(self) -> bytes:
        return der.tlv(der.SEQUENCE, der.tlv(_ENUMERATED, bytes((self.value,))))


class Known(Enum):
    """What is said of a certificate that is not revoked."""

    GOOD = "good"
    """This authority issued it, and it is not revoked. Whether it has expired is the asker's to see."""
    UNKNOWN = "unknown"
    """This authority knows of no such certificate."""


Status = Known | Revoked


@dataclass(frozen=True, slots=True)
class IssuerHashes:
    """How requests name an authority: hashes of its name and of its key, by the hash's name."""

    authority_id: str
    hashes: Mapping[str, tuple[bytes, bytes]] = field(repr=False)

    @classmethod
    def of(cls, authority_id: str, subject: bytes, public_key: bytes) -> IssuerHashes:
        """`subject` is the DER name, `public_key` the SubjectPublicKeyInfo whose bits are hashed (4.1.1)."""
        bits = key_bits(public_key)
        return cls(authority_id, {name: (_hash(name, subject), _hash(name, bits)) for name in HASHES})

    @classmethod
    def of_certificate(cls, authority_id: str, der: bytes) -> IssuerHashes:
        """Of the authority that this certificate is. Raises ValueError."""
        found = x509.load_der_x509_certificate(der)
        spki = found.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return cls.of(authority_id, found.subject.public_bytes(), spki)

    def cert_id(self, serial: str) -> CertId:
        """How answers name a certificate of this authority."""
        return cert_id(*self.hashes["sha1"], serial)

    def issued(self, asked: CertId) -> bool:
        """Whether the request means a certificate of this authority."""
        return self.hashes.get(asked.algorithm) == (asked.name_hash, asked.key_hash)


@dataclass(frozen=True, slots=True)
class Responder:
    """A key that answers for one authority: `certificate` (DER) says so. Both are good until `not_after`."""

    authority_id: str
    certificate: bytes = field(repr=False)
    signer: Signer
    key_hash: bytes
    """SHA-1 over the key's bits, by which an answer names its responder (RFC 6960 section 4.2.1, KeyHash)."""
    not_before: datetime
    not_after: datetime


def respond(
    responder: Responder,
    statuses: Sequence[tuple[CertId, Status]],
    *,
    nonce: bytes | None,
    now: datetime,
    next_update: datetime,
) -> bytes:
    """A successful OCSPResponse, DER, true from `now` until `next_update`. Raises AuthorityUnavailable.

    The responder's own certificate comes with it; it is all that a client that knows the authority lacks.
    """
    produced = der.generalized_time(now)
    until = der.tlv(_EXPLICIT_0, der.generalized_time(next_update))
    singles = (der.tlv(der.SEQUENCE, asked.der, _status(status), produced, until) for asked, status in statuses)
    extensions = b""
    if nonce is not None:
        extension = der.tlv(der.SEQUENCE, _NONCE, der.tlv(der.OCTET_STRING, nonce))
        extensions = der.tlv(_EXPLICIT_1, der.tlv(der.SEQUENCE, extension))
    unsigned = der.tlv(
        der.SEQUENCE,
        der.tlv(_BY_KEY, der.tlv(der.OCTET_STRING, responder.key_hash)),
        produced,
        der.tlv(der.SEQUENCE, *singles),
        extensions,
    )
    (signature,) = responder.signer.sign([unsigned])
    algorithm = signature_algorithm(responder.signer.public_key)
    certificates = der.tlv(_EXPLICIT_0, der.tlv(der.SEQUENCE, responder.certificate))
    basic = der.tlv(der.SEQUENCE, unsigned, algorithm, der.tlv(der.BIT_STRING, b"\0", signature), certificates)
    inner = der.tlv(der.SEQUENCE, _BASIC, der.tlv(der.OCTET_STRING, basic))
    return der.tlv(der.SEQUENCE, der.tlv(_ENUMERATED, b"\0"), der.tlv(_EXPLICIT_0, inner))


def key_bits(public_key: bytes) -> bytes:
    """The bits of a SubjectPublicKeyInfo's key, without tag, length and number of unused bits. Raises InvalidDer."""
    spki = DerReader(public_key).inside(der.SEQUENCE)
    spki.skip()
    return spki.content(der.BIT_STRING)[1:]


def sha1_key_hash(public_key: bytes) -> bytes:
    """The KeyHash of RFC 6960 section 4.2.1: a name, not a proof."""
    return _hash("sha1", key_bits(public_key))


def _hash(name: str, data: bytes) -> bytes:
    return hashlib.new(name, data, usedforsecurity=False).digest()


def _status(status: Status) -> bytes:
    """CertStatus (4.2.1): good and unknown are NULLs, revoked says since when and, unless unspecified, why."""
    if isinstance(status, Known):
        return _GOOD if status is Known.GOOD else _UNKNOWN
    reason = b""
    if status.reason is not Reason.UNSPECIFIED:
        reason = der.tlv(_EXPLICIT_0, x509.CRLReason(status.reason.flag).public_bytes())
    return der.tlv(_EXPLICIT_1, der.generalized_time(status.revoked_at), reason)
