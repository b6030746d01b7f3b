"""What is due in the life of the authorities: PREPARED, ACTIVE, OLD, gone. Pure.

`plan` looks at what stands and says which steps are due now. It remembers nothing and counts no ticks: the same slots
at the same time give the same steps, steps that were done are due no more, and those that were missed are due still.
No step leads back, whatever the clock does.

The next authority is PREPARED, and so in every bundle, from half of the active one's life on. It becomes ACTIVE

1. from 5/6 of that life on, once its gate is open (ca.gate);
2. with the gate closed at the deadline, while the active one still outlives all that it issues. Whoever is late then is
   named in the step. Somebody who had no time at all gets some first;
3. when the active one cannot sign any more: as soon as the gate opens, or at the end of the fleet's patience, because
   nothing is issued meanwhile; at once, if nothing below any other authority is valid.

An OLD one is dropped when the last certificate or token below it has expired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ca.authority import Authority, AuthorityKind, AuthorityState
from ca.gate import Fleet, Gate, judge

MAX_SLOTS = 8
"""Beyond so many authorities of a kind none is prepared without being asked: clocks, or something else, are broken."""
_NONE = timedelta(0)
SKEW = timedelta(minutes=1)
"""An authority that becomes valid within this time is waited for."""


@dataclass(frozen=True, slots=True)
class KindPolicy:
    """`lead`: how long before its end an active authority is replaced at the latest. `wait`: see ca.gate.judge.

    `longest`: the longest life of what it issues.
    """

    lead: timedelta
    longest: timedelta
    wait: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class RotationPolicy:
    """`prepare_at` and `activate_at` are shares of the active authority's life. `scheduled`: whether time alone makes
    an authority due. `patience`: what the fleet gets before nobody waits for it any more. `leeway`: added to every
    expiry before an authority is dropped, for clocks that are behind.
    """

    x509: KindPolicy
    jwt: KindPolicy
    scheduled: bool = True
    prepare_at: float = 1 / 2
    activate_at: float = 5 / 6
    patience: timedelta = timedelta(minutes=10)
    leeway: timedelta = timedelta(minutes=1)

    def of(self, kind: AuthorityKind) -> KindPolicy:
        return self.x509 if kind is AuthorityKind.X509 else self.jwt


@dataclass(frozen=True, slots=True)
class Prepare:
    """Make the next authority of this kind."""

    kind: AuthorityKind
    reason: str


@dataclass(frozen=True, slots=True)
class Activate:
    """Sign with this one from now on; `replaces` becomes OLD. `past_deadline`: although the gate is closed."""

    kind: AuthorityKind
    authority_id: str
    replaces: str | None
    gate: Gate
    reason: str
    past_deadline: bool = False


@dataclass(frozen=True, slots=True)
class Drop:
    """Take it out of the bundle and forget it."""

    kind: AuthorityKind
    authority_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Blocked:
    """Something is due that cannot be done, or would not help; somebody must look."""

    kind: AuthorityKind
    reason: str


Step = Prepare | Activate | Drop | Blocked


@dataclass(frozen=True, slots=True)
class Times:
    """When an active authority's successor is due: to be prepared, to sign, and to sign whoever is late."""

    prepare: datetime
    activate: datetime
    deadline: datetime


def times(active: Authority, policy: RotationPolicy) -> Times:
    """In this order, whatever the policy: a lead that is longer than the life still leaves the fleet half of the time
    between the preparation and the end.
    """
    life = active.not_after - active.not_before
    prepare = active.not_before + life * policy.prepare_at
    deadline = max(active.not_after - policy.of(active.kind).lead, prepare + (active.not_after - prepare) / 2)
    return Times(prepare, min(active.not_before + life * policy.activate_at, deadline), deadline)


def plan(slots: Sequence[Authority], fleet: Fleet, now: datetime, policy: RotationPolicy) -> tuple[Step, ...]:
    """The steps that are due at `now`, the first of each kind first. Do one, then look again."""
    return tuple(
        step
        for kind in AuthorityKind
        for step in _Kind(kind, tuple(one for one in slots if one.kind is kind), fleet, now, policy).steps()
    )


def dropped_from(slot: Authority, fleet: Fleet, policy: RotationPolicy) -> datetime:
    """From when on nothing that `slot` issued is valid, so that it may be dropped once it is OLD."""
    retired = slot.retired_at or slot.activated_at or slot.created_at
    if slot.kind is AuthorityKind.JWT:  # tokens are not recorded one by one
        last = retired + policy.jwt.longest
    else:
        last = max(fleet.last_leaf.get(slot.id, retired), retired)
    return min(last, max(slot.not_after, retired)) + policy.leeway


def sound(slot: Authority) -> bool:
    """Neither tainted nor revoked."""
    return not (slot.tainted or slot.revoked)


