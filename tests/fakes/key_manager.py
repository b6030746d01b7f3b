"""A custodian in memory that can be unplugged; implements ca.key_manager.KeyManager."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import count

from ca.errors import AuthorityUnavailable
from ca.key_manager import ManagedKey
from ca.keys import KeyType, PublicKey, generate
from ca.signer import LocalSigner, Scheme, Signer

UNPLUGGED = "the fake token is unplugged"


class FakeKeyManager:
    """Knows nothing of what it was not asked: as with real ones, `problem` says what the last use or check found."""

    def __init__(self, name: str = "pkcs11") -> None:
        self.name = name
        self.keys: dict[str, LocalSigner] = {}
        self.unplugged = False
        self.closed = False
        self._found: str | None = None
        self._numbers = count(1)

    async def generate(self, key_type: KeyType, purpose: str) -> ManagedKey:
        self.touch()
        ref = f"{self.name}:{next(self._numbers):02x}"
        self.keys[ref] = LocalSigner.of(generate(key_type))
        return ManagedKey(ref, key_type, FakeSigner(self, ref))

    async def signer(self, ref: str) -> Signer:
        self.touch()
        if ref not in self.keys:
            raise AuthorityUnavailable(f"there is no key {ref}")
        return FakeSigner(self, ref)

    async def forget(self, ref: str) -> None:
        self.touch()
        self.keys.pop(ref, None)

    async def check(self, refs: Collection[str]) -> None:
        self.touch()
        for ref in refs:
            await self.signer(ref)

    def problem(self, ref: str) -> str | None:
        return self._found

    async def close(self) -> None:
        self.closed = True

    def touch(self) -> None:
        self._found = UNPLUGGED if self.unplugged else None
        if self._found is not None:
            raise AuthorityUnavailable(self._found)


class FakeSigner:
    """Signs only while its manager is plugged in."""

    def __init__(self, manager: FakeKeyManager, ref: str) -> None:
        self._manager = manager
        self._inner = manager.keys[ref]

    @property
    def public_key(self) -> PublicKey:
        return self._inner.public_key

    def sign(self, messages: Sequence[bytes], *, scheme: Scheme = Scheme.X509) -> list[bytes]:
        self._manager.touch()
        return self._inner.sign(messages, scheme=scheme)
