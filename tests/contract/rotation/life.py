"""The life of two replicas as a state machine: what may happen, and what must hold after each step."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from attestation.spiffe_id import SpiffeId
from ca.authority import Authority, AuthorityKind, AuthorityState
from ca.errors import AuthorityUnavailable, RotationRefused
from ca.rotation import MAX_SLOTS
from sds.audit.event import AuditEvent, Target
from sds.rotation.orders import Orders
from sds.rotation.steps import Call
from sds.server.authorized import check_authority
from sds.server.events import system_actor
from sds.store.errors import Conflict, ConstraintViolated, NotFound
from sds.store.records import AgentRecord, CertificateRecord, ProcessRecord, ResourceRecord, StreamRecord
from sds.store.unit_of_work import UnitOfWork
from tests.contract.rotation.replicas import ACTIVE, EVENTS, LEAF, LIFE, OLD, PREPARED, X509, Replica
from tests.fakes.clock import EPOCH
from tests.fakes.slots import TD

ORDER = {PREPARED: 0, ACTIVE: 1, OLD: 2}
ASKED = Call(system_actor(), "asked")
CHOICE = st.integers(0, 7)
"""Of whatever there is then. Who wins a race differs from run to run, so what is drawn must not depend on that."""
REFUSED = (RotationRefused, AuthorityUnavailable, Conflict, ConstraintViolated, NotFound)
"""What an administrator may be told when somebody else was faster, or does not wait."""


class Life(RuleBasedStateMachine):
    """`fresh` gives the URL of an empty database."""

    fresh: ClassVar[Callable[[], str]]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.keys: set[str] = set()
        numbers = itertools.count(1)
        url = type(self).fresh()
        self.replicas = [Replica(url, self.keys, numbers) for _ in range(2)]
        self.numbers = itertools.count(1)
        self.states: dict[str, AuthorityState] = {}
        self.sequence = 0
        self.high_water = EPOCH
        self.crashed = False

    def run(self, *work: Awaitable[object]) -> list[object]:
        async def all_of_it() -> list[object]:
            return await asyncio.gather(*work)

        return self.runner.run(all_of_it())

    def now(self) -> datetime:
        self.high_water = max(self.high_water, *(one.clock.now() for one in self.replicas))
        return self.replicas[0].clock.now()

    # Steps

    @initialize()
    def begin(self) -> None:
        self.tick()
        for _ in range(2):
            self.attest()

    @rule(minutes=st.sampled_from([0.5, 3, 10, 45, 90, 400]))
    def pass_time(self, minutes: float) -> None:
        for one in self.replicas:
            one.clock.advance(minutes * 60)
        self.now()

    @rule(which=st.integers(0, 1), minutes=st.sampled_from([-200, -2, 2, 60, 200]))
    def jump(self, which: int, minutes: float) -> None:
        self.replicas[which].clock.jump(minutes * 60)
        self.now()

    @rule(which=st.integers(0, 1))
    def set_clock_right(self, which: int) -> None:
        mine, other = self.replicas[which].clock, self.replicas[1 - which].clock
        mine.jump((other.now() - mine.now()).total_seconds())

    @rule()
    def tick(self) -> None:
        """Both at the same time."""
        self.run(*(one.executor.tick() for one in self.replicas))

    @rule(which=st.integers(0, 1))
    def tick_one(self, which: int) -> None:
        self.run(self.replicas[which].executor.tick())

    @rule(which=st.integers(0, 1))
    def crash(self, which: int) -> None:
        """In the middle of a tick; what it had made and not stored is lost."""
        replica = self.replicas[which]

        async def die() -> None:
            ticking = asyncio.ensure_future(replica.executor.tick())
            for _ in range(3):
                await asyncio.sleep(0)
            ticking.cancel()
            await asyncio.wait([ticking])
            await replica.store.close()

        self.run(die())
        replica.start()
        self.crashed = True

    @rule(which=st.integers(0, 1), away=st.booleans())
    def key_manager(self, which: int, away: bool) -> None:
        self.replicas[which].maker.away = away

    @rule()
    def attest(self) -> None:
        """Whoever comes has the newest bundle."""
        number = next(self.numbers)

        def work(uow: UnitOfWork) -> None:
            name = SpiffeId(TD, f"/sds/agent/n{number}")
            expires = self.high_water + 8 * LIFE
            uow.agents.upsert(AgentRecord(name, "join_token", frozenset(), "01", expires, "00", EPOCH))
            uow.agents.verifies_by(name, uow.authorities.bundle_sequence)
            uow.audit.append(EVENTS.make(uow.now, "agent.attest", system_actor(), Target("agent", str(name))))

        if number <= 5:
            self.run(self.replicas[0].store.write(work))

    @rule(chosen=CHOICE, late=st.booleans())
    def acknowledge(self, chosen: int, late: bool) -> None:
        """An agent has the newest bundle; its sidecar has it or the one before."""
        agents = self.read(lambda uow: uow.agents.all())
        agent = agents[chosen % len(agents)].spiffe_id

        def work(uow: UnitOfWork) -> None:
            newest = uow.authorities.bundle_sequence
            held = {stream.stream_id: stream for stream in uow.streams.list().items if stream.agent_id == agent}
            before = held["s"].resources[0].acked_sequence if "s" in held else newest
            uow.agents.verifies_by(agent, newest)
            resource = ResourceRecord("ROOTCA", "v", sent_sequence=newest, acked_sequence=before if late else newest)
            stream = StreamRecord(agent, "s", "sotw", ProcessRecord(1, 0, "/envoy"), (), "", EPOCH, (resource,))
            uow.streams.upsert([stream])

        self.run(self.replicas[0].store.write(work))

    @rule(which=st.integers(0, 1), kind=st.sampled_from(AuthorityKind))
    def prepare(self, which: int, kind: AuthorityKind) -> None:
        if sum(one.kind is kind for one in self.slots()) < MAX_SLOTS - 1:
            self.ask(which, lambda orders: orders.prepare(kind, ASKED))

    @rule(chosen=CHOICE, which=st.integers(0, 1), force=st.booleans())
    def activate(self, chosen: int, which: int, force: bool) -> None:
        name = self.any_slot(chosen)
        self.ask(which, lambda orders: orders.activate(name, ASKED, force=force))

    @rule(chosen=CHOICE, which=st.integers(0, 1))
    def taint(self, chosen: int, which: int) -> None:
        """While others sign below it."""
        name = self.any_slot(chosen)
        signing = (self.sign(replica, X509) for replica in self.replicas)
        self.ask(which, lambda orders: orders.taint(name, ASKED), *signing)

    @rule(chosen=CHOICE, which=st.integers(0, 1), force=st.booleans())
    def revoke(self, chosen: int, which: int, force: bool) -> None:
        name = self.any_slot(chosen)
        full = sum(one.kind is slot.kind for slot in self.slots() if slot.id == name for one in self.slots())
        if full < MAX_SLOTS - 1:
            self.ask(which, lambda orders: orders.revoke(name, ASKED, force=force))

    @rule(which=st.integers(0, 1))
    def issue(self, which: int) -> None:
        self.run(self.sign(self.replicas[which], X509), self.replicas[1 - which].executor.tick())

    async def sign(self, replica: Replica, kind: AuthorityKind) -> None:
        """As issuance does: with what was active a moment ago, looked at once more where it becomes durable."""
        slots = await replica.store.read(lambda uow: uow.authorities.all(kind))
        active = next((one for one in slots if one.usable(replica.clock.now())), None)
        if active is None:
            return
        serial = f"{next(self.numbers):04x}"

        def work(uow: UnitOfWork) -> None:
            check_authority(uow, active.id)
            not_after = min(uow.now + LEAF, active.not_after)
            uow.certificates.add_intents(
                [
                    CertificateRecord(
                        serial, SpiffeId(TD, "/w"), "00", "workload", active.id, uow.now, not_after, uow.now
                    )
                ]
            )
            target = Target("certificate", serial)
            details = {"authority_id": active.id}
            uow.audit.append(EVENTS.make(uow.now, "certificate.issue", system_actor(), target, details=details))

        try:
            await replica.store.write(work)
        except AuthorityUnavailable:
            return

    def ask(self, which: int, order: Callable[[Orders], Awaitable[object]], *beside: Awaitable[object]) -> None:
        """While the other replica ticks."""

        async def obeyed() -> None:
            try:
                await order(self.replicas[which].orders)
            except REFUSED:
                return

        self.run(obeyed(), self.replicas[1 - which].executor.tick(), *beside)

    def any_slot(self, chosen: int) -> str:
        slots = self.slots()
        return slots[chosen % len(slots)].id if slots else "none"

    # What must hold

    def read(self, work: Callable[[UnitOfWork], object]) -> object:
        return self.run(self.replicas[0].store.read(work))[0]

    def slots(self) -> tuple[Authority, ...]:
        return self.read(lambda uow: uow.authorities.all())  # type: ignore[return-value]

    @invariant()
    def states_go_forwards_and_one_of_a_kind_is_active(self) -> None:
        slots = self.slots()
        for one in slots:
            assert ORDER[one.state] >= ORDER[self.states.get(one.id, PREPARED)]
            self.states[one.id] = one.state
        active = [one.kind for one in slots if one.state is ACTIVE]
        assert len(active) == len(set(active))
        for kind in AuthorityKind:
            assert sum(one.kind is kind for one in slots) <= MAX_SLOTS

    @invariant()
    def keys_in_custody_are_those_of_authorities(self) -> None:
        refs = {one.key_ref for one in self.slots()}
        assert refs <= self.keys
        if not self.crashed:
            assert refs == self.keys

    @invariant()
    def sequences_grow(self) -> None:
        sequence = self.read(lambda uow: uow.authorities.bundle_sequence)
        assert isinstance(sequence, int)
        assert sequence >= self.sequence
        self.sequence = sequence

    @invariant()
    def the_log_tells_it_all(self) -> None:
        """Every active authority has its event; who was cut off is in it; nothing was signed below a tainted one."""
        events = self.events()
        slots = {one.id: one for one in self.slots()}
        for one in slots.values():
            if one.state is not PREPARED:
                activation = [e for e in events if e.action == "authority.activate" and e.target.id == one.id]
                assert len(activation) == 1
                if one.state is ACTIVE and one.kind is X509:
                    self.check_fleet(one, activation[0])
        tainted: set[str] = set()
        for event in events:
            if event.action in {"authority.taint", "authority.revoke"}:
                tainted.add(event.target.id)
            elif event.action == "certificate.issue":
                assert event.details["authority_id"] not in tainted

    def check_fleet(self, active: Authority, activation: AuditEvent) -> None:
        gate = activation.details["gate"]
        assert isinstance(gate, dict)
        recorded = {(one["agent_id"], one["stream"]) for one in gate["stragglers"]}  # type: ignore[union-attr, index, call-overload]
        if recorded:
            assert activation.details["forced"] or activation.details["past_deadline"]

        def late(uow: UnitOfWork) -> set[tuple[str, str]]:
            agents = {one.spiffe_id: one for one in uow.agents.all() if one.not_after >= self.high_water}
            found = {(str(i), "") for i, one in agents.items() if one.bundle_sequence < active.published_sequence}
            for stream in uow.streams.list().items:
                if stream.agent_id in agents and stream.resources[0].acked_sequence < active.published_sequence:
                    found.add((str(stream.agent_id), stream.stream_id))
            return found

        found = self.read(late)
        assert isinstance(found, set)
        assert found <= recorded

    @invariant()
    def what_is_valid_is_in_the_bundle(self) -> None:
        standing = {one.id for one in self.slots()}
        revoked = {event.target.id for event in self.events() if event.action == "authority.revoke"}
        certificates = self.read(lambda uow: uow.certificates.search(limit=1000).items)
        for one in certificates:  # type: ignore[attr-defined]
            if one.not_after >= self.high_water and one.authority_id not in revoked:
                assert one.authority_id in standing

    def events(self) -> list[AuditEvent]:
        found = self.read(lambda uow: [stored.event for stored in uow.audit.tail(None)])
        assert isinstance(found, list)
        return found

    def teardown(self) -> None:
        """Left alone, both replicas come to rest with something that signs."""
        try:
            for one in self.replicas:
                one.maker.away = False
            self.set_clock_right(0)
            for _ in range(30):
                for one in self.replicas:
                    one.clock.advance(30)
                self.tick()
            assert not self.run(self.replicas[0].executor.tick())[0]
            now = self.now()
            for kind in AuthorityKind:
                assert any(one.kind is kind and one.usable(now) for one in self.slots())
        finally:
            self.run(*(one.store.close() for one in self.replicas))
            self.runner.close()
