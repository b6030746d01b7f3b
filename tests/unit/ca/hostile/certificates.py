"""Certificates that no honest issuer makes, octet by octet.

Each generator changes one thing of a sound certificate and signs the result properly, so that a refusal can only be for
that thing. Where the fault is in the signature itself, everything else is sound.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from ca.keys import KeyType, PrivateKey, generate, spki_der
from tests.fakes.clock import EPOCH
from tests.unit.ca import der

AUTHORITY = "spiffe://example.org"
WEB = "spiffe://example.org/web"
KEY_USAGE, EXTENDED_KEY_USAGE, NAME_CONSTRAINTS = "2.5.29.15", "2.5.29.37", "2.5.29.30"
SUBJECT_KEY_ID, AUTHORITY_KEY_ID = "2.5.29.14", "2.5.29.35"
UNKNOWN = "1.3.6.1.4.1.99999.1"
URI, DNS, DIRECTORY, OTHER = 0x86, 0x82, 0xA4, 0xA0


def name(common_name: str) -> bytes:
    attribute = der.tlv(der.SEQUENCE, der.oid("2.5.4.3"), der.tlv(der.UTF8, common_name.encode()))
    return der.tlv(der.SEQUENCE, der.tlv(der.SET, attribute))


def names(*content: bytes) -> bytes:
    return der.extension(der.SUBJECT_ALT_NAME, der.tlv(der.SEQUENCE, *content))


def uri(text: str | bytes) -> bytes:
    return der.tlv(URI, text.encode() if isinstance(text, str) else text)


def key_usage(bits: int, unused: int = 0, *, critical: bool = True) -> bytes:
    """`bits` from the left: 0x80 digital signature, 0x04 certificate signing, 0x02 CRL signing."""
    return der.extension(KEY_USAGE, der.tlv(der.BIT_STRING, bytes((unused, bits))), critical=critical)


def constraints(*, ca: bool, path_length: int | None = None, critical: bool = True) -> bytes:
    content = (der.tlv(1, b"\xff"),) if ca else ()
    length = () if path_length is None else (der.integer(path_length),)
    return der.extension(der.BASIC_CONSTRAINTS, der.tlv(der.SEQUENCE, *content, *length), critical=critical)


def purposes(*dotted: str) -> bytes:
    return der.extension(EXTENDED_KEY_USAGE, der.tlv(der.SEQUENCE, *map(der.oid, dotted)))


TLS = purposes("1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2")


def identifier(key: PrivateKey) -> bytes:
    return der.tlv(der.OCTET_STRING, spki_der(key.public_key())[-20:])


@dataclass(frozen=True)
class Parts:
    """A certificate before its signature, each part of which a test may replace."""

    subject: bytes = name("web")
    issuer: bytes = name("root")
    serial: bytes = der.integer(5)
    version: int = 2
    spki: bytes = b""
    extensions: Sequence[bytes] = ()
    start: datetime = EPOCH - timedelta(hours=1)
    end: datetime = EPOCH + timedelta(hours=1)

    def signed(self, key: PrivateKey, *, algorithm: bytes = b"", inner: bytes = b"") -> bytes:
        """By `key`; `algorithm` and `inner` are what is said of the signature, outside and inside."""
        said = der.algorithm(key)
        validity = der.tlv(der.SEQUENCE, _time(self.start), _time(self.end))
        version = der.tlv(der.CONTEXT_0, der.integer(self.version)) if self.version else b""
        extensions = der.tlv(0xA3, der.tlv(der.SEQUENCE, *self.extensions)) if self.extensions else b""
        parts = (version, self.serial, inner or said, self.issuer, validity, self.subject, self.spki, extensions)
        unsigned = der.tlv(der.SEQUENCE, *parts)
        return der.tlv(der.SEQUENCE, unsigned, algorithm or said, der.bits(der.sign(key, unsigned)))


def _time(moment: datetime) -> bytes:
    return der.tlv(0x17, moment.astimezone(UTC).strftime("%y%m%d%H%M%SZ").encode())


@dataclass(frozen=True)
class Party:
    """A key with its certificate."""

    key: PrivateKey = field(default_factory=lambda: generate(KeyType.ECDSA_P256))

    def key_id(self) -> bytes:
        return der.extension(SUBJECT_KEY_ID, identifier(self.key))

    def issuer_id(self) -> bytes:
        return der.extension(AUTHORITY_KEY_ID, der.tlv(der.SEQUENCE, der.tlv(0x80, identifier(self.key)[2:])))

    @property
    def spki(self) -> bytes:
        return spki_der(self.key.public_key())


ROOT, MIDDLE, LEAF = Party(), Party(), Party()
"""Three keys for all tests: of an authority, of one below it, of a workload."""


def root(*more: bytes, **changes: object) -> bytes:
    """A sound authority, self-signed, with these changes; `more` are further extensions."""
    extensions = (constraints(ca=True), key_usage(0x06, 1), ROOT.key_id(), names(uri(AUTHORITY)), *more)
    parts = Parts(subject=name("root"), spki=ROOT.spki, extensions=extensions)
    return replace(parts, **changes).signed(ROOT.key)  # type: ignore[arg-type]


def middle(*more: bytes, path_length: int | None = None, basic: bytes = b"", **changes: object) -> bytes:
    """A sound intermediate below `root`."""
    first = basic or constraints(ca=True, path_length=path_length)
    extensions = (first, key_usage(0x06, 1), MIDDLE.key_id(), ROOT.issuer_id(), names(uri(AUTHORITY)), *more)
    parts = Parts(subject=name("middle"), spki=MIDDLE.spki, extensions=extensions)
    return replace(parts, **changes).signed(ROOT.key)  # type: ignore[arg-type]


LEAF_EXTENSIONS: dict[str, bytes] = {
    "constraints": constraints(ca=False),
    "usage": key_usage(0x80, 7),
    "purposes": TLS,
    "key_id": LEAF.key_id(),
    "names": names(uri(WEB)),
}


def leaf(*more: bytes, issuer: Party = ROOT, under: str = "root", **changes: object) -> bytes:
    """A sound leaf below `root`. A change named as an extension replaces that; others are of `Parts`."""
    extensions = dict(LEAF_EXTENSIONS)
    for key in set(changes) & set(extensions):
        extensions[key] = changes.pop(key)  # type: ignore[assignment]
    kept = [extension for extension in extensions.values() if extension]
    parts = Parts(issuer=name(under), spki=LEAF.spki, extensions=(*kept, issuer.issuer_id(), *more))
    return replace(parts, **changes).signed(issuer.key)  # type: ignore[arg-type]


Make = Callable[[], bytes]
