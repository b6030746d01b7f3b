"""Writes the company into a database through the repositories, many rows a transaction, each with its audit event."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from typing import TypeVar

from attestation.entry import RegistrationEntry
from benchmarks.seed import life
from benchmarks.seed.company import Company, Sizes
from benchmarks.seed.place import Place, SeedRefused, analyze, opened
from ca.csr import VerifiedCsr
from ca.errors import CaError
from ca.intent import CertificateIntent, IssueRequest
from ca.issuer import Issuer, Prepared
from ca.keys import KeyType, generate
from ca.profile import ProfileName
from ca.revocation import Reason
from ca.serial import RandomSerials
from sds.audit.event import Actor, ActorKind, AuditEvent, Target
from sds.clock import SystemClock
from sds.server import options
from sds.server.audit.sequencer import Sequencer
from sds.server.datadir import DataDir
from sds.server.events import Events, agent_actor
from sds.server.issuance import intent_record
from sds.server.wiring.core import Core
from sds.store.records import AgentRecord, ProcessRecord, StreamRecord
from sds.store.revocation.records import BlockKind, BlockRecord, RevocationRecord
from sds.store.unit_of_work import UnitOfWork

T = TypeVar("T")
AGE = timedelta(hours=20)
"""How long ago the first certificate was issued. Servers forget what expired long ago."""
TTL = timedelta(hours=24)
BATCH = 2_000
CALL = 100
"""Certificates that an agent asked for at once."""
EVENTS = 10_000
PLACED = 20_000
"""Events that get their place in the log's tree in one transaction: nobody else waits for it here."""
OPERATOR = Actor(ActorKind.ADMIN, "uid:1000", "unix")


class Earlier(SystemClock):
    """The clock as it was when the company began."""

    def now(self) -> datetime:
        return super().now() - AGE - timedelta(hours=1)


async def fill(place: Place, sizes: Sizes) -> dict[str, object]:
    """Fill it. The seconds of each part. The server may not run meanwhile. Raises SeedRefused."""
    config, started, took = place.config(), time.perf_counter(), dict[str, float]()
    folder = DataDir(place.data_dir)
    try:
        async with opened(config, Earlier()):
            pass  # authorities have to be older than what they issued
        async with opened(config, SystemClock()) as core:
            if await core.store.read(lambda uow: uow.entries.all()):
                raise SeedRefused("this database has entries already: seed one that has none")
            seed = Seed(core, Company(config.trust_domain, sizes))
            for name in ("fleet", "certificates", "secrets", "events", "tree"):
                began = time.perf_counter()
                await getattr(seed, name)()
                took[name] = round(time.perf_counter() - began, 1)
            counted = await seed.counted()
        if place.database.startswith("postgresql"):
            await asyncio.to_thread(analyze, place.database)
    finally:
        folder.close()
    return {**counted, "seconds": took, "total_seconds": round(time.perf_counter() - started, 1)}


