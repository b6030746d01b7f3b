from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from attestation.spiffe_id import SpiffeId
from sds.secrets.leasing.lease import Lease, LeaseState, Receiver
from sds.secrets.leasing.plan import (
    End,
    LeasePolicy,
    Renew,
    Replace,
    Revoke,
    Scene,
    Step,
    due_at,
    next_due,
    plan,
)
from tests.fakes.clock import EPOCH

WEB, DB = (Receiver("s", SpiffeId.parse(f"spiffe://example.org/{name}")) for name in ("web", "db"))
POLICY = LeasePolicy(overlap=timedelta(minutes=5), making=timedelta(minutes=2), settle=timedelta(seconds=15))
TTL = timedelta(minutes=30)
ME, OTHER, GONE = "me", "other", "gone"
START = "db/creds/reader/"


def lease(state: LeaseState = LeaseState.LIVE, **changes: object) -> Lease:
    live = Lease("l1", WEB, 1, state, "accessor", ME, EPOCH, START + "abc", TTL, None, EPOCH + TTL)
    if state is LeaseState.PENDING:
        live = replace(live, lease_id="", ttl=timedelta(0), expires_at=None)
    return replace(live, **changes)  # type: ignore[arg-type]


def scene(*leases: Lease, **changes: object) -> Scene:
    base = Scene(leases, frozenset({WEB, DB}), {"s": START}, frozenset({ME, OTHER}), ME)
    return replace(base, **changes)  # type: ignore[arg-type]


def after(minutes: float) -> datetime:
    return EPOCH + timedelta(minutes=minutes)


@pytest.mark.parametrize(
    ("minutes", "expected"), [(0, ()), (19.9, ()), (20, (Renew,)), (29, (Renew,)), (30, (Replace,)), (60, (Replace,))]
)
def test_renewed_at_two_thirds_and_replaced_once_it_is_over(minutes: float, expected: tuple[type[Step], ...]) -> None:
    assert tuple(type(step) for step in plan(scene(lease()), after(minutes), POLICY)) == expected


def test_one_that_vault_renews_no_further_is_replaced() -> None:
    unrenewable = lease(max_expires_at=EPOCH + TTL)
    assert plan(scene(unrenewable), after(19), POLICY) == ()
    assert plan(scene(unrenewable), after(20), POLICY) == (Replace(unrenewable),)
    capped = lease(renewed_at=after(20), expires_at=after(40), max_expires_at=after(40))
    assert plan(scene(capped), after(20), POLICY) == (Replace(capped),), "at once, while it is good for long"


def test_a_successor_on_its_way_is_waited_for() -> None:
    capped = lease(renewed_at=after(20), max_expires_at=after(40))
    coming = lease(LeaseState.PENDING, id="l2", generation=2, created_at=after(20))
    assert plan(scene(capped, coming, making=frozenset({"l2"})), after(21), POLICY) == ()


def test_a_replaced_one_stays_good_for_the_overlap_and_no_longer_than_it_lives() -> None:
    old, new = lease(), lease(id="l2", generation=2, created_at=after(20), expires_at=after(50))
    assert plan(scene(old, new), after(21), POLICY) == (End(old, after(26), "it was replaced"),)
    assert plan(scene(old, new), after(28), POLICY) == (End(old, after(30), "it was replaced"),)


def test_what_nobody_uses_and_what_belongs_to_no_secret_ends_at_once() -> None:
    one = lease()
    unused = End(one, EPOCH, "nobody uses it", unused=True)
    assert plan(scene(one, users=frozenset({DB})), EPOCH, POLICY) == (unused,)
    (step,) = plan(scene(one, secrets={}), EPOCH, POLICY)
    assert isinstance(step, End)
    assert step.at == EPOCH


def test_another_source_ends_it_after_the_overlap() -> None:
    (step,) = plan(scene(lease(), secrets={"s": "db/creds/writer/"}), EPOCH, POLICY)
    assert isinstance(step, End)
    assert step.at == EPOCH + POLICY.overlap


@pytest.mark.parametrize(
    ("holder", "making", "minutes", "orphan"),
    [(ME, True, 60, False), (ME, False, 0, True), (GONE, False, 0, True), (OTHER, False, 1, False), (OTHER, False, 2, True)],
)  # fmt: skip
def test_one_that_was_begun_and_left_behind_is_an_orphan(
    holder: str, making: bool, minutes: float, orphan: bool
) -> None:
    pending = lease(LeaseState.PENDING, holder=holder)
    making_now = frozenset({pending.id}) if making else frozenset[str]()
    steps = plan(scene(pending, making=making_now), after(minutes), POLICY)
    assert [isinstance(step, End) and step.orphan for step in steps] == ([True] if orphan else [])
    for step in steps:
        assert isinstance(step, End)
        assert step.at == max(after(minutes), EPOCH + POLICY.settle), "a request under way is waited for"


def test_revoked_when_its_time_has_come() -> None:
    ending = lease(LeaseState.ENDING, expires_at=after(5))
    assert plan(scene(ending), after(4.9), POLICY) == ()
    assert plan(scene(ending), after(5), POLICY) == (Revoke(ending),)


def test_its_holder_goes_first_and_another_one_if_it_is_late_or_gone() -> None:
    other, gone = lease(holder=OTHER), lease(holder=GONE)
    assert plan(scene(other), after(20), POLICY) == ()
    assert plan(scene(other), after(22.5), POLICY) == (Renew(other),)
    assert plan(scene(gone), after(20), POLICY) == (Renew(gone),)


