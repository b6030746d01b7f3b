from __future__ import annotations

import asyncio
import gc
import weakref
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestation.selector import Selectors
from sds.agent.cache import Cache
from sds.agent.cache.group import WAKES_PER_TURN, Group
from sds.agent.renewal import Attempt
from sds.delivery.view import EMPTY, WAITING
from tests.fakes.clock import FakeClock
from tests.unit.agent.cache_kit import SELECTOR_SETS, UID, FakeMember
from tests.unit.agent.entries import bundle, entry, selectors, svid


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def cache(clock: FakeClock) -> Cache:
    made = Cache(clock)
    made.apply((), snapshot=True, bundle=bundle())
    return made


def join(cache: Cache, texts: Selectors = UID, pid: int = 1) -> tuple[Group, FakeMember]:
    member = FakeMember(pid)
    return cache.join(texts, member), member


def test_callers_with_the_same_selectors_share_one_view(cache: Cache) -> None:
    cache.apply([entry()])
    cache.put({"e1": svid(entry())})
    groups = [join(cache, pid=pid)[0] for pid in range(100)]
    assert len({id(group.view) for group in groups}) == 1
    assert groups[0].view.spiffe_ids == ("spiffe://example.org/e1",)


def test_groups_that_match_the_same_entries_share_one_view(cache: Cache) -> None:
    cache.apply([entry()])
    cache.put({"e1": svid(entry())})
    one, _ = join(cache, UID)
    other, _ = join(cache, UID | selectors("unix:path:/bin/y"), pid=2)
    assert one is not other
    assert one.view is other.view


def test_a_new_certificate_wakes_who_has_it_and_nobody_else(cache: Cache) -> None:
    cache.apply([entry(), entry("e2", "unix:uid:2000")])
    mine, member = join(cache)
    other, bystander = join(cache, selectors("unix:uid:2000"), pid=2)
    cache.put({"e1": svid(entry())})
    assert (member.wakes, bystander.wakes) == (1, 0)
    assert other.view is WAITING
    before = mine.view
    cache.put({"e1": svid(entry(), "02")})
    assert member.wakes == 2
    assert mine.view is not before
    resource = mine.view.resolve("default")
    assert resource is not None
    assert resource.serial == "02"


def test_several_certificates_at_once_are_one_wake(cache: Cache) -> None:
    cache.apply([entry("a"), entry("b"), entry("c")])
    _, member = join(cache)
    cache.put({name: svid(entry(name)) for name in "abc"})
    assert member.wakes == 1


def test_the_default_waits_for_its_certificate_instead_of_being_another_ones(cache: Cache) -> None:
    first = entry("first", hint="default")
    cache.apply([first, entry("second")])
    group, _ = join(cache)
    cache.put({"second": svid(entry("second"))})
    assert group.view.resolve("default") is None
    assert group.view.resolve("spiffe://example.org/second") is not None
    assert group.view.resolve("ROOTCA") is not None
    cache.put({"first": svid(first)})
    resource = group.view.resolve("default")
    assert resource is not None
    assert resource.digest == svid(first).identity.resource.digest


def test_a_bundle_alone_is_for_nobody(cache: Cache) -> None:
    cache.apply([entry()])
    group, _ = join(cache)
    assert group.view is WAITING


def test_a_new_bundle_reaches_everyone(cache: Cache) -> None:
    cache.apply([entry()])
    cache.put({"e1": svid(entry())})
    group, member = join(cache)
    before = group.view.resolve("ROOTCA")
    cache.apply((), bundle=bundle(2))
    after = group.view.resolve("ROOTCA")
    assert before is not None
    assert after is not None
    assert before.version != after.version
    assert member.wakes == 1
    cache.apply((), bundle=bundle(2))
    assert member.wakes == 1, "the same bundle again changes nothing"


def test_a_deleted_entry_leaves_the_view_at_once_and_its_key_leaves_memory(cache: Cache) -> None:
    cache.apply([entry()])
    cache.put({"e1": svid(entry())})
    group, member = join(cache)
    secret = weakref.ref(cache.held["e1"].identity.resource)
    cache.apply((), ["e1"])
    assert group.view is EMPTY
    assert member.wakes == 1
    gc.collect()
    assert secret() is None


