"""The authorised state against a naive model, over random histories: an agent that applies what it is sent is right."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.entry import RegistrationEntry
from attestation.spiffe_id import SpiffeId
from ca.bundle import TrustBundle
from sds.server.facts import Facts, Refresh, Touched
from sds.server.parent import MAX_HISTORY
from sds.server.registry import Registry
from sds.server.watch import Update, WatchEnded
from tests.fakes.clock import EPOCH
from tests.unit.server.registry_kit import BUNDLE, TD, A, B, agent, entry, make


class Follower:
    """What an agent does with updates."""

    def __init__(self) -> None:
        self.entries: dict[str, RegistrationEntry] = {}
        self.revision = 0
        self.epoch = ""
        self.bundle: TrustBundle | None = None
        self.messages: list[Update] = []

    def take_in(self, update: Update | None) -> None:
        if update is None:
            return
        self.messages.append(update)
        if update.snapshot:
            self.entries = {}
        self.entries.update({each.id: each for each in update.upserted})
        for name in update.removed:
            self.entries.pop(name, None)
        self.bundle = update.bundle or self.bundle
        self.revision, self.epoch = update.revision, update.epoch


async def test_a_watch_begins_with_everything_of_that_agent() -> None:
    registry = make(entry("one"), entry("two"), entry("other", B))
    update = registry.watch(A, 0, "", now=EPOCH).take()
    assert update == Update(
        10, "epoch", snapshot=True, upserted=(entry("one"), entry("two")), bundle=BUNDLE, federated=()
    )


async def test_an_agent_without_entries_gets_an_empty_snapshot() -> None:
    update = make().watch(A, 0, "", now=EPOCH).take()
    assert update == Update(10, "epoch", snapshot=True, bundle=BUNDLE, federated=())


async def test_changes_wake_and_are_told_once() -> None:
    registry = make()
    watcher = registry.watch(A, 0, "", now=EPOCH)
    watcher.take()
    assert not await watcher.wait(0.001)
    registry.apply(Refresh(11, {"one": entry("one")}), now=EPOCH)
    registry.apply(Refresh(12, {"theirs": entry("theirs", B)}), now=EPOCH)
    assert await watcher.wait(1)
    assert watcher.take() == Update(12, "epoch", upserted=(entry("one"),))
    assert watcher.take() is None
    assert not await watcher.wait(0.001)


async def test_many_changes_between_two_reads_are_one() -> None:
    registry = make(entry("one"), entry("two"))
    watcher = registry.watch(A, 0, "", now=EPOCH)
    watcher.take()
    for number in range(100):
        registry.apply(Refresh(11 + number, {"one": entry("one", revision=2 + number)}), now=EPOCH)
    registry.apply(Refresh(200, {"two": None, "three": entry("three")}), now=EPOCH)
    registry.apply(Refresh(201, {"three": None}), now=EPOCH)
    update = watcher.take()
    assert update == Update(201, "epoch", upserted=(entry("one", revision=101),), removed=("three", "two"))


async def test_a_watcher_that_missed_too_much_starts_over() -> None:
    registry = Registry(Facts("epoch", 1, (), (), BUNDLE, history_floor=1), now=EPOCH, max_pending=3)
    watcher = registry.watch(A, 0, "", now=EPOCH)
    watcher.take()
    for number in range(10):
        registry.apply(Refresh(2 + number, {f"e{number}": entry(f"e{number}")}), now=EPOCH)
    update = watcher.take()
    assert update is not None
    assert (update.snapshot, len(update.upserted), update.bundle) == (True, 10, BUNDLE)


async def test_a_new_bundle_reaches_everyone() -> None:
    registry = make()
    watchers = [registry.watch(A, 0, "", now=EPOCH), registry.watch(B, 0, "", now=EPOCH)]
    for watcher in watchers:
        watcher.take()
    new = TrustBundle(TD, (b"one", b"two"), 2)
    registry.apply(Refresh(11, bundle=new), now=EPOCH)
    registry.apply(Refresh(12, bundle=new), now=EPOCH)
    for watcher in watchers:
        assert watcher.take() == Update(12, "epoch", bundle=new)
        assert watcher.take() is None


async def test_resuming_needs_the_epoch_and_a_known_place() -> None:
    history = [Touched(8, A, "one"), Touched(9, B, "other"), Touched(10, A, "gone")]
    registry = make(entry("one"), entry("two"), history=history, history_floor=7)

    def first(revision: int, epoch: str = "epoch") -> Update:
        update = registry.watch(A, revision, epoch, now=EPOCH).take()
        assert update is not None
        return update

    assert first(7) == Update(10, "epoch", upserted=(entry("one"),), removed=("gone",), bundle=BUNDLE, federated=())
    assert first(8) == Update(10, "epoch", removed=("gone",), bundle=BUNDLE, federated=())
    assert first(10) == Update(10, "epoch", bundle=BUNDLE, federated=())
    for revision, epoch in ((6, "epoch"), (11, "epoch"), (8, "other"), (8, ""), (0, "epoch")):
        assert first(revision, epoch).snapshot


async def test_a_history_that_overflows_gives_snapshots_to_who_is_too_far_behind() -> None:
    registry = make(revision=1)
    for number in range(MAX_HISTORY + 10):
        registry.apply(Refresh(2 + number, {f"e{number}": entry(f"e{number}")}), now=EPOCH)
        registry.apply(Refresh(2 + number, {f"e{number}": None}), now=EPOCH)

    def resumed(revision: int) -> Update:
        update = registry.watch(A, revision, "epoch", now=EPOCH).take()
        assert update is not None
        return update

    assert resumed(5).snapshot
    assert not resumed(12).snapshot
    assert len(resumed(12).removed) == MAX_HISTORY - 1


async def test_expiry_removes_and_stays_removed() -> None:
    soon = EPOCH + timedelta(seconds=10)
    registry = make(entry("short", expires_at=soon), entry("long"))
    watcher = registry.watch(A, 0, "", now=EPOCH)
    watcher.take()
    assert registry.next_expiry == soon
    registry.expire(soon - timedelta(microseconds=1))
    assert watcher.take() is None
    registry.expire(soon)
    assert watcher.take() == Update(10, "epoch", removed=("short",))
    registry.expire(soon)
    assert watcher.take() is None
    assert registry.next_expiry is None
    snapshot = registry.watch(A, 0, "", now=soon).take()
    assert snapshot is not None
    assert snapshot.upserted == (entry("long"),)
    registry.apply(Refresh(11, {"short": entry("short", revision=2)}), now=soon)
    assert watcher.take() == Update(11, "epoch", upserted=(entry("short", revision=2),))


async def test_an_entry_that_comes_in_expired_is_never_shown() -> None:
    registry = make(entry("dead", expires_at=EPOCH))
    watcher = registry.watch(A, 0, "", now=EPOCH)
    assert watcher.take() == Update(10, "epoch", snapshot=True, bundle=BUNDLE, federated=())
    registry.apply(Refresh(11, {"dead2": entry("dead2", expires_at=EPOCH)}), now=EPOCH)
    assert watcher.take() == Update(11, "epoch", removed=("dead2",))


async def test_postponing_again_and_again_keeps_the_clockwork_small() -> None:
    registry = make()
    for number in range(5000):
        later = EPOCH + timedelta(days=1, seconds=number)
        registry.apply(Refresh(11 + number, {"e": entry("e", revision=number + 1, expires_at=later)}), now=EPOCH)
    assert len(registry._expiries) < 100
    registry.expire(EPOCH + timedelta(days=1, seconds=4998))
    assert registry.next_expiry == EPOCH + timedelta(days=1, seconds=4999)


async def test_agents_are_told_and_their_watchers_nudged() -> None:
    registry = make()
    told: list[tuple[SpiffeId, bool | None]] = []
    registry.on_agent(lambda spiffe_id, record: told.append((spiffe_id, record.banned if record else None)))
    watcher, other = registry.watch(A, 0, "", now=EPOCH), registry.watch(B, 0, "", now=EPOCH)
    watcher.take()
    other.take()
    registry.apply(Refresh(11, agents={A: agent(banned=True)}), now=EPOCH)
    assert await watcher.wait(0)
    assert not await other.wait(0)
    assert registry.agent(A) == agent(banned=True)
    registry.apply(Refresh(12, agents={A: None}), now=EPOCH)
    assert registry.agent(A) is None
    assert told == [(A, True), (A, None)]


async def test_loading_everything_again_resets_watchers_and_tells_of_agents_that_went() -> None:
    registry = make(entry("one"))
    watcher = registry.watch(A, 0, "", now=EPOCH)
    watcher.take()
    told: list[SpiffeId] = []
    registry.on_agent(lambda spiffe_id, _: told.append(spiffe_id))
    registry.reload(Facts("restored", 3, (entry("two"),), (agent(A),), BUNDLE, history_floor=3), now=EPOCH)
    update = watcher.take()
    assert update == Update(3, "restored", snapshot=True, upserted=(entry("two"),), bundle=BUNDLE, federated=())
    assert set(told) == {A, B}
    registry.apply(Refresh(4, {"three": entry("three")}), now=EPOCH)
    assert watcher.take() == Update(4, "restored", upserted=(entry("three"),))


async def test_a_closed_watcher_is_forgotten_and_an_ended_one_says_why() -> None:
    registry = make()
    watcher = registry.watch(A, 0, "", now=EPOCH)
    assert (registry.watching(A), registry.watchers, registry.agents_watching) == (1, 1, 1)
    registry.end_watches("going down")
    registry.end_watches("later")
    with pytest.raises(WatchEnded, match="going down"):
        watcher.take()
    watcher.close()
    watcher.close()
    assert (registry.watching(A), registry.watchers, registry.agents_watching) == (0, 0, 0)


async def test_ending_wakes_a_reader_that_waits() -> None:
    registry = make()
    watcher = registry.watch(A, 0, "", now=EPOCH)
    watcher.take()
    waiting = asyncio.create_task(watcher.wait(10))
    await asyncio.sleep(0)
    registry.end_watches("bye")
    assert await asyncio.wait_for(waiting, 1)


NAMES = st.sampled_from(["a", "b", "c", "d"])
STEP = st.one_of(
    st.tuples(st.just("put"), NAMES, st.sampled_from([A, B]), st.sampled_from([None, 5, 20])),
    st.tuples(st.just("delete"), NAMES),
    st.tuples(st.just("tick"), st.integers(1, 10)),
    st.tuples(st.just("read"), st.sampled_from([0, 1])),
    st.tuples(st.just("reconnect"), st.sampled_from([0, 1]), st.booleans()),
    st.tuples(st.just("restart")),
)


class World:
    """The truth, the registry that follows it, and two agents that follow the registry."""

    def __init__(self) -> None:
        self.now = EPOCH
        self.seq = 1
        self.truth: dict[str, RegistrationEntry] = {}
        self.history: list[Touched] = []
        self.registry = make(revision=1)
        self.agents = (A, B)
        self.followers = [Follower(), Follower()]
        self.watchers = [self.registry.watch(each, 0, "", now=EPOCH) for each in self.agents]

    def put(self, name: str, new: RegistrationEntry | None) -> None:
        old = self.truth.pop(name, None)
        self.seq += 1
        self.history += [Touched(self.seq, each.parent_id, name) for each in (old, new) if each is not None]
        if new is not None:
            self.truth[name] = new
        self.registry.apply(Refresh(self.seq, {name: new}), now=self.now)

    def expected(self, parent: SpiffeId) -> dict[str, RegistrationEntry]:
        return {e.id: e for e in self.truth.values() if e.parent_id == parent and e.live(self.now)}

    def connect(self, number: int) -> None:
        self.watchers[number].close()
        follower = self.followers[number]
        self.watchers[number] = self.registry.watch(
            self.agents[number], follower.revision, follower.epoch, now=self.now
        )

    def restart(self) -> None:
        facts = Facts("epoch", self.seq, tuple(self.truth.values()), (), BUNDLE, self.history, history_floor=1)
        self.registry = Registry(facts, now=self.now)
        for number in (0, 1):
            self.connect(number)

    def read(self, number: int) -> None:
        self.followers[number].take_in(self.watchers[number].take())
        assert self.followers[number].entries == self.expected(self.agents[number])

    def step(self, step: tuple[object, ...]) -> None:
        match step:
            case ("put", str(name), SpiffeId() as parent, lifetime):
                expires = self.now + timedelta(seconds=lifetime) if isinstance(lifetime, int) else None
                self.put(name, entry(name, parent, revision=self.seq, expires_at=expires))
            case ("delete", str(name)):
                self.put(name, None)
            case ("tick", int(seconds)):
                self.now += timedelta(seconds=seconds)
                self.registry.expire(self.now)
            case ("read", int(number)):
                self.read(number)
            case ("reconnect", int(number), bool(loses_everything)):
                if loses_everything:
                    self.followers[number] = Follower()
                self.connect(number)
            case ("restart",):
                self.restart()


@settings(max_examples=300, deadline=None)
@given(st.lists(STEP, max_size=40))
def test_whatever_happens_an_agent_that_reads_is_right(steps: list[tuple[object, ...]]) -> None:
    async def play() -> None:
        world = World()
        for step in steps:
            world.step(step)
        for number in (0, 1):
            world.read(number)
            assert world.watchers[number].take() is None

    asyncio.run(play())
