"""Authority keys in a Transit secrets engine of Vault: made there, never leaving it, signing there.

How Vault is spoken to is the business of others: here is what is asked of it, and what its answers are worth.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, TypeVar

from attestation.spiffe_id import TrustDomain
from ca.errors import AuthorityUnavailable
from ca.key_manager import ManagedKey
from ca.key_managers.transit_keys import (
    KEY_TYPES,
    TransitKey,
    TransitKeyProblem,
    TransitScheme,
    check_signature,
    inputs,
    public_key_of,
    scheme_of,
)
from ca.keys import KeyType, PublicKey, spki_der
from ca.signer import Scheme, Signer, check_scheme

NAME = "vault_transit"
KEY_ID_BYTES = 16
VERSION = 1
"""Of each key: one that somebody rotates in Vault gets further ones, which are not the authority's."""
MAX_BATCH = 256
"""Messages in one request."""
MAX_BATCH_BYTES = 4 * 1024 * 1024
"""Of what is signed, unless a single message is longer; Vault takes requests of 32 MiB."""
MAX_TRUST_DOMAIN = 128
"""Characters of the trust domain in a key's name; storages of Vault have a file for each name."""

_KEY_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,238}[A-Za-z0-9_])?", re.ASCII)
_PROBE = b"sds: this key signs what its public key verifies"

T = TypeVar("T")


class TransitOperations(Protocol):
    """A Transit engine. All of it blocks, and raises AuthorityUnavailable, or TransitKeyProblem for one key alone."""

    def create(self, name: str, kind: str) -> None:
        """Make a key that can neither leave nor be deleted; one that is there stays as it is."""
        ...

    def read(self, name: str) -> TransitKey:
        """Raises TransitKeyMissing, too."""
        ...

    def sign(self, name: str, version: int, digests: Sequence[bytes], scheme: TransitScheme) -> list[bytes]:
        """One signature each, in order, by one request; ECDSA as DER. Raises TransitKeyMissing, too."""
        ...

    def destroy(self, name: str) -> None:
        """For good. One that is gone already is no error."""
        ...


@dataclass(frozen=True, slots=True)
class TransitConfig:
    """Which engine, and how the names of keys begin there."""

    operations: TransitOperations
    key_prefix: str = "sds-"