def test_a_superseded_key_leaves_memory(cache: Cache) -> None:
    cache.apply([entry()])
    cache.put({"e1": svid(entry())})
    group, member = join(cache)
    secret = weakref.ref(cache.held["e1"].identity.resource)
    cache.leave(group, member)
    cache.put({"e1": svid(entry(), "02")})
    gc.collect()
    assert secret() is None
    again, _ = join(cache)
    resource = again.view.resolve("default")
    assert resource is not None
    assert resource.serial == "02", "a view from before must not come back"


def test_the_last_good_certificate_stays_while_a_changed_entry_waits_for_its_new_one(cache: Cache) -> None:
    cache.apply([entry()])
    cache.put({"e1": svid(entry())})
    group, _ = join(cache)
    cache.apply([entry(revision=2, dns=("a.example",))])
    assert group.view.resolve("default") is not None


def test_another_spiffe_id_ends_the_former_one_at_once(cache: Cache) -> None:
    cache.apply([entry()])
    cache.put({"e1": svid(entry())})
    group, _ = join(cache)
    cache.apply([entry(revision=2, path="/other")])
    assert group.view is WAITING
    cache.put({"e1": svid(entry())})
    assert group.view is WAITING, "signed for the former ID, and too late"


def test_other_selectors_move_an_entry_between_callers(cache: Cache) -> None:
    cache.apply([entry()])
    cache.put({"e1": svid(entry())})
    had, had_member = join(cache)
    gets, gets_member = join(cache, selectors("unix:uid:2000"), pid=2)
    cache.apply([entry("e1", "unix:uid:2000", revision=2)])
    assert had.view is EMPTY
    assert gets.view.resolve("default") is not None
    assert (had_member.wakes, gets_member.wakes) == (1, 1)


def test_a_snapshot_forgets_what_is_not_in_it(cache: Cache) -> None:
    cache.apply([entry("a"), entry("b")])
    cache.put({"a": svid(entry("a")), "b": svid(entry("b"))})
    group, member = join(cache)
    cache.apply([entry("a")], snapshot=True)
    assert group.view.spiffe_ids == ("spiffe://example.org/a",)
    assert member.wakes == 1
    cache.apply([entry("a")], snapshot=True)
    assert member.wakes == 1, "the same snapshot again changes nothing"


def test_a_refused_agent_has_nothing_left(cache: Cache) -> None:
    cache.apply([entry()])
    cache.put({"e1": svid(entry())})
    group, _ = join(cache)
    cache.clear()
    assert group.view is EMPTY
    assert not cache.held
    assert not cache.entries


def test_what_ends_by_itself_is_let_go_at_its_time(cache: Cache, clock: FakeClock) -> None:
    mortal = entry("m", expires_at=clock.now() + timedelta(seconds=50))
    cache.apply([entry(), mortal])
    cache.put({"e1": svid(entry(), life=100), "m": svid(mortal)})
    group, member = join(cache)
    cache.expire()
    assert member.wakes == 0
    clock.advance(50)
    cache.expire()
    assert group.view.spiffe_ids == ("spiffe://example.org/e1",)
    clock.advance(50)
    cache.expire()
    assert group.view is WAITING
    assert member.wakes == 2


def test_wanted_is_told_when_a_caller_or_an_entry_comes(cache: Cache) -> None:
    told: list[int] = []
    cache.on_wanted(lambda: told.append(1))
    group, _ = join(cache)
    join(cache, pid=2)
    assert len(told) == 1, "a second caller of the same kind wants nothing new"
    cache.apply([entry()])
    assert len(told) == 2
    assert cache.facts().used == {"e1"}
    assert group.entries[0].id == "e1"


def test_warmth_begins_when_the_last_caller_leaves(cache: Cache, clock: FakeClock) -> None:
    cache.apply([entry()])
    group, one = join(cache)
    _, two = join(cache, pid=2)
    cache.leave(group, one)
    assert cache.facts().idle_since == {}
    clock.advance(5)
    cache.leave(group, two)
    assert cache.facts().idle_since == {"e1": clock.now()}
    assert not cache.facts().used
    join(cache)
    assert cache.facts().idle_since == {}


def test_leaving_twice_or_as_another_harms_nobody(cache: Cache) -> None:
    group, member = join(cache)
    stranger = FakeMember(pid=1)
    cache.leave(group, stranger)
    assert group.members == {member.process: member}
    cache.leave(group, member)
    cache.leave(group, member)
    again, _ = join(cache)
    cache.leave(group, member)
    assert again.members


def test_who_causes_a_request_is_known(cache: Cache) -> None:
    cache.apply([entry()])
    assert cache.member_for("e1") is None
    _, member = join(cache)
    assert cache.member_for("e1") is member


