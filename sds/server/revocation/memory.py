"""A database that was restored from a backup must not forget what was revoked since, nor let its numbers go back.

`open_memory` compares the database with the journal beside it before anything is served, and puts back what is missing.
`Memory.keep` writes down what is new: after each revocation, before it is answered, and as a tick.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from attestation.spiffe_id import SpiffeId
from ca.authority import Authority
from sds.audit.event import Json, Target
from sds.logs import get_logger
from sds.server.events import Events, system_actor
from sds.server.revocation.journal import REVOKED, TAINTED, JournalUnusable, Known, Marks
from sds.server.revocation.journal_file import JournalFile
from sds.server.revocation.publisher import CRL_FLOOR
from sds.server.transactions import Transactions
from sds.store.errors import NotFound
from sds.store.revocation.records import BlockKind
from sds.store.settings import EPOCH
from sds.store.unit_of_work import UnitOfWork

MAX_LEAP = 1_000_000
"""How far an agent can make the bundle's sequence jump: what it says of itself is proof of nothing."""


class Memory:
    """The journal of this process. Replicas have one each, and each of them knows all."""

    def __init__(self, store: Transactions, file: JournalFile, events: Events, known: Known) -> None:
        self._store = store
        self._file = file
        self._events = events
        self._known = known
        self._one_at_a_time = asyncio.Lock()
        self._log = get_logger(__name__)

    async def keep(self) -> None:
        """Write down what the database says and the journal does not. Raises StoreError, OSError."""
        async with self._one_at_a_time:
            now, at = await self._store.read(lambda uow: (standing(uow), uow.now))
            news = self._known.news(now)
            if news or news.marks != self._known.marks:
                await asyncio.to_thread(self._file.append, news)
                self._known = self._known.joined(news).unexpired(at)
                if self._file.large:
                    await asyncio.to_thread(self._file.rewrite, self._known)

    async def tick(self) -> None:
        """`keep`, and look whether an agent has a newer bundle than there is. Raises StoreError, OSError."""
        await self.keep()
        await self._store.write(self._look_at_agents)

    def _look_at_agents(self, uow: UnitOfWork) -> None:
        """The whole data folder may be from a backup; then agents know of bundles that nobody here does."""
        newest = uow.authorities.bundle_sequence
        ahead = [one for one in uow.agents.all() if newest < one.bundle_sequence <= newest + MAX_LEAP]
        if not ahead:
            return
        farthest = max(ahead, key=lambda one: one.bundle_sequence)
        uow.authorities.raise_sequence(farthest.bundle_sequence)
        self._log.error(
            "an agent verifies by a newer trust bundle than this database has: it is from a backup, or the agent lies; "
            "look for revocations that it does not have",
            agent=str(farthest.spiffe_id),
            bundle_sequence=farthest.bundle_sequence,
            newest=newest,
        )
        details: dict[str, Json] = {
            "agent": str(farthest.spiffe_id),
            "bundle_sequence": farthest.bundle_sequence,
            "newest": newest,
        }
        target = Target("database", uow.settings.epoch)
        event = self._events.make(uow.now, "database.behind", system_actor(), target, details=details)
        uow.audit.append(event)


def standing(uow: UnitOfWork) -> Known:
    """What the database says now."""
    numbers = [record.number for record in uow.crls.all().values()]
    epoch = uow.settings.epoch
    marks = Marks(
        epoch,
        uow.changes.state().newest,
        uow.authorities.bundle_sequence,
        max([*numbers, int(uow.settings.get(CRL_FLOOR) or 0)]),
    )
    blocks = {block.id: block for block in uow.blocks.all()}
    revocations = {one.serial: one for one in uow.revocations.all()}
    authorities = {
        one.id: REVOKED if one.revoked else TAINTED for one in uow.authorities.all() if one.tainted or one.revoked
    }
    return Known(frozenset({epoch}), marks, blocks, revocations, authorities)


async def open_memory(store: Transactions, file: JournalFile, events: Events, new_epoch: Callable[[], str]) -> Memory:
    """Before anything is served. Raises JournalUnusable, StoreError."""
    try:
        return await _open(store, file, events, new_epoch)
    except OSError as error:
        raise JournalUnusable(f"the journal {file.path} cannot be used: {error.strerror}") from None


