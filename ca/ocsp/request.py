"""OCSP requests (RFC 6960 section 4.1), from anybody. The library reads only those that ask for one certificate."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from ca import der
from ca.der_reader import DerReader, InvalidDer
from ca.errors import OcspRefused
from ca.serial import SERIAL_BITS, serial_hex

MAX_REQUEST_BYTES = 4096
"""Enough for MAX_CERTIFICATES with SHA-512 hashes, or for few with a requestor's name and signature."""
MAX_CERTIFICATES = 16
MAX_NONCE_BYTES = 128  # RFC 9654 section 2.1

_NONCE = der.oid("1.3.6.1.5.5.7.48.1.2")
_RESPONSE_TYPES = der.oid("1.3.6.1.5.5.7.48.1.4")
_KNOWN = {_NONCE, _RESPONSE_TYPES}
_SHA1 = der.oid("1.3.14.3.2.26")
_HASHES = {
    _SHA1: "sha1",
    der.oid("2.16.840.1.101.3.4.2.1"): "sha256",
    der.oid("2.16.840.1.101.3.4.2.2"): "sha384",
    der.oid("2.16.840.1.101.3.4.2.3"): "sha512",
}
_BOOLEAN, _NULL = 0x01, 0x05
_FIRST, _SECOND, _THIRD = 0xA0, 0xA1, 0xA2  # explicit context tags


@dataclass(frozen=True, slots=True)
class CertId:
    """Which certificate is meant: by hashes of its issuer's name and key, and its serial.

    `algorithm` is hashlib's name of the hash, "" for one that no issuer here is known by; `serial` is
    ca.serial.serial_hex's form, "" for one that no certificate has. `der` is echoed in the answer.
    """

    algorithm: str
    name_hash: bytes
    key_hash: bytes
    serial: str
    der: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class OcspRequest:
    """What is asked; `nonce` is the extension's value (a DER OCTET STRING), None when there is none."""

    cert_ids: tuple[CertId, ...]
    nonce: bytes | None = None


def parse_request(unverified_der: bytes) -> OcspRequest:
    """Read a request. Raises OcspRefused: the answer is then malformedRequest.

    1. It has a sane size and is one DER OCSPRequest of version 1 and nothing else.
    2. It asks for 1 to MAX_CERTIFICATES certificates.
    3. Its nonce, where it has one, has 1 to 128 octets (RFC 9654 section 2.1).
    4. It has no critical extension that is not understood, and none twice.

    A signature and the requestor's name say nothing that an answer depends on; they are passed over (4.1.2).
    """
    if len(unverified_der) > MAX_REQUEST_BYTES:  # 1
        raise OcspRefused(f"the request has more than {MAX_REQUEST_BYTES} bytes")
    try:
        whole = DerReader(unverified_der)
        request = whole.inside(der.SEQUENCE)
        whole.end()
        to_be_signed = request.inside(der.SEQUENCE)
        if request.tag == _FIRST:
            _signature(request)
        request.end()
        return _to_be_signed(to_be_signed)
    except InvalidDer as error:
        raise OcspRefused(f"the request cannot be read: {error}") from error


def cert_id(name_hash: bytes, key_hash: bytes, serial: str) -> CertId:
    """The one form by which every client knows a certificate: by SHA-1. `serial` is ca.serial.serial_hex's form."""
    algorithm = der.tlv(der.SEQUENCE, _SHA1, der.tlv(_NULL))
    hashes = (der.tlv(der.OCTET_STRING, name_hash), der.tlv(der.OCTET_STRING, key_hash))
    raw = der.tlv(der.SEQUENCE, algorithm, *hashes, der.integer(int(serial, 16)))
    return CertId("sha1", name_hash, key_hash, serial, raw)