class Seed:
    """One run, part after part in this order."""

    def __init__(self, core: Core, company: Company) -> None:
        self._core = core
        self._company = company
        self._sizes = company.sizes
        self._now = core.clock.now().replace(microsecond=0)
        self._start = self._now - AGE
        self._maker = Events("seed")
        self._entries: list[RegistrationEntry] = []
        self._written = 0

    async def fleet(self) -> None:
        """Agents, and the entries of their workloads."""
        for agents in _batches(self._company.agents(self._now), BATCH):

            def attest(uow: UnitOfWork, those: Sequence[AgentRecord] = agents) -> None:
                for one in those:
                    uow.agents.upsert(one)

            await self._write(attest, [self._made("agent.attest", "agent", str(one.spiffe_id)) for one in agents])
        for numbers in _batches(range(self._sizes.entries), BATCH):

            def create(uow: UnitOfWork, those: Sequence[int] = numbers) -> list[RegistrationEntry]:
                return [uow.entries.create(self._company.entry(one), f"{one:032x}") for one in those]

            self._entries += await self._write(
                create, [self._made("entry.create", "entry", f"{one:032x}") for one in numbers]
            )

    async def certificates(self) -> None:
        """Issued as ever, though nobody asked: intents and events, then signatures, then records. Some are revoked."""
        signing = self._core.authorities.signing()
        issuer = Issuer(options.issuance_policy(self._core.config), RandomSerials(os.urandom))
        step = AGE / max(self._sizes.certificates, 1)
        newest: dict[int, str] = {}
        for places in _batches(range(self._sizes.certificates), BATCH):
            now = self._start + places[0] * step
            chosen = [self._entries[place % len(self._entries)] for place in places]
            keys = [VerifiedCsr.of_own_key(generate(KeyType.ECDSA_P256)) for _ in places]
            requests = [
                IssueRequest(ProfileName.WORKLOAD, entry.spiffe_id, key, entry.spec.dns_names, TTL)
                for entry, key in zip(chosen, keys, strict=True)
            ]
            prepared = [_sound(one) for one in issuer.prepare(requests, signing, now)]
            await self._intend(prepared, chosen, places, now, step)
            issued = [_sound(one) for one in issuer.issue(prepared)]
            ders = [(one.intent.serial, one.der) for one in issued]
            await self._core.store.write(partial(_mark, ders))
            await self._revoke([one.intent for one in prepared[:: max(1, len(prepared) // 2)]], now)
            newest |= {
                place % self._sizes.entries: one.intent.serial for place, one in zip(places, prepared, strict=True)
            }
        await self._streams(newest)

    async def secrets(self) -> None:
        """Definitions and grants; no values."""

        def create(uow: UnitOfWork) -> None:
            for number in range(self._sizes.secrets):
                uow.secrets.create(self._company.secret(number), f"{number:032x}")
                for place, subject in enumerate(self._company.subjects(number)):
                    uow.grants.create(f"{number:032x}", subject, f"{place:08x}{number:024x}", "uid:1000")

        names = [self._company.secret(number).name for number in range(self._sizes.secrets)]
        await self._write(create, [self._made("secret.create", "secret", name) for name in names])

    async def events(self) -> None:
        """As many more as were asked for."""
        more = max(0, self._sizes.events - self._written)
        for some in _batches(life.events(self._company, self._maker, more, self._start, self._now), EVENTS):
            await self._write(lambda _uow: None, some)

    async def tree(self) -> None:
        """Each event's place in the log's tree, under signed checkpoints."""
        core = self._core
        metrics = core.telemetry.metrics.ledger
        await Sequencer(core.store, core.ledger.keys, metrics, core.clock, batch=PLACED).drain()

    async def counted(self) -> dict[str, object]:
        """What is there now, as the database says."""

        def count(uow: UnitOfWork) -> dict[str, object]:
            return {
                "entries": len(self._entries),
                "certificates": self._sizes.certificates,
                "events": uow.audit.count(),
                "tree": uow.audit_tree.head().size,
                "revocations": uow.revocations.count(),
            }

        return await self._core.store.read(count)

    async def _intend(
        self,
        prepared: Sequence[Prepared],
        chosen: Sequence[RegistrationEntry],
        places: Sequence[int],
        now: datetime,
        step: timedelta,
    ) -> None:
        records, said = [], []
        for one, entry, place in zip(prepared, chosen, places, strict=True):
            number = place % len(self._entries)
            asked, process = now + (place - places[0]) * step, self._company.process(number)
            agent, under = entry.parent_id, (entry.id, entry.revision)
            records.append(intent_record(one.intent, asked, entry=under, agent_id=agent, process=process))
            said.append(self._issued(one, asked, entry, process, place))
        await self._write(lambda uow: uow.certificates.add_intents(records), said)

    def _issued(
        self, one: Prepared, asked: datetime, entry: RegistrationEntry, process: ProcessRecord, place: int
    ) -> AuditEvent:
        actor = agent_actor(entry.parent_id, self._company.address(place % self._sizes.agents))
        under, request_id = (entry.id, entry.revision), f"{place // CALL:032x}"
        return self._maker.certificate(asked, one.intent, actor, request_id, entry=under, process=process)

    async def _revoke(self, intents: Sequence[CertificateIntent], now: datetime) -> None:
        """Two in each batch, each by a decision of its own."""

        def revoke(uow: UnitOfWork) -> None:
            for one in intents:
                block = BlockRecord(
                    os.urandom(16).hex(), BlockKind.SERIAL, one.serial, Reason.KEY_COMPROMISE, "INC-42", now, "uid:1000"
                )
                uow.blocks.add(block)
                uow.revocations.add(
                    [RevocationRecord(one.serial, one.authority_id, one.not_after, block.reason, now, block.id)]
                )

        await self._write(revoke, [self._made("certificate.revoke", "certificate", one.serial) for one in intents])

    async def _streams(self, newest: Mapping[int, str]) -> None:
        """One sidecar for each entry, with its newest certificate."""
        for numbers in _batches(newest, BATCH):
            streams = [self._company.stream(number, newest[number], self._now) for number in numbers]
            await self._core.store.write(partial(_upsert, streams))

    def _made(self, action: str, kind: str, target: str) -> AuditEvent:
        return self._maker.make(self._start, action, OPERATOR, Target(kind, target))

    async def _write(self, work: Callable[[UnitOfWork], T], said: Sequence[AuditEvent]) -> T:
        """`work` with its events, in one transaction."""

        def both(uow: UnitOfWork) -> T:
            done = work(uow)
            uow.audit.append_all(said)
            return done

        done = await self._core.store.write(both)
        self._written += len(said)
        return done


def _mark(ders: Sequence[tuple[str, bytes]], uow: UnitOfWork) -> None:
    uow.certificates.mark_issued(ders)


def _upsert(streams: Sequence[StreamRecord], uow: UnitOfWork) -> None:
    uow.streams.upsert(streams)


def _sound(answer: T | CaError) -> T:
    if isinstance(answer, CaError):
        raise answer
    return answer


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    source = iter(items)
    while batch := list(islice(source, size)):
        yield batch
