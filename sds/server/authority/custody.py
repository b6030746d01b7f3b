"""Authority keys in the database, wrapped by the key file: opening it at start, and rotating it without losing a key.

A rotation is three steps, each of which leaves keys that open: the file holds (new, old); every key is wrapped anew in
one transaction; the file holds (new). Whoever finds two keys in the file at start does the last two steps again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from attestation.spiffe_id import TrustDomain
from ca.kek import NONCE_BYTES, KeyRing, WrappedKey
from ca.key_managers.wrapped import WrappedKeyManager
from sds.audit.event import Actor, Json, Target
from sds.logs import get_logger
from sds.server.authority.kek_file import KekFile, KekFileUnusable
from sds.server.events import Events, system_actor
from sds.server.transactions import Transactions
from sds.store.unit_of_work import UnitOfWork


class KeyStore:
    """Implements ca.key_managers.wrapped.WrappedKeyStore."""

    def __init__(self, store: Transactions, events: Events) -> None:
        self._store = store
        self._events = events

    async def put(self, key: WrappedKey) -> None:
        def work(uow: UnitOfWork) -> None:
            uow.keys.put(key)
            label = key.label
            details = {"purpose": label.purpose, "key_type": str(label.key_type), "kek_id": key.kek_id}
            uow.audit.append(
                self._events.make(uow.now, "key.create", system_actor(), Target("key", label.key_id), details=details)
            )

        await self._store.write(work)

    async def get(self, key_id: str) -> WrappedKey | None:
        return await self._store.read(lambda uow: uow.keys.get(key_id))

    async def remove(self, key_id: str) -> None:
        def work(uow: UnitOfWork) -> None:
            if uow.keys.remove(key_id):
                uow.audit.append(self._events.make(uow.now, "key.destroy", system_actor(), Target("key", key_id)))

        await self._store.write(work)


class Custody:
    """The key manager and the file that it depends on. Made by `open_custody`."""

    def __init__(
        self,
        store: Transactions,
        file: KekFile,
        manager: WrappedKeyManager,
        events: Events,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._store = store
        self._file = file
        self._events = events
        self._random_bytes = random_bytes
        self._one_at_a_time = asyncio.Lock()
        self.manager = manager

    async def rotate(self, actor: Actor, request_id: str) -> tuple[str, str, int]:
        """A new key-encryption key: the old one's id, the new one's, and how many keys were wrapped anew.

        Raises KekFileUnusable, StoreError, KeyUnwrapFailed; then the keys still open, and the next start or rotation
        finishes or repeats what was begun.
        """
        async with self._one_at_a_time:
            if self.manager.ring.previous:
                await self._finish(actor, request_id)
            old = self.manager.ring
            new = old.rotated(await asyncio.to_thread(self._file.new_key))
            await asyncio.to_thread(self._file.replace, new)
            self.manager.use(new)  # keys made from here on are wrapped by the new one already
            count = await self._finish(actor, request_id)
        return old.current.id, new.current.id, count

    async def check(self) -> None:
        """Whether the file still holds the key that the next start will need. Raises KekFileUnusable."""
        ring = await asyncio.to_thread(self._file.load)
        if ring is None:
            raise KekFileUnusable(
                f"the key file {self._file.path} is gone; this process has what it held, the next one will not: "
                "restore it from your copy before a restart"
            )
        if self.manager.ring.current.id not in {kek.id for kek in (ring.current, *ring.previous)}:
            raise KekFileUnusable(
                f"the key file {self._file.path} holds another key-encryption key than the one in use "
                f"({self.manager.ring.current.id}): restore the right one before a restart"
            )

    async def resume(self) -> None:
        """Finish a rotation that was interrupted. Raises as `rotate`."""
        async with self._one_at_a_time:
            if self.manager.ring.previous:
                await self._finish(system_actor(), "")

    async def _finish(self, actor: Actor, request_id: str) -> int:
        ring = self.manager.ring

        def work(uow: UnitOfWork) -> int:
            done = uow.keys.rewrap(lambda key: ring.rewrap(key, self._random_bytes(NONCE_BYTES)))
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

        count = await self._store.write(work)
        retired = ring.retired()
        await asyncio.to_thread(self._file.replace, retired)
        self.manager.use(retired)
        return count


async def open_custody(
    store: Transactions,
    file: KekFile,
    trust_domain: TrustDomain,
    events: Events,
    random_bytes: Callable[[int], bytes],
) -> Custody:
    """Open the key file, or make it if the database holds no wrapped key yet. Raises KekFileUnusable, StoreError.

    Starting with the wrong file would end in a server that cannot sign, so it is refused here with what to do.
    """
    wrapped = await store.read(lambda uow: uow.keys.all())
    ring = await asyncio.to_thread(file.load)
    if ring is None:
        if wrapped:
            ids = ", ".join(sorted({key.kek_id for key in wrapped}))
            raise KekFileUnusable(
                f"the key file {file.path} is gone, and authority keys are wrapped by it (key-encryption key {ids}): "
                "restore it from your copy; without it no authority key opens"
            )
        ring = await asyncio.to_thread(file.create)
        get_logger(__name__).info("made a key-encryption key: keep a copy off this host", file=str(file.path))
    _check_holds(ring, wrapped, file)
    manager = WrappedKeyManager(KeyStore(store, events), ring, trust_domain, random_bytes)
    custody = Custody(store, file, manager, events, random_bytes)
    await custody.resume()
    return custody


def _check_holds(ring: KeyRing, wrapped: tuple[WrappedKey, ...], file: KekFile) -> None:
    held = {kek.id for kek in (ring.current, *ring.previous)}
    missing = sorted({key.kek_id for key in wrapped} - held)
    if missing:
        raise KekFileUnusable(
            f"the key file {file.path} holds key-encryption key {', '.join(sorted(held))}, but authority keys are "
            f"wrapped by {', '.join(missing)}: restore the right file (after a rotation on another replica, copy its "
            "file here)"
        )
