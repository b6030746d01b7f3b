"""Authority keys in the database, wrapped by key-encryption keys that rest elsewhere: opening those at start, and
rotating them without losing a key.

A rotation is three steps, each of which leaves keys that open: the ring holds (new, old); every key is wrapped anew in
one transaction; the ring holds (new). In a file the last one follows at once, and whoever finds two keys in it at start
does the last two steps again. A ring that replicas share keeps the old key until all of them have learned of the new
one, and then whoever notices first does the last two steps.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from attestation.spiffe_id import TrustDomain
from ca.kek import KEK_BYTES, MAX_KEYS, NONCE_BYTES, Kek, KeyRing, WrappedKey
from ca.key_managers.wrapped import WrappedKeyManager
from ca.masked import Masked
from sds.audit.event import Actor, Json, Target
from sds.logs import get_logger
from sds.server.authority.kek_file import KekFile, KekUnusable
from sds.server.authority.kek_moving import settle_in
from sds.server.authority.kek_ring import KekOvertaken, RingPlace, TransitPlace, fence, ids_of
from sds.server.events import Events, system_actor
from sds.server.secrets.sealing import data_kek_ids, data_keys, rewrap_data_keys
from sds.server.transactions import Transactions
from sds.store.unit_of_work import UnitOfWork

Rewrap = Callable[[UnitOfWork, KeyRing], int]
"""Wraps anew what of one kind is not under the ring's current key; how many that were. Raises KeyUnwrapFailed."""


class KeyStore:
    """Implements ca.key_managers.wrapped.WrappedKeyStore."""

    def __init__(self, store: Transactions, events: Events) -> None:
        self._store = store
        self._events = events
        self.on_unknown: Callable[[str], Awaitable[None]] | None = None
        """Is told the key-encryption key of each key that is read, before it is to open."""

    async def put(self, key: WrappedKey) -> None:
        def work(uow: UnitOfWork) -> None:
            fence(uow, key.kek_id)
            uow.keys.put(key)
            label = key.label
            details = {"purpose": label.purpose, "key_type": str(label.key_type), "kek_id": key.kek_id}
            uow.audit.append(
                self._events.make(uow.now, "key.create", system_actor(), Target("key", label.key_id), details=details)
            )

        await self._store.write(work)

    async def get(self, key_id: str) -> WrappedKey | None:
        found = await self._store.read(lambda uow: uow.keys.get(key_id))
        if found is not None and self.on_unknown is not None:
            await self.on_unknown(found.kek_id)
        return found

    async def remove(self, key_id: str) -> None:
        def work(uow: UnitOfWork) -> None:
            if uow.keys.remove(key_id):
                uow.audit.append(self._events.make(uow.now, "key.destroy", system_actor(), Target("key", key_id)))

        await self._store.write(work)


