"""What signs: a key in this process, or a stand-in for one that never leaves its hardware or service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding

from ca.keys import PrivateKey, PublicKey, signature_hash


class Signer(Protocol):
    """An authority's key. Signing may block (a remote key): call it off the event loop."""

    @property
    def public_key(self) -> PublicKey:
        """The public half."""
        ...

    @property
    def private_key(self) -> PrivateKey:
        """The key, or an object with its interface whose `sign` works elsewhere; for cryptography's builders."""
        ...

    def sign(self, messages: Sequence[bytes]) -> list[bytes]:
        """One signature for each message, in order, with the digest of `ca.keys.signature_hash`.

        A batch, because a remote key signs many times more a second in batches. Raises AuthorityUnavailable.
        """
        ...


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
            algorithm = ec.ECDSA(digest)
            return [key.sign(message, algorithm) for message in messages]
        return [key.sign(message, padding.PKCS1v15(), digest) for message in messages]

    def __repr__(self) -> str:
        return "LocalSigner(***)"