def test_the_outage_budget_counts_what_is_in_use(cache: Cache) -> None:
    cache.apply([entry("a"), entry("b", "unix:uid:2")])
    cache.put({"a": svid(entry("a"), life=100), "b": svid(entry("b", "unix:uid:2"), life=10)})
    assert cache.earliest_expiry() is None
    join(cache)
    assert cache.earliest_expiry() == svid(entry("a"), life=100).held.not_after


async def test_waiting_until_settled(cache: Cache) -> None:
    cache.reach(True)
    cache.apply([entry("a"), entry("b")])
    group, _ = join(cache)
    waiting = asyncio.create_task(cache.settled(group, 10))
    cache.put({"a": svid(entry("a"))})
    await asyncio.sleep(0)
    assert not waiting.done()
    cache.note({"b": Attempt(1, None, None, "no")})
    async with asyncio.timeout(5):
        await waiting


async def test_waiting_ends_when_the_server_is_away_or_the_caller_leaves_or_time_is_up(cache: Cache) -> None:
    cache.apply([entry()])
    group, member = join(cache)
    async with asyncio.timeout(5):
        await cache.settled(group, 10)
        cache.reach(True)
        await cache.settled(group, 0.01)
        waiting = asyncio.create_task(cache.settled(group, 10))
        await asyncio.sleep(0)
        assert not waiting.done()
        cache.leave(group, member)
        await waiting


async def test_nobody_is_told_that_there_is_nothing_before_the_server_has_spoken(clock: FakeClock) -> None:
    cache = Cache(clock)
    group, member = join(cache)
    waiting = asyncio.create_task(cache.settled(group, 0.01))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    cache.apply((), snapshot=True)
    async with asyncio.timeout(5):
        await waiting
    assert member.wakes == 0


async def test_many_are_woken_in_turns(cache: Cache) -> None:
    """The loop gets to other work in between, and everyone is woken in the end."""
    cache.apply([entry()])
    members = [join(cache, pid=pid)[1] for pid in range(1, 3 * WAKES_PER_TURN + 2)]
    cache.put({"e1": svid(entry())})
    turns = [sum(member.wakes for member in members)]
    while turns[-1] < len(members):
        await asyncio.sleep(0)
        turns.append(sum(member.wakes for member in members))
    assert turns == [128, 256, 384, 385]
    assert all(member.wakes == 1 for member in members)


@given(st.lists(st.integers(0, 3), max_size=8))
def test_views_are_not_kept_beyond_their_groups(order: list[int]) -> None:
    cache = Cache(FakeClock())
    cache.apply([entry("a"), entry("b", "unix:uid:2")], snapshot=True, bundle=bundle())
    cache.put({"a": svid(entry("a")), "b": svid(entry("b", "unix:uid:2"))})
    present: dict[int, tuple[Group, FakeMember]] = {}
    for number in order:
        if number in present:
            cache.leave(*present.pop(number))
        else:
            present[number] = join(cache, SELECTOR_SETS[number], pid=number + 1)
            _ = present[number][0].view
    for group, member in present.values():
        cache.leave(group, member)
    assert len(cache._views) == 0
    assert cache._views._users == {}


def test_a_new_hint_is_a_new_view_with_the_same_certificate(cache: Cache) -> None:
    cache.apply([entry(hint="internal")])
    cache.put({"e1": svid(entry())})
    group, member = join(cache)
    before = group.view
    wakes = member.wakes
    cache.apply([entry(hint="external", revision=2)])
    assert [granted.hint for granted in (*before.granted, *group.view.granted)] == ["internal", "external"]
    assert group.view.granted[0].identity is before.granted[0].identity
    assert member.wakes == wakes + 1
    cache.apply([entry(hint="external", revision=3)])
    assert member.wakes == wakes + 1, "nothing that anyone is told has changed"


def test_another_identity_is_granted_but_is_not_the_default(cache: Cache) -> None:
    cache.apply([entry(), entry("e2")])
    cache.put({"e2": svid(entry("e2"))})
    group, _ = join(cache)
    assert (len(group.view.granted), group.view.has_default) == (1, False)
    cache.put({"e1": svid(entry())})
    assert [str(granted.identity.spiffe_id) for granted in group.view.granted] == [
        "spiffe://example.org/e1",
        "spiffe://example.org/e2",
    ]
    assert group.view.has_default
