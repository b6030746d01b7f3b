"""A DER writer small enough to make anything wrong with it on purpose."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from ca.keys import PrivateKey, signature_hash, spki_der

INTEGER, BIT_STRING, OCTET_STRING, NULL, OID, UTF8, SEQUENCE, SET, IA5 = 2, 3, 4, 5, 6, 12, 0x30, 0x31, 22
CONTEXT_0 = 0xA0

ECDSA_SHA256 = "1.2.840.10045.4.3.2"
ECDSA_SHA384 = "1.2.840.10045.4.3.3"
RSA_SHA256 = "1.2.840.113549.1.1.11"
ED25519 = "1.3.101.112"
RSA = "1.2.840.113549.1.1.1"
EC = "1.2.840.10045.2.1"
EXTENSION_REQUEST = "1.2.840.113549.1.9.14"
SUBJECT_ALT_NAME = "2.5.29.17"
BASIC_CONSTRAINTS = "2.5.29.19"


def tlv(tag: int, *content: bytes) -> bytes:
    body = b"".join(content)
    if len(body) < 128:
        return bytes([tag, len(body)]) + body
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + body


def integer(value: int) -> bytes:
    return tlv(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def oid(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    out = bytearray()
    for arc in (first * 40 + second, *rest):
        digits = [arc & 0x7F]
        while arc := arc >> 7:
            digits.append(arc & 0x7F | 0x80)
        out += bytes(reversed(digits))
    return tlv(OID, bytes(out))


def bits(data: bytes) -> bytes:
    return tlv(BIT_STRING, b"\0", data)


def rsa_spki(n: int, e: int) -> bytes:
    return tlv(SEQUENCE, tlv(SEQUENCE, oid(RSA), tlv(NULL)), bits(tlv(SEQUENCE, integer(n), integer(e))))


def ec_spki(parameters: bytes, point: bytes) -> bytes:
    return tlv(SEQUENCE, tlv(SEQUENCE, oid(EC), parameters), bits(point))


def ed25519_spki(raw: bytes) -> bytes:
    return tlv(SEQUENCE, tlv(SEQUENCE, oid(ED25519)), bits(raw))


def extension(dotted: str, value: bytes, *, critical: bool = False) -> bytes:
    flag = tlv(1, b"\xff") if critical else b""
    return tlv(SEQUENCE, oid(dotted), flag, tlv(OCTET_STRING, value))


def extension_request(*extensions: bytes) -> bytes:
    """The attribute in which a CSR asks for extensions."""
    return tlv(SEQUENCE, oid(EXTENSION_REQUEST), tlv(SET, tlv(SEQUENCE, *extensions)))


def request_info(spki: bytes, *attributes: bytes, subject: bytes = tlv(SEQUENCE), version: int = 0) -> bytes:
    return tlv(SEQUENCE, integer(version), subject, spki, tlv(CONTEXT_0, *sorted(attributes)))  # X.690 11.6


def algorithm(key: PrivateKey) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return tlv(SEQUENCE, oid(RSA_SHA256), tlv(NULL))
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return tlv(SEQUENCE, oid(ED25519))
    return tlv(SEQUENCE, oid(ECDSA_SHA384 if key.curve.key_size > 256 else ECDSA_SHA256))


def sign(key: PrivateKey, message: bytes) -> bytes:
    digest = signature_hash(key)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(message)
    assert digest is not None
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(message, ec.ECDSA(digest))
    return key.sign(message, padding.PKCS1v15(), digest)


def request(info: bytes, key: PrivateKey) -> bytes:
    """A CSR around `info`, properly signed by `key`."""
    return tlv(SEQUENCE, info, algorithm(key), bits(sign(key, info)))


def request_for(key: PrivateKey, *attributes: bytes, subject: bytes = tlv(SEQUENCE)) -> bytes:
    return request(request_info(spki_der(key.public_key()), *attributes, subject=subject), key)


def unsigned_request(spki: bytes) -> bytes:
    """A CSR for a key whose private half nobody needs, with a signature that cannot verify."""
    return tlv(
        SEQUENCE, request_info(spki), tlv(SEQUENCE, oid(ECDSA_SHA256)), bits(b"\x30\x06\x02\x01\x01\x02\x01\x01")
    )
