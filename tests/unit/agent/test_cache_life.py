"""The random life of a cache: whatever comes in whatever order, each caller has what it may have and nothing else."""

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from attestation.entry import RegistrationEntry, match
from attestation.selector import Selectors
from sds.agent.cache import Cache
from sds.agent.cache.group import Group
from tests.fakes.clock import FakeClock
from tests.unit.agent.cache_kit import SELECTOR_SETS, FakeMember
from tests.unit.agent.entries import bundle, entry, svid

# A model: whatever happens, everyone's view is what a fresh look at the facts would give, and whoever's view changed
# was woken.

ENTRY_IDS = ("a", "b", "c")


def spec(entry_id: str, revision: int, wanted: Selectors, path: str, hint: str) -> RegistrationEntry:
    made = entry(entry_id, revision=revision, path=path, hint=hint)
    return replace(made, spec=replace(made.spec, selectors=wanted))


class CacheMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.cache = Cache(self.clock)
        self.cache.apply((), snapshot=True, bundle=bundle())
        self.revision = 1
        self.joined: dict[int, tuple[Group, FakeMember]] = {}
        self.seen: dict[int, object] = {}

    @rule(
        entry_id=st.sampled_from(ENTRY_IDS),
        wanted=st.sampled_from(SELECTOR_SETS),
        path=st.sampled_from(["/p", "/q"]),
        hint=st.sampled_from(["", "default"]),
    )
    def upsert(self, entry_id: str, wanted: Selectors, path: str, hint: str) -> None:
        self.revision += 1
        self.cache.apply([spec(entry_id, self.revision, wanted, path, hint)])

    @rule(gone=st.sets(st.sampled_from(ENTRY_IDS)))
    def remove(self, gone: set[str]) -> None:
        self.cache.apply((), gone)

    @rule(kept=st.sets(st.sampled_from(ENTRY_IDS)))
    def snapshot(self, kept: set[str]) -> None:
        self.cache.apply([e for e in self.cache.entries.values() if e.id in kept], snapshot=True)

    @rule(chosen=st.sets(st.sampled_from(ENTRY_IDS)), life=st.sampled_from([5.0, 500.0]))
    def issue(self, chosen: set[str], life: float) -> None:
        self.revision += 1
        new = {
            i: svid(self.cache.entries[i], str(self.revision), start=self.clock.now(), life=life)
            for i in chosen
            if i in self.cache.entries
        }
        self.cache.put(new)

    @rule(chosen=st.sets(st.sampled_from(ENTRY_IDS)))
    def drop(self, chosen: set[str]) -> None:
        self.cache.drop(chosen)

    @rule(sequence=st.integers(1, 3))
    def new_bundle(self, sequence: int) -> None:
        self.cache.apply((), bundle=bundle(sequence))

    @rule(seconds=st.sampled_from([1.0, 10.0]))
    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.cache.expire()

    @rule(pid=st.integers(1, 4), wanted=st.sampled_from(SELECTOR_SETS))
    def come(self, pid: int, wanted: Selectors) -> None:
        if pid not in self.joined:
            member = FakeMember(pid)
            self.joined[pid] = (self.cache.join(wanted, member), member)
            self.seen[pid] = self.joined[pid][0].view

    @rule(pid=st.integers(1, 4))
    def go(self, pid: int) -> None:
        if pid in self.joined:
            self.cache.leave(*self.joined.pop(pid))
            del self.seen[pid]

    @invariant()
    def views_are_what_the_facts_say(self) -> None:
        now = self.clock.now()
        for pid, (group, member) in self.joined.items():
            matching = match(self.cache.entries.values(), group.selectors, now)
            assert [e.id for e in group.entries] == [e.id for e in matching]
            ids = [str(e.spiffe_id) for e in matching if e.id in self.cache.held]
            assert group.view.spiffe_ids == tuple(dict.fromkeys(ids))
            resource = group.view.resolve("default")
            if matching and matching[0].id in self.cache.held:
                assert resource is not None
                assert resource.digest == self.cache.held[matching[0].id].identity.resource.digest
            else:
                assert resource is None
            for e in matching:
                if e.id in self.cache.held:
                    assert self.cache.held[e.id].identity.spiffe_id == e.spiffe_id
            if group.view is not self.seen[pid]:
                assert member.wakes >= 1
                member.wakes = 0
            self.seen[pid] = group.view

    @invariant()
    def what_is_wanted_is_what_somebody_matches(self) -> None:
        wanted = {e.id for group, _ in self.joined.values() for e in group.entries}
        assert set(self.cache.facts().used) == wanted
        assert set(self.cache.facts().idle_since) <= set(self.cache.entries) - wanted


CacheMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestCacheMachine = CacheMachine.TestCase
