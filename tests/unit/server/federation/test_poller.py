"""The poller over a real database, with endpoints that answer what a test wants and a clock that it moves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.bundle import TrustBundle, make_bundle
from sds.audit.event import Actor, ActorKind, Outcome, Target
from sds.server.events import Events, system_actor
from sds.server.federation.errors import BundleRefused, EndpointNotAuthentic, EndpointUnreachable
from sds.server.federation.poller import CONCURRENCY, Caller, Poller
from sds.server.federation.schedule import PollPolicy
from sds.store.errors import NotFound, Reason, StoreUnavailable
from sds.store.federations import BundleSource, EndpointProfile, FederationRecord
from sds.store.records import AuditFilter
from sds.store.store import Store
from tests.fakes.bundle_endpoint import FakeEndpoints
from tests.fakes.ca import make_authority
from tests.fakes.clock import FakeClock
from tests.fakes.wait import until

OWN = TrustDomain("example.org")
OTHER = TrustDomain("other.example")
WEB = BundleSource(EndpointProfile.HTTPS_WEB, "https://other.example/")
POLICY = PollPolicy(timedelta(seconds=10), timedelta(minutes=10), timedelta(seconds=2))
ONE, TWO = (make_authority(OTHER).authority.certificate for _ in range(2))
OWN_BUNDLE = make_bundle(OWN, [make_authority(OWN).authority.certificate], 1)


def bundle(*ders: bytes, sequence: int = 1, hint: int = 60, domain: TrustDomain = OTHER) -> TrustBundle:
    return make_bundle(domain, ders or [ONE], sequence, timedelta(seconds=hint))


class Seen:
    """Implements FederationObserver."""

    def __init__(self) -> None:
        self.outcomes: list[str] = []
        self.ages: dict[str, float] = {}

    def federation_polled(self, outcome: str) -> None:
        self.outcomes.append(outcome)

    def federation_ages(self, ages: Iterable[tuple[str, float]]) -> None:
        self.ages = dict(ages)


class Bench:
    """One replica, or several, over one store."""

    def __init__(self, store: Store, clock: FakeClock, events: Events) -> None:
        self.store, self.clock, self.events = store, clock, events
        self.endpoints, self.seen = FakeEndpoints(), Seen()
        self.poller = self.replica()

    def replica(self) -> Poller:
        return Poller(self.store, self.endpoints, lambda: OWN_BUNDLE, self.events, self.clock, POLICY, self.seen)

    async def add(
        self, domain: TrustDomain = OTHER, source: BundleSource = WEB, held: TrustBundle | None = None
    ) -> FederationRecord:
        event = self.events.make(self.clock.now(), "federation.create", system_actor(), Target("trust_domain", "x"))

        def work(uow):
            uow.audit.append(event)
            return uow.federations.create(domain, source, held)

        return await self.store.write(work)

    async def change(self, work):
        event = self.events.make(self.clock.now(), "federation.update", system_actor(), Target("trust_domain", "x"))

        def audited(uow):
            uow.audit.append(event)
            return work(uow)

        return await self.store.write(audited)

    async def tick(self, *pollers: Poller) -> None:
        for poller in pollers or (self.poller,):
            await poller.tick()
        for poller in pollers or (self.poller,):
            await poller.idle()

    async def get(self, domain: TrustDomain = OTHER) -> FederationRecord:
        return await self.store.read(lambda uow: uow.federations.get(domain))

    async def audited(self, outcome: Outcome = Outcome.SUCCESS) -> list[str]:
        wanted = AuditFilter(action="federation.bundle", outcome=outcome.value)
        return [each.event.reason for each in await self.store.read(lambda uow: uow.audit.tail(0, 1000, wanted))]


@pytest.fixture
def bench(store: Store, clock: FakeClock, events: Events) -> Bench:
    return Bench(store, clock, events)


async def test_a_new_relationship_is_polled_at_once_and_then_by_its_hint(bench: Bench) -> None:
    bench.endpoints.answers[OTHER] = first = bundle(hint=100)
    await bench.add()
    await bench.tick()
    found = await bench.get()
    assert (found.bundle, found.fetched_at, found.problem) == (first, bench.clock.now(), "")
    bench.clock.advance(89)
    await bench.tick()
    assert bench.endpoints.asked[OTHER] == 1
    bench.clock.advance(11)
    await bench.tick()
    assert bench.endpoints.asked[OTHER] == 2
    assert bench.seen.outcomes == ["success", "unchanged"]
    assert len(await bench.audited()) == 1


async def test_a_failure_keeps_the_last_good_bundle_and_is_tried_again_with_back_off(bench: Bench) -> None:
    bench.endpoints.answers[OTHER] = first = bundle(hint=600)
    await bench.add()
    await bench.tick()
    bench.endpoints.answers[OTHER] = EndpointUnreachable("no route")
    tries = []
    for _ in range(4000):
        bench.clock.advance(1)
        before = bench.endpoints.asked[OTHER]
        await bench.tick()
        if bench.endpoints.asked[OTHER] > before:
            tries.append(bench.clock.now())
        if len(tries) == 6:
            break
    pauses = [(after - before).total_seconds() for before, after in pairwise(tries)]
    assert pauses == [2, 4, 8, 16, 31]
    found = await bench.get()
    assert (found.bundle, found.problem) == (first, "no route")
    assert found.fetched_at is not None
    assert bench.seen.ages["other.example"] > 500
    bench.endpoints.answers[OTHER] = bundle(TWO, sequence=2)
    bench.clock.advance(70)
    await bench.tick()
    assert ((await bench.get()).problem, bench.seen.outcomes[-1]) == ("", "success")
    assert await bench.audited(Outcome.REFUSED) == []


async def test_an_older_bundle_is_not_taken_and_is_told_once(bench: Bench) -> None:
    bench.endpoints.answers[OTHER] = newest = bundle(TWO, sequence=7, hint=10)
    await bench.add()
    await bench.tick()
    bench.endpoints.answers[OTHER] = bundle(ONE, sequence=6)
    for _ in range(3):
        bench.clock.advance(30)
        await bench.tick()
    found = await bench.get()
    assert found.bundle == newest
    assert found.problem == "the endpoint answered with sequence 6, older than 7, the last"
    assert await bench.audited(Outcome.REFUSED) == [found.problem]
    assert bench.seen.outcomes == ["success", "refused", "refused", "refused"]


async def test_what_is_no_bundle_or_no_endpoint_is_audited(bench: Bench) -> None:
    await bench.add()
    for failure in (BundleRefused("not JSON"), EndpointNotAuthentic("it is another")):
        bench.endpoints.answers[OTHER] = failure
        bench.clock.advance(1000)
        await bench.tick()
    assert await bench.audited(Outcome.REFUSED) == ["not JSON", "it is another"]
    assert (await bench.get()).bundle is None


async def test_an_empty_bundle_takes_everything_back(bench: Bench) -> None:
    """Trust Domain and Bundle 4.1.3."""
    bench.endpoints.answers[OTHER] = bundle(sequence=1, hint=10)
    await bench.add()
    await bench.tick()
    bench.endpoints.answers[OTHER] = empty = make_bundle(OTHER, [], 2)
    bench.clock.advance(60)
    await bench.tick()
    assert (await bench.get()).bundle == empty


async def test_the_endpoint_is_known_by_the_latest_bundle_of_its_own_trust_domain(bench: Bench) -> None:
    """Federation 5.2.2.4: self-serving, served by us, served by a third, and by one that is not known."""
    third = TrustDomain("third.example")
    held, thirds = bundle(), bundle(TWO, domain=third)

    def source(domain: str) -> BundleSource:
        return BundleSource(EndpointProfile.HTTPS_SPIFFE, "https://a/", SpiffeId.parse(f"spiffe://{domain}/server"))

    bench.endpoints.answers[OTHER] = held
    await bench.add(OTHER, source("other.example"), held)
    await bench.add(third, BundleSource(EndpointProfile.STATIC), thirds)
    for domain, expected in (
        ("other.example", held),
        ("example.org", OWN_BUNDLE),
        ("third.example", thirds),
        ("unknown.example", None),
    ):
        await bench.change(lambda uow, domain=domain: uow.federations.use_source(OTHER, source(domain)))
        await bench.tick()
        assert bench.endpoints.trusted[OTHER] == expected, domain


async def test_static_ones_are_not_polled(bench: Bench) -> None:
    await bench.add(OTHER, BundleSource(EndpointProfile.STATIC), bundle())
    bench.clock.advance(100_000)
    await bench.tick()
    assert not bench.endpoints.asked


async def test_another_endpoint_is_asked_at_once(bench: Bench) -> None:
    bench.endpoints.answers[OTHER] = bundle(hint=600)
    await bench.add()
    await bench.tick()
    moved = BundleSource(EndpointProfile.HTTPS_WEB, "https://moved.example/")
    await bench.change(lambda uow: uow.federations.use_source(OTHER, moved))
    await bench.tick()
    assert bench.endpoints.asked[OTHER] == 2


async def test_a_change_of_source_during_a_poll_discards_its_answer(bench: Bench) -> None:
    bench.endpoints.answers[OTHER] = bundle()
    await bench.add()
    bench.endpoints.open.clear()
    await bench.poller.tick()
    await until(lambda: bench.endpoints.waiting)
    moved = BundleSource(EndpointProfile.HTTPS_WEB, "https://moved.example/")
    await bench.change(lambda uow: uow.federations.use_source(OTHER, moved))
    bench.endpoints.open.set()
    await bench.poller.idle()
    assert (await bench.get()).bundle is None
    await bench.tick()
    assert (await bench.get()).bundle == bundle()


async def test_replicas_share_the_polls_and_write_once(bench: Bench) -> None:
    bench.endpoints.answers[OTHER] = bundle(hint=60)
    await bench.add()
    first, second = bench.poller, bench.replica()
    await bench.tick(first, second)
    assert len(await bench.audited()) == 1
    asked = bench.endpoints.asked[OTHER]
    for sequence in range(2, 12):
        bench.endpoints.answers[OTHER] = bundle(TWO, sequence=sequence, hint=60)
        bench.clock.advance(60)
        for poller in (first, second):
            await poller.tick()
            await poller.idle()
    assert (await bench.get()).bundle.sequence == 11
    assert len(await bench.audited()) == 11
    assert bench.endpoints.asked[OTHER] == asked + 10


async def test_a_poll_on_request_joins_one_that_is_under_way_and_says_what_stands(bench: Bench) -> None:
    bench.endpoints.answers[OTHER] = first = bundle()
    await bench.add()
    admin = Caller(Actor(ActorKind.ADMIN, "uid:0"), "r1")
    results = await asyncio.gather(*(bench.poller.poll(OTHER, admin) for _ in range(5)))
    assert {each.bundle for each in results} == {first}
    assert bench.endpoints.asked[OTHER] == 1
    with pytest.raises(NotFound):
        await bench.poller.poll(TrustDomain("nobody.example"), admin)


async def test_polls_at_once_are_bounded(bench: Bench) -> None:
    bench.endpoints.open.clear()
    for number in range(3 * CONCURRENCY):
        domain = TrustDomain(f"d{number}.example")
        bench.endpoints.answers[domain] = replace(bundle(), trust_domain=domain)
        await bench.add(domain)
    await bench.poller.tick()
    await until(lambda: bench.endpoints.waiting == CONCURRENCY)
    bench.endpoints.open.set()
    await bench.poller.idle()
    assert bench.endpoints.most_waiting == CONCURRENCY
    assert sum(bench.endpoints.asked.values()) == 3 * CONCURRENCY


async def test_a_deleted_relationship_is_forgotten_even_in_the_middle_of_a_poll(bench: Bench) -> None:
    bench.endpoints.answers[OTHER] = bundle()
    await bench.add()
    bench.endpoints.open.clear()
    await bench.poller.tick()
    await until(lambda: bench.endpoints.waiting)
    await bench.change(lambda uow: uow.federations.delete(OTHER))
    bench.endpoints.open.set()
    await bench.poller.idle()
    assert await bench.store.read(lambda uow: uow.federations.all()) == ()
    await bench.tick()
    assert bench.seen.ages == {}


class _NoWrites:
    """A store that reads but cannot write."""

    def __init__(self, store: Store) -> None:
        self.read = store.read

    async def write(self, _work):
        raise StoreUnavailable(Reason.READ_ONLY)


async def test_an_outcome_that_cannot_be_written_is_no_reason_to_ask_all_the_time(bench: Bench) -> None:
    await bench.add()
    stuck = Poller(
        _NoWrites(bench.store), bench.endpoints, lambda: OWN_BUNDLE, bench.events, bench.clock, POLICY, bench.seen
    )
    bench.endpoints.answers[OTHER] = EndpointUnreachable("no route")
    for _ in range(100):
        bench.clock.advance(1)
        await bench.tick(stuck)
    assert bench.endpoints.asked[OTHER] <= 15


@pytest.mark.parametrize("jump", [-86400.0, 86400.0])
async def test_clock_jumps_neither_silence_nor_flood(bench: Bench, jump: float) -> None:
    bench.endpoints.answers[OTHER] = bundle(hint=60)
    await bench.add()
    await bench.tick()
    bench.clock.jump(jump)
    for _ in range(120):
        bench.clock.advance(1)
        await bench.tick()
    assert 2 <= bench.endpoints.asked[OTHER] <= 5


ANSWERS = st.one_of(
    st.builds(
        lambda ders, sequence: make_bundle(OTHER, ders, sequence, timedelta(seconds=20)),
        st.sampled_from([(), (ONE,), (ONE, TWO)]),
        st.integers(0, 6),
    ),
    st.sampled_from([EndpointUnreachable("x"), BundleRefused("y"), EndpointNotAuthentic("z")]),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(ANSWERS, st.integers(0, 400), st.integers(0, 1)), min_size=1, max_size=12))
async def test_any_history_of_answers_over_two_replicas(bench: Bench, history) -> None:
    """The sequence that is held never goes back, a bundle once held is not lost to a failure, each change is audited."""
    with_suppressed = await bench.store.read(lambda uow: uow.federations.find(OTHER))
    if with_suppressed is not None:
        await bench.change(lambda uow: uow.federations.delete(OTHER))
    await bench.add()
    replicas = (bench.replica(), bench.replica())
    audited = len(await bench.audited())
    changes, held = 0, None
    for answer, pause, which in history:
        bench.endpoints.answers[OTHER] = answer
        bench.clock.advance(pause)
        await bench.tick(replicas[which])
        now_held = (await bench.get()).bundle
        if held is not None:
            assert now_held is not None
            assert now_held.sequence >= held.sequence or now_held.sequence == 0
        changes += now_held != held
        held = now_held
    assert len(await bench.audited()) == audited + changes