@dataclass(frozen=True, slots=True)
class _Kind:
    """One kind's slots at one moment."""

    kind: AuthorityKind
    slots: tuple[Authority, ...]
    fleet: Fleet
    now: datetime
    policy: RotationPolicy

    def steps(self) -> list[Step]:
        active = next((one for one in self.slots if one.state is AuthorityState.ACTIVE), None)
        waiting = self._waiting()
        steps: list[Step] = []
        if active is not None and active.usable(self.now):
            if self.policy.scheduled:
                steps += self._scheduled(active, waiting)
        else:
            steps += self._without(active, waiting)
        return steps + self._drops(waiting)

    def _waiting(self) -> Authority | None:
        """The prepared authority that is next: of those that are sound and not expired, the one that lasts longest; one
        that was made while a clock was ahead comes last.
        """
        prepared = [
            one
            for one in self.slots
            if one.state is AuthorityState.PREPARED and sound(one) and self.now <= one.not_after
        ]
        return max(
            prepared, key=lambda one: (self._valid_soon(one), one.not_after, one.created_at, one.id), default=None
        )

    def _valid_soon(self, slot: Authority) -> bool:
        return slot.not_before <= self.now + SKEW

    def _scheduled(self, active: Authority, waiting: Authority | None) -> list[Step]:
        due = times(active, self.policy)
        if waiting is None:
            return self._prepare("the active one is past its time to prepare") if self.now >= due.prepare else []
        if waiting.not_after <= active.not_after:
            return self._of_no_use(waiting, due)
        if self.now < due.activate or not waiting.validity.covers(self.now):
            return []
        gate = self._gate(waiting)
        if gate.open:
            return [Activate(self.kind, waiting.id, active.id, gate, "the fleet has it")]
        # Whoever was given less than the time up to the deadline (a server that was down) is not cut off without any.
        grace = waiting.created_at + min(self.policy.patience, max(active.not_after - waiting.created_at, _NONE) / 2)
        if self.now >= max(due.deadline, grace):
            return [Activate(self.kind, waiting.id, active.id, gate, "the deadline has passed", past_deadline=True)]
        return []

    def _of_no_use(self, waiting: Authority, due: Times) -> list[Step]:
        """It ends with the active one or before, as under an upstream that is itself about to expire. Another is tried
        each time that half of the time left has passed, so a few times and not at every look.
        """
        if self.now < due.prepare:
            return []
        if self.now >= waiting.created_at + (waiting.not_after - waiting.created_at) / 2:
            return self._prepare("the prepared one does not outlive the active one")
        if self.now >= due.activate:
            return [Blocked(self.kind, "no prepared authority outlives the active one: does its upstream expire?")]
        return []

    def _without(self, active: Authority | None, waiting: Authority | None) -> list[Step]:
        """Nothing can be signed now."""
        if active is not None and sound(active) and self.now < active.not_before <= self.now + self.policy.patience:
            return []  # the clock was set back a little
        reason = self._why(active)
        if waiting is None or not self._valid_soon(waiting):
            return self._prepare(reason)
        if self.now < waiting.not_before:
            return []
        gate = self._gate(waiting)
        replaces = None if active is None else active.id
        if gate.open or not self._others_alive(waiting):
            return [Activate(self.kind, waiting.id, replaces, gate, reason)]
        gone = active is not None and (active.revoked or self.now > active.not_after)
        if gone or self.now >= waiting.created_at + self.policy.patience:
            return [Activate(self.kind, waiting.id, replaces, gate, reason, past_deadline=True)]
        return []

    def _why(self, active: Authority | None) -> str:
        if active is None:
            return "there is no active one"
        if active.revoked:
            return "the active one is revoked"
        if active.tainted:
            return "the active one is tainted"
        return "the active one has expired" if self.now > active.not_after else "the active one is not yet valid"

    def _others_alive(self, waiting: Authority) -> bool:
        """Whether somebody may hold something good, and verify others by it, that another authority has issued."""
        return any(
            one.id != waiting.id
            and one.state is not AuthorityState.PREPARED
            and not one.revoked
            and self.now <= one.not_after
            for one in self.slots
        ) or bool(self.kind is AuthorityKind.X509 and self.fleet)

    def _prepare(self, reason: str) -> list[Step]:
        if len(self.slots) < MAX_SLOTS:
            return [Prepare(self.kind, reason)]
        return [Blocked(self.kind, f"there are {len(self.slots)} authorities already; are all clocks right?")]

    def _gate(self, waiting: Authority) -> Gate:
        return judge(waiting, self.slots, self.fleet, self.now, self.policy.of(self.kind).wait)

    def _drops(self, waiting: Authority | None) -> list[Step]:
        return [
            Drop(self.kind, one.id, reason) for one in self.slots if (reason := self._drop_reason(one, waiting)) != ""
        ]

    def _drop_reason(self, slot: Authority, waiting: Authority | None) -> str:
        """Empty: it stays."""
        match slot.state:
            case AuthorityState.ACTIVE:
                return ""
            case AuthorityState.OLD:
                over = self.now >= dropped_from(slot, self.fleet, self.policy)
                return "nothing below it is valid any more" if over else ""
            case AuthorityState.PREPARED:  # it has issued nothing
                if not sound(slot):
                    return "it was taken back before it signed anything"
                if self.now > slot.not_after:
                    return "it expired before it signed anything"
                return "a newer one is prepared" if waiting is not None and slot.id != waiting.id else ""
