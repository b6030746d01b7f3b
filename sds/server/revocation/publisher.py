"""Keeps the list of every published authority true, or has none while nothing was ever revoked.

A list of one authority alone would make verifiers refuse what all others issued, so all lists come at once, in one
transaction with the new sequence of the bundle that carries them. Level-triggered: `ensure` looks at what is revoked
and at what the lists say, after each change and as a tick, on any replica.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from ca.authority import Authority, AuthorityKind
from ca.errors import CaError
from ca.revocation import Revoked
from sds.audit.event import Json, Target
from sds.clock import Clock
from sds.logs import get_logger
from sds.server.events import Events, rfc3339, system_actor
from sds.server.revocation.lists import Lists, Signers
from sds.server.transactions import Transactions
from sds.store.errors import Conflict, ConstraintViolated
from sds.store.records import ChangeKind
from sds.store.revocation.records import CrlRecord, Missed, RevocationRecord
from sds.store.unit_of_work import UnitOfWork

MAX_SWEEP = 10_000
"""Certificates that slipped past a block, taken in one transaction; what is left is found by the next look."""
CRL_FLOOR = "crl_number_floor"
"""The highest number that any list had before this database was restored from a backup."""
_ATTEMPTS = 8


class ListObserver(Protocol):
    """Is told how long the lists are, and of each that was made."""

    def lists(self, revoked: int, problem: bool) -> None: ...

    def listed(self, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class _Look:
    """What stands. `lists` has those of all authorities, also of such that are published no more."""

    now: datetime
    wanted: bool
    floor: int
    published: tuple[Authority, ...]
    revoked: Mapping[str, tuple[Revoked, ...]]
    lists: Mapping[str, CrlRecord]
    missed: tuple[Missed, ...]

    @property
    def orphans(self) -> list[str]:
        """Authorities that have a list and are in the bundle no more."""
        return sorted(self.lists.keys() - {one.id for one in self.published})


def look(uow: UnitOfWork) -> _Look:
    published = tuple(one for one in uow.authorities.all(AuthorityKind.X509) if not one.revoked)
    wanted = uow.crls.wanted
    return _Look(
        now=uow.now,
        wanted=wanted,
        floor=int(uow.settings.get(CRL_FLOOR) or 0),
        published=published,
        revoked={one.id: uow.revocations.under(one.id) for one in published} if wanted else {},
        lists=uow.crls.all(),
        missed=uow.revocations.missed(limit=MAX_SWEEP) if wanted else (),
    )


class CrlPublisher:
    """One for each process; replicas may do the same at the same time, and one of them wins."""

    def __init__(
        self, store: Transactions, signers: Signers, events: Events, clock: Clock, observer: ListObserver
    ) -> None:
        self._store = store
        self._lists = Lists(signers)
        self._events = events
        self._clock = clock
        self._observer = observer
        self._one_at_a_time = asyncio.Lock()
        self._problem: str | None = None
        self._log = get_logger(__name__)

    @property
    def problem(self) -> str | None:
        """Why what is revoked does not reach the sidecars; None if it does, as far as this process is concerned."""
        return self._problem

    async def ensure(self) -> None:
        """When this returns, the lists say what was revoked before it was called.

        Raises StoreError, CaError, or ValueError when there is more to say than a list may hold; then the lists of
        other authorities have been published all the same, unless there were none before.
        """
        async with self._one_at_a_time:
            try:
                await self._ensure()
            except Exception as error:
                self._problem = str(error)
                self._observer.lists(0, True)
                raise
            self._problem = None

    async def tick(self) -> None:
        """`ensure`, and what goes wrong is logged."""
        try:
            await self.ensure()
        except (CaError, ValueError) as error:
            self._log.error("what is revoked cannot be published", reason=str(error))

    async def _ensure(self) -> None:
        for _ in range(_ATTEMPTS):
            standing = await self._store.read(look)
            if standing.missed:
                await self._store.write(lambda uow, missed=standing.missed: self._sweep(uow, missed))  # type: ignore[misc]
                continue
            if not standing.wanted:
                return
            made, failure = await self._make(standing)
            try:
                if made or standing.orphans:
                    await self._store.write(lambda uow, new=made, seen=standing: self._publish(uow, new, seen))  # type: ignore[misc]
            except (Conflict, ConstraintViolated):
                continue  # another replica was faster: look again
            if failure is not None:
                raise failure
            self._observer.lists(sum(map(len, standing.revoked.values())), False)
            return
        raise Conflict("the CRLs of the authorities", "other numbers")

    async def _make(self, standing: _Look) -> tuple[list[CrlRecord], Exception | None]:
        """What is to be published, and what stood in the way of the rest. The first lists come all at once or not."""
        made: list[CrlRecord] = []
        failure: Exception | None = None
        for authority in standing.published:
            revoked, over = standing.revoked[authority.id], standing.lists.get(authority.id)
            started = self._clock.monotonic()
            try:
                if self._lists.outdated(over, revoked, standing.now):
                    made.append(await self._lists.make(authority, revoked, over, standing.now, standing.floor))
                    self._observer.listed(self._clock.monotonic() - started)
            except (CaError, ValueError) as error:
                if not standing.lists:
                    raise
                failure = error
        return made, failure

    def _publish(self, uow: UnitOfWork, made: Sequence[CrlRecord], seen: _Look) -> None:
        for new in made:
            uow.crls.put(new, over=seen.lists.get(new.authority_id))
            details: dict[str, Json] = {
                "number": new.number,
                "entries": len(seen.revoked[new.authority_id]),
                "digest": new.digest,
                "next_update": rfc3339(new.next_update),
            }
            target = Target("authority", new.authority_id)
            uow.audit.append(self._events.make(uow.now, "crl.publish", system_actor(), target, details=details))
        for authority_id in seen.orphans:
            uow.crls.remove(authority_id)
            target = Target("authority", authority_id)
            uow.audit.append(self._events.make(uow.now, "crl.remove", system_actor(), target))
        if made:
            uow.authorities.bundle_changed()

    def _sweep(self, uow: UnitOfWork, missed: Sequence[Missed]) -> None:
        uow.revocations.add(
            [
                RevocationRecord(
                    serial=one.certificate.serial,
                    authority_id=one.certificate.authority_id,
                    not_after=one.certificate.not_after,
                    reason=one.reason,
                    revoked_at=uow.now,
                    block_id=one.block_id,
                )
                for one in missed
            ]
        )
        for one in missed:
            certificate = one.certificate
            details = {"spiffe_id": str(certificate.spiffe_id), "block_id": one.block_id, "reason": str(one.reason)}
            target = Target("certificate", certificate.serial)
            uow.audit.append(self._events.make(uow.now, "certificate.revoke", system_actor(), target, details=details))
            uow.changes.append(ChangeKind.BLOCK, one.block_id)
