"""Keys in the database, wrapped by a key-encryption key; opened ones are kept in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Protocol

from attestation.spiffe_id import TrustDomain
from ca.errors import AuthorityUnavailable, KeyUnwrapFailed
from ca.kek import NONCE_BYTES, KeyLabel, KeyRing, WrappedKey
from ca.key_manager import ManagedKey
from ca.keys import KeyType, from_pkcs8_der, generate, to_pkcs8_der
from ca.signer import LocalSigner, Signer

NAME = "wrapped"
KEY_ID_BYTES = 16


class WrappedKeyStore(Protocol):
    """What WrappedKeyManager needs of the database."""

    async def put(self, key: WrappedKey) -> None:
        """Store a new key durably; its label's key_id is the primary key."""
        ...

    async def get(self, key_id: str) -> WrappedKey | None:
        """The stored key, or None."""
        ...

    async def remove(self, key_id: str) -> None:
        """Delete a stored key; nothing happens if there is none."""
        ...


class WrappedKeyManager:
    """Keys are made here, rest only wrapped (AES-256-GCM) and are kept in memory once opened."""

    name = NAME

    def __init__(
        self, store: WrappedKeyStore, ring: KeyRing, trust_domain: TrustDomain, random_bytes: Callable[[int], bytes]
    ) -> None:
        """`random_bytes` must be fit for secrets (os.urandom)."""
        self._store = store
        self._ring = ring
        self._trust_domain = trust_domain
        self._random_bytes = random_bytes
        self._open: dict[str, Signer] = {}
        self._problems: dict[str, str] = {}

    @property
    def ring(self) -> KeyRing:
        return self._ring

    def use(self, ring: KeyRing) -> None:
        """Wrap and unwrap with `ring` from now on; keys that are open stay open."""
        self._ring = ring

    async def generate(self, key_type: KeyType, purpose: str) -> ManagedKey:
        """`purpose` is bound to the wrapped key (ca.authority.AuthorityKind)."""
        private_key = await asyncio.to_thread(generate, key_type)
        label = KeyLabel(self._random_bytes(KEY_ID_BYTES).hex(), self._trust_domain.name, purpose, key_type)
        wrapped = self._ring.wrap(label, to_pkcs8_der(private_key), self._random_bytes(NONCE_BYTES))
        await self._store.put(wrapped)
        ref = f"{self.name}:{label.key_id}"
        signer = self._open[ref] = LocalSigner.of(private_key)
        return ManagedKey(ref, key_type, signer)

    async def signer(self, ref: str) -> Signer:
        known = self._open.get(ref)
        if known is not None:
            return known
        wrapped = await self._load(ref)
        try:
            signer = LocalSigner.of(from_pkcs8_der(self._ring.unwrap(wrapped)))
        except ValueError as error:
            raise KeyUnwrapFailed(f"key {wrapped.label.key_id} opens but holds no private key") from error
        return self._open.setdefault(ref, signer)

    async def forget(self, ref: str) -> None:
        await self._store.remove(self._key_id(ref))
        self._open.pop(ref, None)

    async def check(self, refs: Collection[str]) -> None:
        """Open those that are not open: a key that is of no use shows before it is needed. An open one stays so."""
        self._problems = {}
        for ref in refs:
            try:
                await self.signer(ref)
            except (AuthorityUnavailable, KeyUnwrapFailed) as error:
                self._problems[ref] = str(error)
        for problem in self._problems.values():
            raise AuthorityUnavailable(problem)

    def problem(self, ref: str) -> str | None:
        return self._problems.get(ref)

    async def close(self) -> None:
        self._open.clear()

    def _key_id(self, ref: str) -> str:
        manager, _, key_id = ref.partition(":")
        if manager != self.name:
            raise AuthorityUnavailable(f"the authority's key is with key manager {manager!r}, not {self.name!r}")
        return key_id

    async def _load(self, ref: str) -> WrappedKey:
        key_id = self._key_id(ref)
        wrapped = await self._store.get(key_id)
        if wrapped is None:
            raise AuthorityUnavailable(f"key {key_id} is not in the database; restore the backup that has it")
        # The store is not trusted with what a key is for: a row moved elsewhere must not open here.
        if wrapped.label.key_id != key_id or wrapped.label.trust_domain != self._trust_domain.name:
            raise KeyUnwrapFailed(f"key {key_id} belongs to another key or trust domain")
        return wrapped
