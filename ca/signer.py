"""What signs: a key in this process, or a stand-in for one that never leaves its hardware or service."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from ca import der
from ca.keys import PrivateKey, PublicKey, signature_hash

# RFC 5280 4.1.1.2 with the parameters that each algorithm's standard wants: absent for ECDSA (RFC 5758 3.2) and
# Ed25519 (RFC 8410 3), NULL for RSA (RFC 4055 5).
_ECDSA_SHA256 = der.tlv(der.SEQUENCE, der.oid("1.2.840.10045.4.3.2"))
_ECDSA_SHA384 = der.tlv(der.SEQUENCE, der.oid("1.2.840.10045.4.3.3"))
_ED25519 = der.tlv(der.SEQUENCE, der.oid("1.3.101.112"))
_RSA_SHA256 = der.tlv(der.SEQUENCE, der.oid("1.2.840.113549.1.1.11"), b"\x05\x00")


class Signer(Protocol):
    """An authority's key. Signing may block (a remote key): call it off the event loop."""

    @property
    def public_key(self) -> PublicKey:
        """The public half."""
        ...

    def sign(self, messages: Sequence[bytes]) -> list[bytes]:
        """One signature for each message, in order, by the algorithm that `signature_algorithm` names.

        That is ECDSA as DER, Ed25519, or RSA PKCS #1 v1.5, with the digest of `ca.keys.signature_hash`. A batch,
        because a remote key signs many times more a second in batches. Raises AuthorityUnavailable.
        """
        ...


def signature_algorithm(public_key: PublicKey) -> bytes:
    """The AlgorithmIdentifier, DER, of the signatures that this key's Signer makes."""
    if isinstance(public_key, ed25519.Ed25519PublicKey):
        return _ED25519
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        digest = signature_hash(public_key)
        return _ECDSA_SHA384 if digest is not None and digest.name == "sha384" else _ECDSA_SHA256
    return _RSA_SHA256


@dataclass(frozen=True, slots=True, repr=False)
class LocalSigner:
    """A key in this process's memory."""

    private_key: PrivateKey
    public_key: PublicKey

    @classmethod
    def of(cls, private_key: PrivateKey) -> LocalSigner:
        return cls(private_key, private_key.public_key())

    def sign(self, messages: Sequence[bytes]) -> list[bytes]:
        key = self.private_key
        if isinstance(key, ed25519.Ed25519PrivateKey):
            return [key.sign(message) for message in messages]
        digest = signature_hash(key)
        assert digest is not None  # noqa: S101 - only Ed25519 has none
        if isinstance(key, ec.EllipticCurvePrivateKey):
            # hashlib is so much quicker than OpenSSL's interface for digests that it shows beside a P-256 signature.
            algorithm, hashed = ec.ECDSA(Prehashed(digest)), getattr(hashlib, digest.name)
            return [key.sign(hashed(message).digest(), algorithm) for message in messages]
        return [key.sign(message, padding.PKCS1v15(), digest) for message in messages]

    def __repr__(self) -> str:
        return "LocalSigner(***)"
