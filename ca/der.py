"""Writes the few DER forms (ITU-T X.690) that a certificate's frame is made of.

Names and extension values are encoded by `cryptography`; reading is left to its strict parser altogether.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

from cryptography import x509

INTEGER, BIT_STRING, OCTET_STRING, OBJECT_IDENTIFIER, UTC_TIME, GENERALIZED_TIME = 0x02, 0x03, 0x04, 0x06, 0x17, 0x18
SEQUENCE = 0x30
VERSION, EXTENSIONS = 0xA0, 0xA3
"""TBSCertificate's explicit tags [0] and [3] (RFC 5280 section 4.1)."""

TRUE = b"\x01\x01\xff"
_FIRST_GENERALIZED_YEAR = 2050  # RFC 5280 section 4.1.2.5; two digits say 1950 to 2049
_FIRST_UTC_YEAR = 1950
_MAX_LENGTH = 0xFFFFFF


@lru_cache(1024)
def header(tag: int, length: int) -> bytes:
    """Tag and length octets, the length in as few octets as it takes (X.690 10.1). Raises ValueError above 16 MiB."""
    if length < 0x80:
        return bytes((tag, length))
    if length < 0x100:
        return bytes((tag, 0x81, length))
    if length < 0x10000:
        return bytes((tag, 0x82, length >> 8, length & 0xFF))
    if length <= _MAX_LENGTH:
        return bytes((tag, 0x83)) + length.to_bytes(3, "big")
    raise ValueError(f"{length} bytes are more than a certificate is made of")


def tlv(tag: int, *content: bytes) -> bytes:
    """One element around `content`."""
    body = b"".join(content)
    return header(tag, len(body)) + body


def integer(value: int) -> bytes:
    """An INTEGER that is not negative: as few octets as it takes, the first bit clear (X.690 8.3)."""
    length = value.bit_length() // 8 + 1
    return header(INTEGER, length) + value.to_bytes(length, "big")


def oid(dotted: str) -> bytes:
    """An OBJECT IDENTIFIER (X.690 8.19)."""
    first, second, *rest = map(int, dotted.split("."))
    body = bytearray()
    for arc in (first * 40 + second, *rest):
        digits = [arc & 0x7F]
        while arc := arc >> 7:
            digits.append(arc & 0x7F | 0x80)
        body += bytes(reversed(digits))
    return tlv(OBJECT_IDENTIFIER, bytes(body))


def extension(value: x509.ExtensionType, *, critical: bool = False) -> bytes:
    """An Extension (RFC 5280 section 4.1): what is not critical says so by saying nothing."""
    flag = TRUE if critical else b""
    return tlv(SEQUENCE, oid(value.oid.dotted_string), flag, tlv(OCTET_STRING, value.public_bytes()))


def time(moment: datetime) -> bytes:
    """A Time by RFC 5280 section 4.1.2.5: UTCTime through 2049, GeneralizedTime from 2050; fractions are cut off.

    Raises ValueError before 1950, when neither form exists, and for a time without a zone.
    """
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    utc = moment.astimezone(UTC)
    if utc.year < _FIRST_UTC_YEAR:
        raise ValueError("a certificate's times start in 1950")
    if utc.year < _FIRST_GENERALIZED_YEAR:
        return tlv(UTC_TIME, b"%02d%02d%02d%02d%02d%02dZ" % (utc.year % 100, *utc.timetuple()[1:6]))
    return generalized_time(utc)


def generalized_time(moment: datetime) -> bytes:
    """A GeneralizedTime by RFC 5280 section 4.1.2.5.2; fractions are cut off. `moment` has a zone."""
    return tlv(GENERALIZED_TIME, b"%04d%02d%02d%02d%02d%02dZ" % moment.astimezone(UTC).timetuple()[:6])
