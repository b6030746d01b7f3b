"""Certificates with their key, and certificates to trust, as sources hold them: judged, and written anew. Pure.

Takes milliseconds, and for RSA keys, whose numbers are checked, tens to hundreds of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from ca.errors import CsrRefused
from ca.keys import check_foreign_key, spki_der, to_pkcs8_der
from ca.masked import Masked
from sds.secrets.errors import SecretMalformed
from sds.secrets.pem import read_blocks, write_block

MAX_CHAIN = 10
MAX_AUTHORITIES = 1000
MAX_KEY_DER = 6144
"""Bytes; an RSA key of 8192 bits has 4.7 thousand. Checking a larger one would take long."""

MIN_DIGEST = 32
"""Bytes; collisions of SHA-1 are had for money."""

_CERTIFICATE = ("CERTIFICATE", "X509 CERTIFICATE", "X.509 CERTIFICATE")
_PRIVATE_KEY = ("PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY")
_EC_PARAMETERS = re.compile(rb"-----BEGIN EC PARAMETERS-----[A-Za-z0-9+/=\s]*-----END EC PARAMETERS-----")
"""OpenSSL writes this block before a SEC 1 key, which names its curve itself."""
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)


@dataclass(frozen=True, slots=True)
class Pair:
    """The chain as PEM, the key as PEM of PKCS #8, and when the first of the certificates ends."""

    chain: bytes
    private_key: Masked[bytes]
    not_after: datetime


def judge_pair(chain: Masked[bytes], private_key: Masked[bytes], now: datetime) -> Pair:
    """A certificate chain and the key that goes with it.

    1. The chain is whole PEM of 1 to 10 certificates that can be read.
    2. The leaf's key is of a kind that TLS servers use, and none of the chain is known to be weak.
    3. All are valid now, and each is signed by the next, an authority's (RFC 5246 7.4.2, RFC 5280 6.1.3, 6.1.4).
    4. The private key is one whole PEM block, not encrypted: PKCS #8, PKCS #1 or SEC 1.
    5. It is the leaf's.

    Raises SecretMalformed, which says which and quotes nothing.
    """
    path = _certificates("chain", chain, MAX_CHAIN)  # 1
    _check_leaf_key(path[0])  # 2
    for number, certificate in enumerate(path, start=1):
        _check_key(f"certificate {number} of chain", certificate)
    for number, certificate in enumerate(path, start=1):
        _check_validity(f"certificate {number} of chain", certificate, now)  # 3
    for number, (certificate, issuer) in enumerate(pairwise(path), start=1):
        _check_issued(number, certificate, issuer)
    ends = min(certificate.not_valid_after_utc for certificate in path)
    return Pair(_pem(path), _private_key(private_key, path[0]), ends)  # 4, 5


def judge_authorities(bundle: Masked[bytes], now: datetime) -> tuple[bytes, datetime]:
    """The certificates to trust as PEM, each once and without those that have expired, and when the last of them ends.

    Raises SecretMalformed, also if one is not an authority's or none is left.
    """
    found: dict[bytes, x509.Certificate] = {}
    for number, certificate in enumerate(_certificates("ca", bundle, MAX_AUTHORITIES), start=1):
        what = f"certificate {number} of ca"
        if not _is_authority(what, certificate):
            raise SecretMalformed(f"{what} is not an authority's")
        _check_key(what, certificate)
        if now < certificate.not_valid_after_utc:
            found[certificate.public_bytes(Encoding.DER)] = certificate
    if not found:
        raise SecretMalformed("every certificate of ca has expired")
    return _pem(tuple(found.values())), max(one.not_valid_after_utc for one in found.values())


def _certificates(what: str, text: Masked[bytes], limit: int) -> tuple[x509.Certificate, ...]:
    return tuple(
        _load(f"certificate {number} of {what}", der.reveal())
        for number, der in enumerate(read_blocks(what, text, _CERTIFICATE, limit), start=1)
    )


