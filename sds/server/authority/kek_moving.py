"""The key-encryption keys move from a file into the database, encrypted by Vault, or back: at a start."""

from __future__ import annotations

import asyncio

from ca.kek import KeyRing
from sds.audit.event import Json, Target
from sds.logs import get_logger
from sds.server.authority.kek_file import KekFile, KekUnusable
from sds.server.authority.kek_ring import SETTING, FilePlace, RingPlace, TransitPlace, ids_of
from sds.server.events import Events, system_actor
from sds.server.transactions import Transactions
from sds.store.unit_of_work import UnitOfWork


async def settle_in(
    store: Transactions, file: KekFile, transit: TransitPlace | None, events: Events, *, in_file: bool
) -> tuple[RingPlace, KeyRing | None]:
    """The place that is configured and the ring in it, moved there if it was in the other one; None: there is none yet.

    Interrupted at any point it leaves the ring in one of them at least, and the next start goes on. Raises KekUnusable,
    KekOvertaken, StoreError.
    """
    if in_file:
        return FilePlace(file), await _into_file(store, file, transit, events)
    if transit is None:
        raise ValueError("the configuration was not checked")
    return transit, await _into_database(store, file, transit, events)


async def _into_database(store: Transactions, file: KekFile, transit: TransitPlace, events: Events) -> KeyRing | None:
    ring = await transit.load()
    if ring is not None:
        return ring
    ring = await asyncio.to_thread(file.load)
    if ring is None:
        return None
    moved = ring
    sealed = await transit.seal(moved)

    def work(uow: UnitOfWork) -> str:
        text = transit.put(uow, moved, sealed)
        _record(uow, events, moved, transit.where)
        return text

    transit.took(await store.write(work))
    get_logger(__name__).warning(
        "the key-encryption keys are in the database now, encrypted by Vault: rotate them (sds kek rotate), "
        "then destroy the key file and its copies",
        file=str(file.path),
    )
    return moved


async def _into_file(
    store: Transactions, file: KekFile, transit: TransitPlace | None, events: Events
) -> KeyRing | None:
    ring = await asyncio.to_thread(file.load)
    if not await store.read(lambda uow: uow.settings.get(SETTING)):
        return ring
    if transit is None:
        raise KekUnusable(
            "the key-encryption keys are in the database, encrypted by Vault: configure kek.vault_transit and vault "
            "until they have moved into the key file"
        )
    stored = await transit.load()
    if stored is None:
        return ring
    if ring is None:
        await asyncio.to_thread(file.put_first, stored)
        ring = stored
    elif not set(ids_of(stored)) <= set(ids_of(ring)):
        raise KekUnusable(
            f"the key file {file.path} holds other keys than the database, whose keys are to move into it: "
            "move the file out of the way"
        )
    moved = ring

    def work(uow: UnitOfWork) -> None:
        transit.clear(uow)
        _record(uow, events, moved, f"the key file {file.path}")

    await store.write(work)
    get_logger(__name__).warning(
        "the key-encryption keys are in the key file now: keep a copy off this host, and copy it to the other replicas",
        file=str(file.path),
    )
    return moved


def _record(uow: UnitOfWork, events: Events, ring: KeyRing, where: str) -> None:
    details: dict[str, Json] = {"to": where, "previous": tuple(kek.id for kek in ring.previous)}
    target = Target("kek", ring.current.id)
    uow.audit.append(events.make(uow.now, "kek.move", system_actor(), target, details=details))