moments = st.integers(0, 7200).map(lambda seconds: EPOCH + timedelta(seconds=seconds))
leases = st.builds(
    lambda number, receiver, generation, state, holder, created, life, capped: lease(
        state,
        id=f"l{number}",
        receiver=receiver,
        generation=generation,
        holder=holder,
        created_at=created,
        expires_at=None if state is LeaseState.PENDING else created + life,
        max_expires_at=created + life if capped else None,
    ),
    st.integers(0, 1000),
    st.sampled_from((WEB, DB)),
    st.integers(1, 4),
    st.sampled_from(LeaseState),
    st.sampled_from((ME, OTHER, GONE)),
    moments,
    st.integers(1, 7200).map(lambda seconds: timedelta(seconds=seconds)),
    st.booleans(),
)


@given(st.lists(leases, max_size=8, unique_by=lambda one: (one.receiver, one.generation)), moments, st.data())
def test_whatever_stands(standing: list[Lease], now: datetime, data: st.DataObject) -> None:
    standing = [replace(one, id=f"l{number}") for number, one in enumerate(standing)]
    users = data.draw(st.frozensets(st.sampled_from((WEB, DB))))
    given_scene = scene(*standing, users=users)
    steps = plan(given_scene, now, POLICY)
    assert max(Counter(step.lease.id for step in steps).values(), default=0) <= 1
    for step in steps:
        match step:
            case Renew(one) | Replace(one):
                assert one.state is LeaseState.LIVE
                assert one.receiver in users
                same = [x for x in standing if x.receiver == one.receiver and x.state is LeaseState.LIVE]
                assert one.generation == max(x.generation for x in same), "only the newest is kept"
                assert now >= (due_at(one) or EPOCH)
            case End(one, at, _, orphan):
                assert one.state is (LeaseState.PENDING if orphan else LeaseState.LIVE)
                assert at >= now or at == one.expires_at
            case Revoke(one):
                assert one.state is LeaseState.ENDING
    following = next_due(given_scene, now, POLICY)
    if any(isinstance(step, Renew | Revoke) for step in steps):
        assert following == now, "who sleeps until then is never late"


class Life(RuleBasedStateMachine):
    """One receiver's leases under whatever happens, with a Vault that does as it says. The first one exists already."""

    def __init__(self) -> None:
        super().__init__()
        self.now = EPOCH
        self.rows: dict[str, Lease] = {"l1": lease(created_at=EPOCH)}
        self.at_vault = {"l1"}
        self.born = {"l1": EPOCH}
        self.used = True
        self.ended_at: dict[str, datetime] = {}

    @rule(minutes=st.integers(1, 9))
    def time_passes(self, minutes: int) -> None:
        """Never longer than a lease's last third without a look."""
        self.now += timedelta(minutes=minutes)
        self._tick()

    @precondition(lambda self: self.used)
    @rule()
    def the_last_user_goes(self) -> None:
        self.used = False
        self._tick()

    @precondition(lambda self: not self.used)
    @rule()
    def one_comes_back(self) -> None:
        self.used = True
        if not any(one.usable(self.now) for one in self.rows.values()):
            self._make()

    @rule()
    def a_crash_leaves_a_row_behind(self) -> None:
        number = f"l{len(self.born) + 1}"
        if any(one.state is LeaseState.PENDING for one in self.rows.values()):
            return
        self.born[number] = self.now
        self.at_vault.add(number)
        self.rows[number] = lease(
            LeaseState.PENDING, id=number, generation=1 + self._newest(), created_at=self.now, holder=GONE
        )

    def _newest(self) -> int:
        return max((one.generation for one in self.rows.values()), default=0)

    def _make(self) -> None:
        number = f"l{len(self.born) + 1}"
        self.born[number] = self.now
        self.at_vault.add(number)
        self.rows[number] = lease(
            id=number, generation=1 + self._newest(), created_at=self.now, expires_at=self.now + TTL
        )

    def _tick(self) -> None:
        for _ in range(10):
            users = frozenset({WEB}) if self.used else frozenset[Receiver]()
            steps = plan(scene(*self.rows.values(), users=users), self.now, POLICY)
            if not steps:
                return
            for step in steps:
                self._do(step)
        raise AssertionError("it never comes to rest")

    def _do(self, step: Step) -> None:
        one = step.lease
        match step:
            case Renew():
                longest = self.born[one.id] + 3 * TTL
                until = min(self.now + TTL, longest)
                capped = until if until - self.now < 0.9 * TTL else None
                self.rows[one.id] = replace(one, renewed_at=self.now, expires_at=until, max_expires_at=capped)
            case Replace():
                self._make()
            case End(at=at):
                self.rows[one.id] = replace(one, state=LeaseState.ENDING, expires_at=at)
            case Revoke():
                self.at_vault.discard(one.id)
                del self.rows[one.id]

    @invariant()
    def nothing_leaks(self) -> None:
        assert self.at_vault == set(self.rows)

    @invariant()
    def who_uses_it_has_credentials_that_are_good(self) -> None:
        pending = any(one.state is LeaseState.PENDING for one in self.rows.values())
        if self.used and not pending:
            assert any(one.usable(self.now) for one in self.rows.values())

    @invariant()
    def what_is_unused_goes(self) -> None:
        if not self.used:
            assert not any(one.state is LeaseState.LIVE for one in self.rows.values())


TestLife = Life.TestCase
