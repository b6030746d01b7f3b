"""Where the key-encryption keys rest: in a file of each replica, or in the database, encrypted by a key in Vault.

The database holds one ring for all replicas, so that one may have been overtaken by another's rotation. What it wraps
is therefore stored in a transaction that has asked `fence`, and a former key stays in the ring until all have learned.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from attestation.spiffe_id import TrustDomain
from ca.errors import AuthorityUnavailable, InvalidKeyRing
from ca.kek import MAX_KEYS, Kek, KeyRing, framed, parse_key_ring
from ca.masked import Masked
from sds.server.authority.kek_file import KekFile, KekUnusable
from sds.server.transactions import Transactions
from sds.store.times import from_micros, to_micros
from sds.store.unit_of_work import UnitOfWork
from sds.vault.errors import VaultError

SETTING = "kek_ring"
"""The database's setting that holds the ring; empty or absent where it is elsewhere."""
GRACE = timedelta(minutes=1)
"""How long a former key stays after a rotation. Each replica looks every few seconds."""
_CONTEXT = b"sds key-encryption keys v1"


class KekOvertaken(AuthorityUnavailable):
    """Another replica has rotated the key-encryption key; this one learns of it within seconds."""


class Cipher(Protocol):
    """See sds.vault.transit.TransitCipher. Both raise VaultError."""

    @property
    def place(self) -> str: ...

    async def encrypt(self, plaintext: Masked[bytes], context: bytes) -> str: ...

    async def decrypt(self, ciphertext: str, context: bytes) -> Masked[bytes]: ...


class RingPlace(Protocol):
    """All methods raise KekUnusable and StoreError."""

    @property
    def where(self) -> str:
        """For messages."""
        ...

    @property
    def shared(self) -> bool:
        """Whether all replicas have one, so that it may change without our doing."""
        ...

    async def load(self) -> KeyRing | None: ...

    async def create(self, kek: Kek) -> KeyRing:
        """A first ring with this key, or what another replica has made a moment before."""
        ...

    async def replace(self, ring: KeyRing) -> None:
        """Durable when this returns. Raises KekOvertaken if it is not any more what was loaded."""
        ...

    async def settled(self) -> bool:
        """Whether nobody can be using a former key any more."""
        ...


class FilePlace:
    """Implements RingPlace: a file on this host."""

    shared = False

    def __init__(self, file: KekFile) -> None:
        self._file = file
        self.where = f"the key file {file.path}"

    async def load(self) -> KeyRing | None:
        return await asyncio.to_thread(self._file.load)

    async def create(self, kek: Kek) -> KeyRing:
        ring = KeyRing(kek)
        await asyncio.to_thread(self._file.put_first, ring)
        return ring

    async def replace(self, ring: KeyRing) -> None:
        await asyncio.to_thread(self._file.replace, ring)

    async def settled(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class StoredRing:
    """A ring as the database has it. Its ids stand in clear; they are those of every wrapped key's row, too."""

    current: str
    previous: tuple[str, ...]
    since: datetime
    ciphertext: str

    def encode(self) -> str:
        return json.dumps(
            {
                "current": self.current,
                "previous": self.previous,
                "since": to_micros(self.since),
                "ciphertext": self.ciphertext,
            }
        )

    @classmethod
    def parse(cls, text: str) -> StoredRing:
        """Raises KekUnusable."""
        try:
            found = json.loads(text)
            previous = tuple(str(one) for one in found["previous"])[: MAX_KEYS + 1]
            return cls(str(found["current"]), previous, from_micros(int(found["since"])), str(found["ciphertext"]))
        except (KeyError, TypeError, ValueError) as error:
            raise KekUnusable("the key-encryption keys in the database are damaged: restore a backup") from error


def stored_ring(uow: UnitOfWork) -> StoredRing | None:
    """Raises KekUnusable."""
    text = uow.settings.get(SETTING)
    return StoredRing.parse(text) if text else None


def fence(uow: UnitOfWork, kek_id: str) -> None:
    """To be called before anything is stored that `kek_id` wraps. Raises KekOvertaken, KekUnusable.

    The feed's lock keeps a rotation from happening between this and the commit.
    """
    uow.changes.lock()
    stored = stored_ring(uow)
    if stored is not None and stored.current != kek_id:
        raise KekOvertaken("another server has just rotated the key-encryption key: try again in a few seconds")


def ids_of(ring: KeyRing) -> tuple[str, ...]:
    """The one in use first."""
    return tuple(kek.id for kek in (ring.current, *ring.previous))


class TransitPlace:
    """Implements RingPlace: in the database, where only ciphertext is, bound to the trust domain."""

    shared = True

    def __init__(self, cipher: Cipher, store: Transactions, trust_domain: TrustDomain) -> None:
        self._cipher = cipher
        self._store = store
        self._context = framed(_CONTEXT, trust_domain.name)
        self._seen = ""
        self.where = f"the key ring in the database (encrypted by {cipher.place})"

    async def load(self) -> KeyRing | None:
        text = await self._store.read(lambda uow: uow.settings.get(SETTING) or "")
        ring = await self._open(StoredRing.parse(text)) if text else None
        self._seen = text
        return ring

    async def create(self, kek: Kek) -> KeyRing:
        ring = KeyRing(kek)
        try:
            await self.replace(ring)
        except KekOvertaken:
            return await self.load() or ring
        return ring

    async def replace(self, ring: KeyRing) -> None:
        sealed = await self.seal(ring)
        self._seen = await self._store.write(lambda uow: self.put(uow, ring, sealed))

    async def settled(self) -> bool:
        def read(uow: UnitOfWork) -> bool:
            stored = stored_ring(uow)
            return stored is not None and stored.since + GRACE <= uow.now

        return await self._store.read(read)

    async def seal(self, ring: KeyRing) -> str:
        """Raises KekUnusable."""
        try:
            return await self._cipher.encrypt(Masked(ring.encode().reveal().encode()), self._context)
        except VaultError as error:
            raise KekUnusable(f"{self._cipher.place} cannot encrypt the key-encryption keys: {error}") from error

    def put(self, uow: UnitOfWork, ring: KeyRing, sealed: str) -> str:
        """What is now stored. Raises KekOvertaken."""
        uow.changes.lock()
        if (uow.settings.get(SETTING) or "") != self._seen:
            raise KekOvertaken("another server has just changed the key-encryption keys: try again")
        stored = StoredRing(ring.current.id, tuple(kek.id for kek in ring.previous), uow.now, sealed)
        text = stored.encode()
        uow.settings.put(SETTING, text)
        return text

    def took(self, text: str) -> None:
        """What was put is committed."""
        self._seen = text

    def clear(self, uow: UnitOfWork) -> None:
        """They have moved elsewhere. Raises KekOvertaken."""
        uow.changes.lock()
        if (uow.settings.get(SETTING) or "") != self._seen:
            raise KekOvertaken("another server has just changed the key-encryption keys: try again")
        uow.settings.put(SETTING, "")

    async def _open(self, stored: StoredRing) -> KeyRing:
        try:
            plain = await self._cipher.decrypt(stored.ciphertext, self._context)
        except VaultError as error:
            raise KekUnusable(
                f"{self._cipher.place} does not decrypt the key-encryption keys, without which no authority key opens: "
                f"{error}"
            ) from error
        try:
            return parse_key_ring(Masked(plain.reveal().decode("ascii", errors="replace")))
        except InvalidKeyRing as error:
            raise KekUnusable(f"what {self._cipher.place} decrypts is no key ring: {error}") from None
