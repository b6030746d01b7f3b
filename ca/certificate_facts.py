"""What an unverified certificate says of itself: enough to find it among those that were issued here. Pure.

Only the parts that are asked for are read, so that nothing else in it can make this fail; nothing is verified.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from hashlib import sha256

from ca.der_reader import DerReader, InvalidDer
from ca.serial import serial_hex

_SEQUENCE, _OCTETS, _OID, _VERSION, _EXTENSIONS, _KEY_ID = 0x30, 0x04, 0x06, 0xA0, 0xA3, 0x80
_BOOLEAN = 0x01
_AUTHORITY_KEY_ID = bytes((0x55, 0x1D, 0x23))  # 2.5.29.35
_MAX_SERIAL_OCTETS = 32
_PEM = re.compile(
    r"-----BEGIN (?:X509 )?CERTIFICATE-----([A-Za-z0-9+/=\s]*)-----END (?:X509 )?CERTIFICATE-----", re.ASCII
)
_PRIVATE = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----", re.ASCII)


class InvalidPaste(ValueError):
    """The text holds no certificates, or not such as can be read. The message never repeats it."""


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """`serial` and `key_hash` (SHA-256 of the SubjectPublicKeyInfo) are hex as in `ca.intent`. `issuer_key_id`, hex: of
    whom it says that they signed it; "" if it says nothing.
    """

    serial: str
    key_hash: str
    issuer_key_id: str


def read_pem(text: str, most: int) -> tuple[CertificateFacts, ...]:
    """Each certificate in `text`, in its order; what stands around them (as tools print it) is passed over.

    Raises InvalidPaste, also for more than `most` and for a text with a private key.
    """
    if _PRIVATE.search(text):
        raise InvalidPaste("holds a private key: count it as disclosed, and paste certificates only")
    found = []
    for number, match in enumerate(_PEM.finditer(text)):
        if number >= most:
            raise InvalidPaste(f"holds more than {most} certificates")
        try:
            found.append(facts_of(base64.b64decode("".join(match[1].split()), validate=True)))
        except (binascii.Error, InvalidDer):
            raise InvalidPaste(f"certificate {number + 1} in it cannot be read") from None
    if not found:
        raise InvalidPaste("holds no certificate in PEM: -----BEGIN CERTIFICATE-----")
    return tuple(found)


def facts_of(unverified_der: bytes) -> CertificateFacts:
    """Raises InvalidDer for what is no certificate (RFC 5280 section 4.1)."""
    whole = DerReader(unverified_der)
    certificate = whole.inside(_SEQUENCE)
    whole.end()
    body = certificate.inside(_SEQUENCE)
    if body.tag == _VERSION:
        body.skip()
    serial = body.integer()
    if serial < 0 or serial.bit_length() > 8 * _MAX_SERIAL_OCTETS:
        raise InvalidDer("a serial number is negative, or too long")
    for _ in ("signature", "issuer", "validity", "subject"):
        body.content(_SEQUENCE)
    key = body.raw(_SEQUENCE)
    while body.tag is not None and body.tag != _EXTENSIONS:  # unique IDs, which nobody has
        body.skip()
    issuer = "" if body.tag is None else _issuer_key_id(body.inside(_EXTENSIONS).inside(_SEQUENCE))
    return CertificateFacts(serial_hex(serial), sha256(key).hexdigest(), issuer)


def _issuer_key_id(extensions: DerReader) -> str:
    while extensions.tag is not None:
        extension = extensions.inside(_SEQUENCE)
        if extension.content(_OID) != _AUTHORITY_KEY_ID:
            continue
        if extension.tag == _BOOLEAN:
            extension.skip()
        value = DerReader(extension.content(_OCTETS)).inside(_SEQUENCE)
        return value.content(_KEY_ID).hex() if value.tag == _KEY_ID else ""
    return ""