def _load(what: str, der: bytes) -> x509.Certificate:
    """The library reads most parts when they are asked for, so all that matter here are asked for."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        _ = certificate.subject, certificate.issuer, certificate.public_key(), certificate.serial_number
        _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc, list(certificate.extensions)
        same = certificate.public_bytes(Encoding.DER) == der
    except Exception:  # noqa: BLE001  # whatever a parser throws at foreign bytes is a refusal, and may quote them
        raise SecretMalformed(f"{what} cannot be read") from None
    if not same:
        raise SecretMalformed(f"{what} is not in DER")
    return certificate


def _check_leaf_key(leaf: x509.Certificate) -> None:
    key = leaf.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES):
        return
    if not isinstance(key, rsa.RSAPublicKey | ed25519.Ed25519PublicKey):
        raise SecretMalformed("the leaf's key is of a kind that is not supported; use ECDSA, Ed25519 or RSA")


def _check_key(what: str, certificate: x509.Certificate) -> None:
    try:
        check_foreign_key(certificate.public_key())
    except CsrRefused as error:
        raise SecretMalformed(f"{what} has a weak key: {error}") from None


def _check_validity(what: str, certificate: x509.Certificate, now: datetime) -> None:
    if now < certificate.not_valid_before_utc:
        raise SecretMalformed(f"{what} is not valid before {certificate.not_valid_before_utc.isoformat()}")
    if now >= certificate.not_valid_after_utc:
        raise SecretMalformed(f"{what} has expired, {certificate.not_valid_after_utc.isoformat()}")


def _check_issued(number: int, certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    if not _is_authority(f"certificate {number + 1} of chain", issuer):
        raise SecretMalformed(f"certificate {number + 1} of chain is not an authority's; the leaf comes first")
    try:
        certificate.verify_directly_issued_by(issuer)
        digest = certificate.signature_hash_algorithm
    except Exception:  # noqa: BLE001  # see _load
        raise SecretMalformed(
            f"certificate {number} of chain is not signed by certificate {number + 1}; the leaf comes first, then its "
            "issuer, and so on"
        ) from None
    if digest is not None and digest.digest_size < MIN_DIGEST:
        raise SecretMalformed(f"certificate {number} of chain is signed with {digest.name}")


def _is_authority(what: str, certificate: x509.Certificate) -> bool:
    """By its basic constraints; roots from before there were any are at least their own issuers."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return certificate.version is x509.Version.v1 and certificate.subject == certificate.issuer
    except Exception:  # noqa: BLE001  # see _load
        raise SecretMalformed(f"{what} cannot be read") from None


def _private_key(text: Masked[bytes], leaf: x509.Certificate) -> Masked[bytes]:
    without_parameters = Masked(_EC_PARAMETERS.sub(b"", text.reveal(), count=1))
    (der,) = read_blocks("private_key", without_parameters, _PRIVATE_KEY, 1)
    if len(der.reveal()) > MAX_KEY_DER:
        raise SecretMalformed("private_key is larger than any key that is supported")
    try:
        key = serialization.load_der_private_key(der.reveal(), None)
        public = spki_der(key.public_key())  # type: ignore[arg-type]  # of whatever kind: it is only compared
    except Exception:  # noqa: BLE001  # see _load
        raise SecretMalformed("private_key cannot be read") from None
    if public != spki_der(leaf.public_key()):  # type: ignore[arg-type]
        raise SecretMalformed("private_key is not the key of the leaf")
    pkcs8 = to_pkcs8_der(key)  # type: ignore[arg-type]  # of the leaf's kind, which has been judged
    return Masked(write_block("PRIVATE KEY", pkcs8.reveal()))


def _pem(certificates: tuple[x509.Certificate, ...]) -> bytes:
    return b"".join(write_block("CERTIFICATE", one.public_bytes(Encoding.DER)) for one in certificates)