class Custody:
    """The key manager and the key ring that it depends on. Made by `open_custody`."""

    def __init__(
        self,
        store: Transactions,
        place: RingPlace,
        manager: WrappedKeyManager,
        events: Events,
        trust_domain: TrustDomain,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._store = store
        self._place = place
        self._events = events
        self._random_bytes = random_bytes
        self._one_at_a_time = asyncio.Lock()
        self._log = get_logger(__name__)
        self.manager = manager
        # Data keys first: they take the feed's lock before any row is touched.
        self.rewraps: tuple[Rewrap, ...] = (
            lambda uow, ring: rewrap_data_keys(uow, ring, trust_domain, random_bytes),
            lambda uow, ring: uow.keys.rewrap(lambda key: ring.rewrap(key, random_bytes(NONCE_BYTES))),
        )
        """All that the ring wraps, wrapped anew in one transaction."""

    @property
    def shared(self) -> bool:
        """Whether all replicas have one ring, so that nothing has to be copied to them."""
        return self._place.shared

    async def rotate(self, actor: Actor, request_id: str) -> tuple[str, str, int]:
        """A new key-encryption key: the old one's id, the new one's, and how many keys were wrapped anew.

        Raises KekUnusable, KekOvertaken, StoreError, KeyUnwrapFailed; then the keys still open, and
        the next start or rotation finishes or repeats what was begun.
        """
        async with self._one_at_a_time:
            if self._place.shared:
                await self._adopt()
            elif self.manager.ring.previous:
                await self._rewrap(actor, request_id)
                await self._retire()
            old = self.manager.ring
            _check_room(len(old.previous))
            new = old.rotated(Kek.of(Masked(self._random_bytes(KEK_BYTES))))
            await self._place.replace(new)
            self.manager.use(new)  # keys made from here on are wrapped by the new one already
            count = await self._rewrap(actor, request_id)
            if not self._place.shared:
                await self._retire()
        return old.current.id, new.current.id, count

    async def plan(self) -> tuple[str, int]:
        """The key-encryption key that `rotate` would replace, and how many keys it would wrap anew. Nothing is changed.

        Raises KekUnusable where that would, StoreError.
        """
        async with self._one_at_a_time:
            if self._place.shared:
                await self._adopt()
                _check_room(len(self.manager.ring.previous))
            return self.manager.ring.current.id, await self._store.read(_wrapped)

    async def check(self) -> None:
        """Whether the ring can be had still, as the next start will need it; and where it is shared, what others have
        made of it. Raises KekUnusable, StoreError.
        """
        ring = await self._place.load()
        if ring is None:
            raise KekUnusable(
                f"{self._place.where} is gone; this process has what it held, the next one will not: restore it from "
                "your copy before a restart"
            )
        ours = self.manager.ring.current.id
        if ours not in ids_of(ring) and not self._place.shared and not await self._copied(ring):
            raise KekUnusable(
                f"{self._place.where} holds another key-encryption key than the one in use ({ours}): "
                "restore the right one before a restart"
            )
        if self._place.shared:
            async with self._one_at_a_time:
                await self._tend()

    async def resume(self) -> None:
        """Finish a rotation that was interrupted. Raises as `rotate`."""
        if self._place.shared:
            return  # whoever checks next does it when the time has come
        async with self._one_at_a_time:
            if self.manager.ring.previous:
                await self._rewrap(system_actor(), "")
                await self._retire()

    async def learn(self, kek_id: str) -> None:
        """Take over another replica's rotation at once if something is wrapped by a key that we have not got."""
        if not self._place.shared or kek_id in ids_of(self.manager.ring):
            return
        async with self._one_at_a_time:
            await self._adopt()

    async def _copied(self, ring: KeyRing) -> bool:
        """Whether it is that of a replica that rotated, and wrapped all by it: then it is used. Raises StoreError."""
        async with self._one_at_a_time:
            wrapped = await self._store.read(_wrapped_by)
            if not wrapped or not wrapped <= set(ids_of(ring)):
                return False
            self.manager.use(ring)
            self._log.info("the key-encryption key is another one now", kek_id=ring.current.id)
            return True

    async def _tend(self) -> None:
        await self._adopt()
        if not self.manager.ring.previous or not await self._place.settled():
            return
        try:
            await self._rewrap(system_actor(), "")
            await self._retire()
        except KekOvertaken as error:
            self._log.debug("another server was quicker", reason=str(error))

    async def _adopt(self) -> None:
        """Use what is stored. Raises KekUnusable, StoreError."""
        ring = await self._place.load()
        if ring is not None and ids_of(ring) != ids_of(self.manager.ring):
            self.manager.use(ring)
            self._log.info("the key-encryption key is another one now", kek_id=ring.current.id)

    async def _rewrap(self, actor: Actor, request_id: str) -> int:
        ring = self.manager.ring

        def work(uow: UnitOfWork) -> int:
            done = sum(rewrap(uow, ring) for rewrap in self.rewraps)
            details: dict[str, Json] = {"previous": tuple(kek.id for kek in ring.previous), "rewrapped": done}
            uow.audit.append(
                self._events.make(
                    uow.now,
                    "kek.rotate",
                    actor,
                    Target("kek", ring.current.id),
                    request_id=request_id,
                    details=details,
                )
            )
            return done

        return await self._store.write(work)

    async def _retire(self) -> None:
        retired = self.manager.ring.retired()
        await self._place.replace(retired)
        self.manager.use(retired)


async def open_custody(
    store: Transactions,
    file: KekFile,
    trust_domain: TrustDomain,
    events: Events,
    random_bytes: Callable[[int], bytes],
    *,
    transit: TransitPlace | None = None,
    in_file: bool = True,
) -> Custody:
    """Open the key ring, or make one if nothing is wrapped yet. Raises KekUnusable, KekOvertaken, StoreError.

    With `in_file` it belongs into the file, else into the database by `transit`; it is moved there if it is still in
    the other place. Starting with the wrong one would end in a server that cannot sign, so it is refused here.
    """
    place, ring = await settle_in(store, file, transit, events, in_file=in_file)
    wrapped = await store.read(_wrapped_by)
    if ring is None:
        if wrapped:
            raise KekUnusable(
                f"{place.where} is gone, and authority keys or secrets are wrapped by it (key-encryption key "
                f"{', '.join(sorted(wrapped))}): restore it from your copy; without it no authority key opens"
            )
        ring = await place.create(Kek.of(Masked(random_bytes(KEK_BYTES))))
        get_logger(__name__).info("made a key-encryption key: back it up apart from the database", place=place.where)
    missing = sorted(wrapped - set(ids_of(ring)))
    if missing:
        raise KekUnusable(
            f"{place.where} holds key-encryption key {', '.join(sorted(ids_of(ring)))}, but authority keys or secrets "
            f"are wrapped by {', '.join(missing)}: restore the right one (a file that was rotated on another replica "
            "is copied here)"
        )
    keys = KeyStore(store, events)
    manager = WrappedKeyManager(keys, ring, trust_domain, random_bytes)
    custody = Custody(store, place, manager, events, trust_domain, random_bytes)
    keys.on_unknown = custody.learn
    await custody.resume()
    return custody


def _check_room(previous: int) -> None:
    """Raises KekUnusable if the ring has no place for one more."""
    if previous + 1 >= MAX_KEYS:
        raise KekUnusable("too many rotations in a short time: wait a minute")


def _wrapped(uow: UnitOfWork) -> int:
    """Everything that the ring wraps."""
    return len(uow.keys.all()) + data_keys(uow)


def _wrapped_by(uow: UnitOfWork) -> frozenset[str]:
    """The key-encryption keys without which something does not open."""
    return frozenset(key.kek_id for key in uow.keys.all()) | data_kek_ids(uow)