class TransitKeyManager:
    """A reference is the name of a key in the one engine that is configured: prefix, trust domain, purpose, and 16
    random bytes.
    """

    name = NAME

    def __init__(self, config: TransitConfig, trust_domain: TrustDomain, random_bytes: Callable[[int], bytes]) -> None:
        """Asks nobody yet. `random_bytes` makes names that no other key has."""
        self._operations = config.operations
        self._prefix = f"{config.key_prefix}{trust_domain.name[:MAX_TRUST_DOMAIN]}-"
        self._random_bytes = random_bytes
        self._signers: dict[str, TransitSigner] = {}
        self._problems: dict[str, str] = {}
        self._away: str | None = None

    async def generate(self, key_type: KeyType, purpose: str) -> ManagedKey:
        """The purpose is in the key's name, for people; nothing looks for it."""
        if key_type not in KEY_TYPES:
            kinds = ", ".join(sorted(KEY_TYPES))
            raise AuthorityUnavailable(f"key manager {self.name} makes no {key_type} keys, only {kinds}")
        name = f"{self._prefix}{purpose}-{self._random_bytes(KEY_ID_BYTES).hex()}"
        signer = await asyncio.to_thread(self._make, name, key_type)
        self._signers[name] = signer
        return ManagedKey(f"{self.name}:{name}", key_type, signer)

    async def signer(self, ref: str) -> Signer:
        name = self._key_name(ref)
        known = self._signers.get(name)
        if known is not None:
            return known
        opened = await asyncio.to_thread(self._attempt, name, lambda: self._open(name))
        return self._signers.setdefault(name, opened)

    async def forget(self, ref: str) -> None:
        name = self._key_name(ref)
        await asyncio.to_thread(self._attempt, name, lambda: self._operations.destroy(name))
        self._signers.pop(name, None)

    async def check(self, refs: Collection[str]) -> None:
        """Read each key and have it sign. Where there is none: whether Vault answers, and lets us look for one."""
        names = [self._key_name(ref) for ref in refs]
        self._problems = {name: problem for name, problem in self._problems.items() if name in names}
        await asyncio.to_thread(self._check, names)
        for name in names:
            if name in self._problems:
                raise AuthorityUnavailable(self._problems[name])

    def problem(self, ref: str) -> str | None:
        return self._away or self._problems.get(self._key_name(ref))

    async def close(self) -> None:
        """What is open belongs to others."""
        self._signers.clear()

    def sign(self, name: str, public_key: PublicKey, messages: Sequence[bytes], scheme: Scheme) -> list[bytes]:
        """As ca.signer.Signer.sign, in as few requests as there may be. Blocks."""

        def work() -> list[bytes]:
            signatures: list[bytes] = []
            for batch in _batches(messages):
                signatures += self._sign(name, public_key, batch, scheme)
            return signatures

        return self._attempt(name, work)

    def _attempt(self, name: str, work: Callable[[], T]) -> T:
        """Do something with a key and remember how it went, for `problem`. Blocks. Raises AuthorityUnavailable."""
        try:
            result = work()
        except TransitKeyProblem as error:
            self._away = None
            self._problems[name] = str(error)
            raise
        except AuthorityUnavailable as error:
            self._away = str(error)
            raise
        self._away = None
        self._problems.pop(name, None)
        return result

    def _make(self, name: str, key_type: KeyType) -> TransitSigner:
        def work() -> TransitSigner:
            self._operations.create(name, key_type)
            return self._open(name)

        try:
            return self._attempt(name, work)
        except AuthorityUnavailable:
            self._problems.pop(name, None)  # nobody has a reference to it
            with suppress(AuthorityUnavailable):  # it may have been made all the same
                self._operations.destroy(name)
            raise

    def _check(self, names: Sequence[str]) -> None:
        for name in names:
            with suppress(TransitKeyProblem):
                self._attempt(name, lambda name=name: self._open(name))  # type: ignore[misc]
        if not names:
            with suppress(TransitKeyProblem):
                self._attempt("", lambda: self._operations.read(f"{self._prefix}none"))
            self._problems.pop("", None)

    def _open(self, name: str) -> TransitSigner:
        """The key, if it is whole, sealed, sound, and the one that we know. Raises AuthorityUnavailable."""
        public_key = public_key_of(self._operations.read(name), VERSION)
        known = self._signers.get(name)
        if known is not None and spki_der(known.public_key) != spki_der(public_key):
            raise TransitKeyProblem(f"key {name} in Vault is another one than it was")
        self._sign(name, public_key, [_PROBE], Scheme.X509)
        return TransitSigner(self, name, public_key)

    def _sign(self, name: str, public_key: PublicKey, messages: Sequence[bytes], scheme: Scheme) -> list[bytes]:
        """One request. The last signature is verified: all of them are by one key, and it may not be ours any more."""
        how = scheme_of(public_key, scheme)
        signatures = self._operations.sign(name, VERSION, inputs(messages, how), how)
        if len(signatures) != len(messages):
            raise TransitKeyProblem(f"Vault gave {len(signatures)} signatures for {len(messages)} messages")
        check_signature(public_key, signatures[-1], messages[-1], scheme)
        return signatures

    def _key_name(self, ref: str) -> str:
        manager, _, name = ref.partition(":")
        if manager != self.name:
            raise AuthorityUnavailable(f"the authority's key is with key manager {manager!r}, not {self.name!r}")
        if not _KEY_NAME.fullmatch(name) or ".." in name:
            raise AuthorityUnavailable("the reference to the authority's key is damaged")
        return name


class TransitSigner:
    """A key that stays in Vault. Implements ca.signer.Signer; `sign` blocks."""

    __slots__ = ("_manager", "_name", "public_key")

    def __init__(self, manager: TransitKeyManager, name: str, public_key: PublicKey) -> None:
        self._manager = manager
        self._name = name
        self.public_key = public_key

    def sign(self, messages: Sequence[bytes], *, scheme: Scheme = Scheme.X509) -> list[bytes]:
        """All or none. Raises AuthorityUnavailable."""
        check_scheme(self.public_key, scheme)
        return self._manager.sign(self._name, self.public_key, messages, scheme) if messages else []

    def __repr__(self) -> str:
        return f"TransitSigner({self._name})"


def _batches(messages: Sequence[bytes]) -> list[list[bytes]]:
    batches: list[list[bytes]] = []
    size = 0
    for message in messages:
        if not batches or len(batches[-1]) == MAX_BATCH or size + len(message) > MAX_BATCH_BYTES:
            batches.append([])
            size = 0
        batches[-1].append(message)
        size += len(message)
    return batches
