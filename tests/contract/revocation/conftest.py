"""Real authorities in a real database, with their keys in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, TypeVar

import pytest

from ca.authority import Authority, AuthorityState, SigningAuthority
from ca.errors import AuthorityUnavailable
from ca.revocation import Crl, Reason, parse_crl
from ca.signer import Signer
from sds.server.events import Events
from sds.server.revocation.publisher import CrlPublisher
from sds.store.records import CertificateRecord
from sds.store.revocation.records import BlockKind, BlockRecord, RevocationRecord
from sds.store.store import Store
from sds.store.unit_of_work import UnitOfWork
from tests.contract.store import samples
from tests.fakes.ca import make_authority
from tests.fakes.clock import FakeClock

T = TypeVar("T")


class Watched:
    """What an observer is told."""

    def __init__(self) -> None:
        self.revoked: list[tuple[int, bool]] = []
        self.made = 0

    def lists(self, revoked: int, problem: bool) -> None:
        self.revoked.append((revoked, problem))

    def listed(self, seconds: float) -> None:
        assert seconds >= 0
        self.made += 1


@dataclass
class World:
    """A trust domain, and what may go wrong with the keys of its authorities."""

    store: Store
    clock: FakeClock
    keys: dict[str, Signer] = field(default_factory=dict)
    observer: Watched = field(default_factory=Watched)
    away: set[str] = field(default_factory=set)

    async def signer(self, authority: Authority) -> Signer:
        if authority.id in self.away:
            raise AuthorityUnavailable("the key does not answer")
        return self.keys[authority.id]

    def publisher(self) -> CrlPublisher:
        return CrlPublisher(self.store, self, Events("test"), self.clock, self.observer)

    async def change(self, work: Callable[[UnitOfWork], T]) -> T:
        return await samples.change(self.store, work)

    async def authority(
        self, state: AuthorityState = AuthorityState.ACTIVE, lifetime: timedelta = timedelta(days=90), **changes: Any
    ) -> SigningAuthority:
        made = make_authority(now=self.clock.now(), lifetime=lifetime)
        made = replace(made, authority=replace(made.authority, state=state, **changes))
        self.keys[made.authority.id] = made.signer
        await self.change(lambda uow: uow.authorities.add(made.authority))
        return made

    async def certificate(self, serial: str, authority: SigningAuthority, **changes: Any) -> CertificateRecord:
        now = self.clock.now()
        times = {"requested_at": now, "not_before": now, "not_after": now + timedelta(hours=1)}
        record = samples.certificate(serial, authority_id=authority.authority.id, **{**times, **changes})
        await self.change(lambda uow: uow.certificates.add_intents([record]))
        return record

    async def revoke(self, *records: CertificateRecord, reason: Reason = Reason.KEY_COMPROMISE) -> BlockRecord:
        """As the service does it, without looking for what else is concerned."""
        now = self.clock.now()
        block = BlockRecord(f"b-{records[0].serial}", BlockKind.SERIAL, records[0].serial, reason, "", now, "uid:0")
        revoked = [
            RevocationRecord(one.serial, one.authority_id, one.not_after, reason, now, block.id) for one in records
        ]

        def work(uow: UnitOfWork) -> None:
            uow.blocks.add(block)
            uow.revocations.add(revoked)

        await self.change(work)
        return block

    async def lists(self) -> dict[str, Crl]:
        stored = await self.store.read(lambda uow: uow.crls.all())
        read = {authority_id: parse_crl(record.der) for authority_id, record in stored.items()}
        for authority_id, record in stored.items():
            assert (read[authority_id].number, read[authority_id].issuer_key_id) == (record.number, authority_id)
            assert read[authority_id].next_update == record.next_update
        return read

    async def sequence(self) -> int:
        return await self.store.read(lambda uow: uow.authorities.bundle_sequence)

    async def events(self, action: str) -> list[Any]:
        rows = await self.store.read(lambda uow: uow.audit.tail(0, 1000))
        return [row.event for row in rows if row.event.action == action]


@pytest.fixture
def world(store: Store, clock: FakeClock) -> World:
    return World(store, clock)
