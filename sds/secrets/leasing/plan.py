"""What is due with leased credentials, by what the rows say and who uses them. Pure.

A lease lives while somebody uses it: it is renewed after two thirds of its time. Where Vault renews no further the
receiver gets another one, and the old one is revoked only after an overlap in which both are good. What nobody uses,
what belongs to no secret, and what a replica has begun and not finished is revoked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sds.secrets.leasing.lease import Lease, LeaseState, Receiver

RENEW_SHARE = 3
"""A lease is renewed when one part in so many of its time is left."""
LATE_SHARE = 12
"""Another replica does it when the holder is late by one part in so many."""


@dataclass(frozen=True, slots=True)
class LeasePolicy:
    """`overlap`: how long a replaced lease stays good. `making`: how long one may be pending. `settle`: how long after
    its beginning one that was given up is revoked, so that a request which Vault still works on has ended by then.
    """

    overlap: timedelta = timedelta(minutes=5)
    making: timedelta = timedelta(minutes=2)
    settle: timedelta = timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class Scene:
    """All that a decision rests on.

    `users`: who has users, on whatever replica. `secrets`: what Vault's lease IDs begin with, of each secret that is
    leased by its definition. `replicas`: those that live, `own` among them. `making`: IDs of leases that this
    process is making at this moment.
    """

    leases: tuple[Lease, ...]
    users: frozenset[Receiver]
    secrets: Mapping[str, str]
    replicas: frozenset[str]
    own: str
    making: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Renew:
    """Ask Vault for more time."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Replace:
    """Make another one for the same receiver; this one stays good meanwhile."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class End:
    """Give it out no more, and revoke it at `at`.

    `orphan`: whoever began it did not finish it. `unused`: unless somebody has come meanwhile.
    """

    lease: Lease
    at: datetime
    reason: str
    orphan: bool = False
    unused: bool = False


@dataclass(frozen=True, slots=True)
class Revoke:
    """Have Vault revoke it, then forget it."""

    lease: Lease


Step = Renew | Replace | End | Revoke


def plan(scene: Scene, now: datetime, policy: LeasePolicy) -> tuple[Step, ...]:
    """What is due now, at most one step for each lease."""
    newest = _newest_live(scene.leases)
    making = {lease.receiver for lease in scene.leases if lease.state is LeaseState.PENDING}
    steps: list[Step] = []
    for lease in scene.leases:
        match lease.state:
            case LeaseState.ENDING:
                step: Step | None = Revoke(lease) if lease.expires_at is None or now >= lease.expires_at else None
            case LeaseState.PENDING:
                step = _pending(lease, scene, now, policy)
            case LeaseState.LIVE:
                step = _live(lease, newest[lease.receiver], scene, now, policy)
        if isinstance(step, Replace) and lease.receiver in making:
            continue  # its successor is on its way
        if step is not None:
            steps.append(step)
    return tuple(steps)


def next_due(scene: Scene, now: datetime, policy: LeasePolicy) -> datetime | None:
    """When `plan` may first have something to do if nothing changes; not before `now`."""
    times = [when for lease in scene.leases if (when := _due(lease, scene, policy)) is not None]
    return max(min(times), now) if times else None


def due_at(lease: Lease) -> datetime | None:
    """When a live lease is to be renewed or replaced. One that was renewed as far as it goes is replaced at once."""
    if lease.expires_at is None:
        return None
    if lease.max_expires_at is not None and lease.renewed_at is not None:
        return lease.renewed_at
    return lease.expires_at - lease.ttl / RENEW_SHARE


def _live(lease: Lease, newest: Lease, scene: Scene, now: datetime, policy: LeasePolicy) -> Step | None:
    start = scene.secrets.get(lease.receiver.secret_id)
    if start is None:
        return End(lease, now, "its secret is gone, or leased no more")
    if lease.receiver not in scene.users:
        return End(lease, now, "nobody uses it", unused=True)
    until = now + policy.overlap if lease.expires_at is None else min(now + policy.overlap, lease.expires_at)
    if newest.generation > lease.generation:
        return End(lease, until, "it was replaced")
    if not lease.lease_id.startswith(start):
        return End(lease, until, "its secret has another source now")
    when = _due(lease, scene, policy)
    if when is None or now < when:
        return None
    if lease.max_expires_at is not None or (lease.expires_at is not None and now >= lease.expires_at):
        return Replace(lease)
    return Renew(lease)


def _pending(lease: Lease, scene: Scene, now: datetime, policy: LeasePolicy) -> Step | None:
    when = _due(lease, scene, policy)
    if when is None or now < when:
        return None
    return End(lease, max(now, lease.created_at + policy.settle), "it was begun and not finished", orphan=True)


def _due(lease: Lease, scene: Scene, policy: LeasePolicy) -> datetime | None:
    """When the planner has to look at it, if nothing but time passes."""
    match lease.state:
        case LeaseState.ENDING:
            return lease.expires_at or lease.created_at
        case LeaseState.PENDING:
            if lease.id in scene.making:
                return None
            abandoned = lease.holder == scene.own or lease.holder not in scene.replicas
            return lease.created_at if abandoned else lease.created_at + policy.making
        case LeaseState.LIVE:
            when = due_at(lease)
            if when is None or lease.holder == scene.own or lease.holder not in scene.replicas:
                return when
            return when + lease.ttl / LATE_SHARE


def _newest_live(leases: Iterable[Lease]) -> Mapping[Receiver, Lease]:
    newest: dict[Receiver, Lease] = {}
    for lease in leases:
        if lease.state is LeaseState.LIVE:
            standing = newest.get(lease.receiver)
            if standing is None or lease.generation > standing.generation:
                newest[lease.receiver] = lease
    return newest