def parse_get(unverified_path: str) -> OcspRequest:
    """Read the request of a GET: URL-encoded base64 after the responder's address (RFC 6960 appendix A.1).

    Clients differ in whether they encode plus, slash and equals signs; all forms are read. Raises OcspRefused.
    """
    if len(unverified_path) > 4 * MAX_REQUEST_BYTES:
        raise OcspRefused(f"the request has more than {MAX_REQUEST_BYTES} bytes")
    try:
        text = unquote_to_bytes(unverified_path.encode("ascii"))
        return parse_request(base64.b64decode(text, validate=True))
    except (UnicodeEncodeError, binascii.Error, ValueError) as error:
        raise OcspRefused("the request is not base64") from error


def _to_be_signed(tbs: DerReader) -> OcspRequest:
    """TBSRequest. Version 1 is the default, which DER leaves out (X.690 11.5)."""
    if tbs.tag == _SECOND:  # requestorName
        tbs.skip()
    requests = tbs.inside(der.SEQUENCE)
    cert_ids: list[CertId] = []
    while requests.tag is not None:
        if len(cert_ids) == MAX_CERTIFICATES:  # 2
            raise OcspRefused(f"the request asks for more than {MAX_CERTIFICATES} certificates")
        single = requests.inside(der.SEQUENCE)
        cert_ids.append(_cert_id(single.raw(der.SEQUENCE)))
        if single.tag == _FIRST:
            _extensions(single.inside(_FIRST))
        single.end()
    if not cert_ids:
        raise OcspRefused("the request asks for no certificate")
    extensions: dict[bytes, bytes] = {}
    if tbs.tag == _THIRD:
        extensions = _extensions(tbs.inside(_THIRD))
    tbs.end()
    return OcspRequest(tuple(cert_ids), _nonce(extensions.get(_NONCE)))


def _cert_id(raw: bytes) -> CertId:
    reader = DerReader(raw).inside(der.SEQUENCE)
    algorithm = reader.inside(der.SEQUENCE)
    name = _HASHES.get(algorithm.raw(der.OBJECT_IDENTIFIER), "")
    if name:
        if algorithm.tag is not None and algorithm.content(_NULL):
            raise OcspRefused("the hash has parameters")
        algorithm.end()
    name_hash, key_hash = reader.content(der.OCTET_STRING), reader.content(der.OCTET_STRING)
    serial = reader.integer()
    reader.end()
    return CertId(name, name_hash, key_hash, serial_hex(serial) if 0 < serial < 1 << SERIAL_BITS else "", raw)


def _extensions(explicit: DerReader) -> dict[bytes, bytes]:
    """Values by encoded name."""
    extensions = explicit.inside(der.SEQUENCE)
    explicit.end()
    found: dict[bytes, bytes] = {}
    while extensions.tag is not None:
        extension = extensions.inside(der.SEQUENCE)
        name = extension.raw(der.OBJECT_IDENTIFIER)
        critical = extension.tag == _BOOLEAN
        if critical and extension.raw(_BOOLEAN) != der.TRUE:
            raise OcspRefused("an extension's flag is not in its one form")
        value = extension.content(der.OCTET_STRING)
        extension.end()
        if name in found or (critical and name not in _KNOWN):  # 4
            raise OcspRefused("an extension is critical and not understood, or is there twice")
        found[name] = value
    return found


def _nonce(value: bytes | None) -> bytes | None:
    if value is None:
        return None
    reader = DerReader(value)
    octets = reader.content(der.OCTET_STRING)
    reader.end()
    if not 1 <= len(octets) <= MAX_NONCE_BYTES:  # 3
        raise OcspRefused(f"a nonce has 1 to {MAX_NONCE_BYTES} octets")
    return value


def _signature(request: DerReader) -> None:
    explicit = request.inside(_FIRST)
    signature = explicit.inside(der.SEQUENCE)
    explicit.end()
    signature.content(der.SEQUENCE)
    signature.content(der.BIT_STRING)
    if signature.tag == _FIRST:
        signature.skip()
    signature.end()