async def _open(store: Transactions, file: JournalFile, events: Events, new_epoch: Callable[[], str]) -> Memory:
    log = get_logger(__name__)
    known = await asyncio.to_thread(file.load)
    now, at = await store.read(lambda uow: (standing(uow), uow.now))
    if known.epochs and not now.epochs <= known.epochs:
        aside = await asyncio.to_thread(file.set_aside)
        log.warning("the journal of revocations was another database's; a new one is begun", set_aside=str(aside))
        known = Known()
    known = known.unexpired(at)
    if restored(now, known):
        details = await store.write(lambda uow: recover(uow, known, events, new_epoch()))
        log.error("the database is from a backup: what was revoked since is put back", **details)
        now = await store.read(standing)
    known = known.joined(known.news(now))
    await asyncio.to_thread(file.rewrite, known)
    return Memory(store, file, events, known)


def restored(now: Known, known: Known) -> bool:
    """Whether the database says less than it once did."""
    older_name = bool(known.marks.epoch) and known.marks.epoch not in now.epochs
    lost = any(True for _ in _lost_blocks(now, known)) or bool(known.revocations.keys() - now.revocations.keys())
    return older_name or lost or now.marks.behind(known.marks)


def _lost_blocks(now: Known, known: Known) -> Iterator[str]:
    """Blocks that are gone, and those whose lifting is."""
    for block_id, block in known.blocks.items():
        found = now.blocks.get(block_id)
        if found is None or (found.standing and not block.standing):
            yield block_id


def recover(uow: UnitOfWork, known: Known, events: Events, new_epoch: str) -> dict[str, int]:
    """Put back what is missing, in one transaction with its audit event. Returns what that was, in numbers.

    The database gets another name, so that no agent takes its old numbers for the ones that it knows; numbers that
    agents and verifiers compare go on above the highest that there ever was.
    """
    now = standing(uow)
    lost = sorted(_lost_blocks(now, known))
    for block_id in lost:
        uow.blocks.put(known.blocks[block_id])
    missing = [known.revocations[serial] for serial in sorted(known.revocations.keys() - now.revocations.keys())]
    uow.revocations.add(missing)
    agents = sum(_ban_again(uow, known, block_id) for block_id in lost)
    authorities = sum(_distrust_again(uow, one, known.authorities) for one in uow.authorities.all())
    uow.settings.put(EPOCH, new_epoch)
    uow.settings.put(CRL_FLOOR, str(max(known.marks.crl_number, now.marks.crl_number)))
    uow.authorities.raise_sequence(known.marks.bundle_sequence)
    uow.crls.outdate(uow.crls.all())
    numbers = {
        "blocks": len(lost),
        "certificates": len(missing),
        "agents": agents,
        "authorities": authorities,
        "revision": now.marks.revision,
        "revision_before": known.marks.revision,
        "bundle_sequence": now.marks.bundle_sequence,
        "bundle_sequence_before": known.marks.bundle_sequence,
    }
    target = Target("database", new_epoch)
    uow.audit.append(events.make(uow.now, "database.restored", system_actor(), target, details=dict(numbers)))
    return numbers


def _ban_again(uow: UnitOfWork, known: Known, block_id: str) -> bool:
    block = known.blocks[block_id]
    if block.kind is not BlockKind.AGENT or not block.standing:
        return False
    try:
        uow.agents.ban(SpiffeId.parse(block.value), block.incident or f"revoked: {block.reason}")
    except NotFound:
        return False
    return True


def _distrust_again(uow: UnitOfWork, standing: Authority, known: Mapping[str, str]) -> bool:
    """Taint or revoke it, if it once was and is not; whether that was so."""
    revoked = known.get(standing.id) == REVOKED
    if standing.id not in known or standing.revoked or (standing.tainted and not revoked):
        return False
    uow.authorities.compare_and_swap(standing, replace(standing, tainted=True, revoked=revoked))
    return True
