"""Key pairs: the kinds that are issued to and signed with, their encodings and their fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from enum import StrEnum
from typing import TypeAlias

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, mldsa, rsa

from ca.errors import CsrRefused
from ca.masked import Masked
from ca.weak_keys import check_ed25519, check_rsa

MlDsaPrivateKey: TypeAlias = mldsa.MLDSA44PrivateKey | mldsa.MLDSA65PrivateKey | mldsa.MLDSA87PrivateKey
MlDsaPublicKey: TypeAlias = mldsa.MLDSA44PublicKey | mldsa.MLDSA65PublicKey | mldsa.MLDSA87PublicKey
PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey | MlDsaPrivateKey
PublicKey: TypeAlias = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey | MlDsaPublicKey

RSA_EXPONENT = 65537
_SMALLEST_CURVE = 256


class KeyType(StrEnum):
    """The kinds of key that an authority or a workload may be configured with; ML-DSA (FIPS 204) only an authority."""

    ECDSA_P256 = "ecdsa-p256"
    ECDSA_P384 = "ecdsa-p384"
    ED25519 = "ed25519"
    RSA_2048 = "rsa-2048"
    RSA_3072 = "rsa-3072"
    RSA_4096 = "rsa-4096"
    ML_DSA_44 = "mldsa-44"
    ML_DSA_65 = "mldsa-65"
    ML_DSA_87 = "mldsa-87"


POST_QUANTUM = frozenset({KeyType.ML_DSA_44, KeyType.ML_DSA_65, KeyType.ML_DSA_87})
"""Kinds that no known quantum algorithm breaks. Certificates are signed with them, none is issued for them."""


def generate(key_type: KeyType) -> PrivateKey:
    """A fresh key from OpenSSL's random generator. RSA takes up to seconds: call it off the event loop."""
    match key_type:
        case KeyType.ECDSA_P256:
            return ec.generate_private_key(ec.SECP256R1())
        case KeyType.ECDSA_P384:
            return ec.generate_private_key(ec.SECP384R1())
        case KeyType.ED25519:
            return ed25519.Ed25519PrivateKey.generate()
        case KeyType.RSA_2048 | KeyType.RSA_3072 | KeyType.RSA_4096:
            return rsa.generate_private_key(RSA_EXPONENT, int(key_type.removeprefix("rsa-")))
        case KeyType.ML_DSA_44:
            return mldsa.MLDSA44PrivateKey.generate()
        case KeyType.ML_DSA_65:
            return mldsa.MLDSA65PrivateKey.generate()
        case KeyType.ML_DSA_87:
            return mldsa.MLDSA87PrivateKey.generate()


def signature_hash(key: PrivateKey | PublicKey) -> hashes.SHA256 | hashes.SHA384 | None:
    """The digest that goes with a signature of this key; None for Ed25519 and ML-DSA, which have their own (RFC 8410
    section 3, RFC 9881 section 2).
    """
    if isinstance(key, ed25519.Ed25519PrivateKey | ed25519.Ed25519PublicKey | MlDsaPrivateKey | MlDsaPublicKey):
        return None
    if isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey) and key.curve.key_size > 256:
        return hashes.SHA384()
    return hashes.SHA256()


def spki_der(public_key: PublicKey) -> bytes:
    """The SubjectPublicKeyInfo, DER."""
    return public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def key_hash(public_key: PublicKey) -> str:
    """SHA-256 of the SubjectPublicKeyInfo, hex: how records and the audit log name a key."""
    return hashlib.sha256(spki_der(public_key)).hexdigest()


def to_pkcs8_der(key: PrivateKey) -> Masked[bytes]:
    """PKCS #8, DER, in clear."""
    return _pkcs8(key, serialization.Encoding.DER)


def to_pkcs8_pem(key: PrivateKey) -> Masked[bytes]:
    """PKCS #8, PEM, in clear: the form that Envoy takes."""
    return _pkcs8(key, serialization.Encoding.PEM)


def from_pkcs8_der(unverified_der: Masked[bytes]) -> PrivateKey:
    """Read a private key of a supported kind. Raises ValueError, which never shows the bytes."""
    return _load(serialization.load_der_private_key, unverified_der)


def from_pkcs8_pem(unverified_pem: Masked[bytes]) -> PrivateKey:
    """Read a private key of a supported kind. Raises ValueError, which never shows the bytes."""
    return _load(serialization.load_pem_private_key, unverified_pem)


def check_public_key(unverified_key: object) -> PublicKey:
    """The key, if it is of an allowed kind and not known to be weak. Raises CsrRefused.

    Allowed: NIST P-256 and P-384, Ed25519, RSA of 2048 to 8192 bits. Points off the curve never get here: the parser
    refuses them. Debian's keys of 2006 to 2008 (CVE-2008-0166) are not looked up: the list is larger than this program.
    """
    if isinstance(unverified_key, ec.EllipticCurvePublicKey):
        if not isinstance(unverified_key.curve, ec.SECP256R1 | ec.SECP384R1):
            raise CsrRefused(f"curve {unverified_key.curve.name} is not allowed; use P-256 or P-384")
        return unverified_key
    if isinstance(unverified_key, rsa.RSAPublicKey):
        check_rsa(unverified_key.public_numbers())
        return unverified_key
    if isinstance(unverified_key, ed25519.Ed25519PublicKey):
        check_ed25519(unverified_key.public_bytes_raw())
        return unverified_key
    raise CsrRefused("the key is of a kind that is not allowed; use ECDSA P-256 or P-384, Ed25519 or RSA")


def check_foreign_key(unverified_key: object) -> None:
    """Whether the key of a certificate that others issued can prove anything. Raises CsrRefused for a weak one.

    Kinds and curves that are not issued to here pass, but for curves of less than 256 bits and keys of DSA.
    """
    if isinstance(unverified_key, ec.EllipticCurvePublicKey):
        if unverified_key.curve.key_size < _SMALLEST_CURVE:
            raise CsrRefused(f"curve {unverified_key.curve.name} is too small")
    elif isinstance(unverified_key, rsa.RSAPublicKey | ed25519.Ed25519PublicKey):
        check_public_key(unverified_key)
    elif isinstance(unverified_key, dsa.DSAPublicKey):
        raise CsrRefused("DSA keys are not allowed")


def _pkcs8(key: PrivateKey, encoding: serialization.Encoding) -> Masked[bytes]:
    return Masked(key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


def _load(load: Callable[[bytes, None], object], unverified: Masked[bytes]) -> PrivateKey:
    """Whatever a parser throws at foreign bytes is one error, without a cause that might quote them."""
    try:
        key = load(unverified.reveal(), None)
    except Exception:  # noqa: BLE001  # see above; cryptography has TypeError and UnsupportedAlgorithm beside ValueError
        raise ValueError("the private key cannot be read") from None
    return _supported(key)


def _supported(key: object) -> PrivateKey:
    if isinstance(key, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey | MlDsaPrivateKey):
        return key
    raise ValueError("the private key is of a kind that is not supported")
