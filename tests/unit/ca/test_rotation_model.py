"""The life of authorities at random: a model of the journal, of two schedulers with clocks of their own, and of a fleet.

Only `plan` and `judge` are the real thing. What counts as time for promises about expiry is the latest wall clock that
any scheduler has shown: what has been seen to expire may be forgotten, even if that clock is set back afterwards.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ca.authority import Authority, AuthorityKind, AuthorityState
from ca.gate import judge
from ca.rotation import MAX_SLOTS, Activate, Blocked, Drop, Prepare, Step, plan, sound
from tests.fakes.slots import holder
from tests.unit.ca.rotation_world import (
    ACTIVE,
    JWT,
    LEAF,
    LIFE,
    MINUTE,
    OLD,
    POLICY,
    PREPARED,
    WAIT,
    X509,
    Issued,
    Scheduler,
    Sidecar,
    Verifier,
    World,
)

ORDER = {PREPARED: 0, ACTIVE: 1, OLD: 2}


def key_of(step: Step) -> str:
    return f"{type(step).__name__} {getattr(step, 'authority_id', step.kind)}"


class Rotation(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.schedulers = [Scheduler(), Scheduler()]
        self.states: dict[str, AuthorityState] = {}

    def wall(self, scheduler: Scheduler) -> datetime:
        now = self.world.true + scheduler.offset
        self.world.high_water = max(self.world.high_water, now)
        return now

    # What the world does

    @initialize()
    def begin(self) -> None:
        self.tick(0)
        for _ in range(2):
            self.join()
            self.watch()

    @rule(minutes=st.sampled_from([0.2, 1, 3, 10, 45, 90, 150, 400]))
    def pass_time(self, minutes: float) -> None:
        """Verifiers far away fetch in time; agents go on renewing if they are there, others go."""
        world = self.world
        end = world.true + minutes * MINUTE
        while world.true < end:
            world.true = min(end, world.true + WAIT / 3)
            for verifier in world.verifiers:
                if world.true - verifier.fetched_at >= WAIT * 2 / 3:
                    verifier.keys, verifier.fetched_at = world.bundles[-1], world.true

    @rule(which=st.integers(0, 1), minutes=st.sampled_from([-200, -30, -2, -0.1, 0.1, 2, 30, 200]))
    def jump(self, which: int, minutes: float) -> None:
        self._set_clock(which, self.schedulers[which].offset + minutes * MINUTE)

    @rule(which=st.integers(0, 1))
    def set_clock_right(self, which: int) -> None:
        if self.schedulers[which].offset:
            self._set_clock(which, timedelta(0))

    def _set_clock(self, which: int, offset: timedelta) -> None:
        self.schedulers[which].offset = offset
        self.world.jumps += 1
        self.world.clocks_right = not any(scheduler.offset for scheduler in self.schedulers)

    @rule()
    def join(self) -> None:
        """Whoever comes gets the newest bundle."""
        world = self.world
        if len(world.fleet) < 6:
            expires = max(world.true, world.high_water) + 8 * LIFE
            world.fleet.append(Sidecar(f"n{next(world.numbers)}", len(world.bundles) - 1, expires))

    @rule()
    def watch(self) -> None:
        if len(self.world.verifiers) < 3:
            self.world.verifiers.append(Verifier(self.world.bundles[-1], self.world.true))

    @precondition(lambda self: self.world.fleet)
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.world.fleet))
        one.sequence = data.draw(st.integers(one.sequence, len(self.world.bundles) - 1))

    @rule()
    def all_acknowledge(self) -> None:
        for one in self.world.fleet:
            one.sequence = len(self.world.bundles) - 1

    @precondition(lambda self: self.world.fleet)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        self.world.fleet.remove(data.draw(st.sampled_from(self.world.fleet)))

    # What replicas do

    @rule(which=st.integers(0, 1))
    def tick(self, which: int) -> None:
        """As the executor does it: step by step, with a new look each time."""
        scheduler = self.schedulers[which]
        for _ in range(16):
            now = self.wall(scheduler)
            slots, fleet = self.world.look(now)
            due = plan(slots, fleet, now, POLICY)
            assert due == plan(slots, fleet, now, POLICY)
            ready = [step for step in due if self.ripe(scheduler, step)]
            if not ready:
                break
            assert self.do(ready[0], now, self.world.revision)
        else:
            pytest.fail("a tick that finds no end")
        scheduler.due_before = frozenset(map(key_of, due))

    @rule(first=st.integers(0, 1))
    def race(self, first: int) -> None:
        """Both look, then both act on what they saw."""
        seen = []
        for scheduler in (self.schedulers[first], self.schedulers[1 - first]):
            now = self.wall(scheduler)
            slots, fleet = self.world.look(now)
            ready = [step for step in plan(slots, fleet, now, POLICY) if self.ripe(scheduler, step)]
            seen.append((now, ready, self.world.revision))
        done = [self.do(ready[0], now, revision) for now, ready, revision in seen if ready]
        assert sum(done) == min(len(done), 1)

    @rule(which=st.integers(0, 1))
    def crash(self, which: int) -> None:
        """Its memory is gone; its clock is not."""
        self.schedulers[which].due_before = frozenset()

    def ripe(self, scheduler: Scheduler, step: Step) -> bool:
        final = isinstance(step, Drop) or (isinstance(step, Activate) and step.past_deadline)
        return not isinstance(step, Blocked) and (not final or key_of(step) in scheduler.due_before)

    def do(self, step: Step, now: datetime, revision: int) -> bool:
        world = self.world
        match step:
            case Prepare():
                mine = [one for one in world.slots.values() if one.kind is step.kind]
                assert len(mine) < MAX_SLOTS or revision != world.revision  # who was overtaken is refused below
                return world.prepare(step.kind, now, revision)
            case Activate():
                return world.activate(step.authority_id, now, revision, step.gate, clean=not step.past_deadline)
            case Drop():
                return world.drop(step.authority_id, revision)
            case Blocked():
                raise AssertionError

    @rule(which=st.integers(0, 1), kind=st.sampled_from(AuthorityKind))
    def issue(self, which: int, kind: AuthorityKind) -> None:
        now = self.wall(self.schedulers[which])
        for one in self.world.slots.values():
            if one.kind is kind and one.usable(now):
                assert sound(one)
                assert one.id in self.world.bundles[-1]
                self.world.issued.append(Issued(one.id, min(now + LEAF, one.not_after)))

    # What administrators do

    @rule(which=st.integers(0, 1), kind=st.sampled_from(AuthorityKind))
    def ask_to_prepare(self, which: int, kind: AuthorityKind) -> None:
        mine = [one for one in self.world.slots.values() if one.kind is kind]
        if len(mine) < MAX_SLOTS and not any(one.state is PREPARED for one in mine):
            self.world.asked += 1
            self.world.prepare(kind, self.wall(self.schedulers[which]), self.world.revision)

    @precondition(lambda self: self.prepared())
    @rule(data=st.data(), which=st.integers(0, 1), force=st.booleans())
    def ask_to_activate(self, data: st.DataObject, which: int, force: bool) -> None:
        now = self.wall(self.schedulers[which])
        chosen = data.draw(st.sampled_from(self.prepared()))
        slots, fleet = self.world.look(now)
        gate = judge(chosen, slots, fleet, now, POLICY.of(chosen.kind).wait)
        if sound(chosen) and chosen.validity.covers(now) and (gate.open or force):
            assert self.world.activate(chosen.id, now, self.world.revision, gate, clean=gate.open)

    @precondition(lambda self: self.world.slots)
    @rule(data=st.data())
    def taint(self, data: st.DataObject) -> None:
        self.world.alter(data.draw(st.sampled_from(sorted(self.world.slots))), tainted=True)

    @rule(data=st.data())
    def revoke(self, data: st.DataObject) -> None:
        names = sorted(name for name, one in self.world.slots.items() if one.state is not ACTIVE)
        if names:
            name = data.draw(st.sampled_from(names))
            self.world.alter(name, revoked=True)
            self.world.revoked.add(name)

    def prepared(self) -> list[Authority]:
        return [one for one in self.world.slots.values() if one.state is PREPARED]

    # What must hold at any time

    @invariant()
    def one_of_a_kind_is_active(self) -> None:
        active = [one.kind for one in self.world.slots.values() if one.state is ACTIVE]
        assert len(active) == len(set(active))

    @invariant()
    def no_step_leads_back(self) -> None:
        for name, one in self.world.slots.items():
            assert ORDER[one.state] >= ORDER[self.states.get(name, PREPARED)]
            self.states[name] = one.state
        for name in self.states.keys() - self.world.slots.keys():
            assert all(name not in bundle for bundle in self.world.bundles[-1:])

    @invariant()
    def who_is_not_recorded_as_late_has_the_active_authority(self) -> None:
        for one in self.world.slots.values():
            if one.state is ACTIVE and one.kind is X509:
                recorded = self.world.activations[one.id]
                late = {
                    str(holder(s.name, 0).agent_id)
                    for s in self.world.counted()
                    if one.id not in self.world.bundles[s.sequence]
                }
                assert late <= recorded.stragglers
                assert not (recorded.clean and late)

    @invariant()
    def what_is_valid_verifies(self) -> None:
        """By the newest bundle, and by that of everybody who was not recorded as late."""
        world = self.world
        for leaf in world.issued:
            if leaf.not_after < world.high_water or leaf.authority_id in world.revoked:
                continue
            assert leaf.authority_id in world.bundles[-1]
            if leaf.authority_id.startswith("x509"):
                late = world.activations[leaf.authority_id].stragglers
                for sidecar in world.counted():
                    if str(holder(sidecar.name, 0).agent_id) not in late:
                        assert leaf.authority_id in world.bundles[sidecar.sequence]

    @invariant()
    def verifiers_far_away_know_the_active_key(self) -> None:
        """As long as clocks tell the truth, and nobody forced it."""
        world = self.world
        for one in world.slots.values():
            if one.kind is not JWT or one.state is not ACTIVE:
                continue
            recorded = world.activations[one.id]
            truthful = recorded.clocks_right and recorded.jumps == world.made_at[one.id]
            if recorded.clean and not recorded.alone and truthful:
                assert all(one.id in verifier.keys for verifier in world.verifiers)

    @invariant()
    def there_is_no_storm(self) -> None:
        for kind in AuthorityKind:
            assert sum(one.kind is kind for one in self.world.slots.values()) <= MAX_SLOTS

    def teardown(self) -> None:
        """Left alone, with right clocks and a fleet that answers, everything comes right by itself."""
        if not self.world.slots:
            return
        for scheduler in self.schedulers:
            scheduler.offset = timedelta(0)
        for _ in range(400):
            self.world.true += MINUTE
            self.all_acknowledge()
            self.tick(0)
            self.tick(1)
        now = self.world.true
        for kind in AuthorityKind:
            assert any(one.kind is kind and one.usable(now) for one in self.world.slots.values()), kind
        for _ in range(200):  # and the old ones are gone
            self.world.true += MINUTE
            self.all_acknowledge()
            self.tick(0)
        valid = [one for one in self.world.slots.values() if one.not_before <= self.world.true]
        assert len(valid) <= 2 * len(AuthorityKind) + sum(one.state is OLD for one in valid)


TestRotation = Rotation.TestCase
TestRotation.settings = settings(
    max_examples=120, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
