"""What signs: a key in this process, or a stand-in for one that never leaves its hardware or service."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from ca import der
from ca.errors import AuthorityUnavailable
from ca.keys import MlDsaPrivateKey, MlDsaPublicKey, PrivateKey, PublicKey, signature_hash

# RFC 5280 4.1.1.2 with the parameters that each algorithm's standard wants: absent for ECDSA (RFC 5758 3.2) and
# Ed25519 (RFC 8410 3) and ML-DSA (RFC 9881 2), NULL for RSA (RFC 4055 5).
_ECDSA_SHA256 = der.tlv(der.SEQUENCE, der.oid("1.2.840.10045.4.3.2"))
_ECDSA_SHA384 = der.tlv(der.SEQUENCE, der.oid("1.2.840.10045.4.3.3"))
_ED25519 = der.tlv(der.SEQUENCE, der.oid("1.3.101.112"))
_ML_DSA: Mapping[type[object], bytes] = {
    mldsa.MLDSA44PublicKey: der.tlv(der.SEQUENCE, der.oid("2.16.840.1.101.3.4.3.17")),
    mldsa.MLDSA65PublicKey: der.tlv(der.SEQUENCE, der.oid("2.16.840.1.101.3.4.3.18")),
    mldsa.MLDSA87PublicKey: der.tlv(der.SEQUENCE, der.oid("2.16.840.1.101.3.4.3.19")),
}
_RSA_SHA256 = der.tlv(der.SEQUENCE, der.oid("1.2.840.113549.1.1.11"), b"\x05\x00")


PSS = padding.PSS(padding.MGF1(hashes.SHA256()), salt_length=hashes.SHA256.digest_size)
"""RFC 7518 section 3.5: MGF1 with the same digest, and a salt as long as the digest."""


class Scheme(StrEnum):
    """By which algorithm a key signs, where its kind leaves a choice."""

    X509 = "x509"
    """The one that `signature_algorithm` names; for tokens, too, where the kind of key has only one."""
    PSS_SHA256 = "pss-sha256"
    """RSASSA-PSS with SHA-256, of RSA keys only (PS256 of RFC 7518)."""


class Signer(Protocol):
    """An authority's key. Signing may block (a remote key): call it off the event loop."""

    @property
    def public_key(self) -> PublicKey:
        """The public half."""
        ...

    def sign(self, messages: Sequence[bytes], *, scheme: Scheme = Scheme.X509) -> list[bytes]:
        """One signature for each message, in order, by the algorithm that `signature_algorithm` names.

        That is ECDSA as DER, Ed25519, ML-DSA with an empty context, or RSA PKCS #1 v1.5, with the digest of
        `ca.keys.signature_hash`; or what `scheme` says. A batch, because a remote key signs many times more a second
        in batches. Raises AuthorityUnavailable, also for a scheme that the key does not have.
        """
        ...


def signature_algorithm(public_key: PublicKey) -> bytes:
    """The AlgorithmIdentifier, DER, of the signatures that this key's Signer makes."""
    if isinstance(public_key, ed25519.Ed25519PublicKey):
        return _ED25519
    if isinstance(public_key, MlDsaPublicKey):
        return next(algorithm for kind, algorithm in _ML_DSA.items() if isinstance(public_key, kind))
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        digest = signature_hash(public_key)
        return _ECDSA_SHA384 if digest is not None and digest.name == "sha384" else _ECDSA_SHA256
    return _RSA_SHA256


def check_scheme(public_key: PublicKey, scheme: Scheme) -> None:
    """Whether this kind of key signs by `scheme`. Raises AuthorityUnavailable."""
    if scheme is Scheme.PSS_SHA256 and not isinstance(public_key, rsa.RSAPublicKey):
        raise AuthorityUnavailable("only an RSA key signs by RSASSA-PSS")


@dataclass(frozen=True, slots=True, repr=False)
class LocalSigner:
    """A key in this process's memory."""

    private_key: PrivateKey
    public_key: PublicKey

    @classmethod
    def of(cls, private_key: PrivateKey) -> LocalSigner:
        return cls(private_key, private_key.public_key())

    def sign(self, messages: Sequence[bytes], *, scheme: Scheme = Scheme.X509) -> list[bytes]:
        key = self.private_key
        check_scheme(self.public_key, scheme)
        if isinstance(key, ed25519.Ed25519PrivateKey | MlDsaPrivateKey):
            return [key.sign(message) for message in messages]
        digest = signature_hash(key)
        assert digest is not None  # noqa: S101 - only those have none
        if isinstance(key, ec.EllipticCurvePrivateKey):
            # hashlib is so much quicker than OpenSSL's interface for digests that it shows beside a P-256 signature.
            algorithm, hashed = ec.ECDSA(Prehashed(digest)), getattr(hashlib, digest.name)
            return [key.sign(hashed(message).digest(), algorithm) for message in messages]
        padded = PSS if scheme is Scheme.PSS_SHA256 else padding.PKCS1v15()
        return [key.sign(message, padded, digest) for message in messages]

    def __repr__(self) -> str:
        return "LocalSigner(***)"
