"""A model of the journal, of schedulers with clocks of their own, and of a fleet, without a rule of rotation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count

from ca.authority import Authority, AuthorityKind, AuthorityState
from ca.gate import Fleet, Gate
from ca.rotation import KindPolicy, RotationPolicy, sound
from tests.fakes.clock import EPOCH
from tests.fakes.slots import holder, slot

X509, JWT = AuthorityKind.X509, AuthorityKind.JWT
PREPARED, ACTIVE, OLD = AuthorityState.PREPARED, AuthorityState.ACTIVE, AuthorityState.OLD
MINUTE = timedelta(minutes=1)
LIFE = 100 * MINUTE
LEAF = 10 * MINUTE
WAIT = 6 * MINUTE
BACKDATE = timedelta(seconds=10)
POLICY = RotationPolicy(
    x509=KindPolicy(lead=LEAF, longest=LEAF),
    jwt=KindPolicy(lead=LEAF, longest=LEAF, wait=WAIT),
    patience=5 * MINUTE,
    leeway=MINUTE,
)


@dataclass
class Scheduler:
    """A replica: its wall clock differs from the true time by `offset`."""

    offset: timedelta = timedelta(0)
    due_before: frozenset[str] = frozenset()


@dataclass
class Sidecar:
    """An agent or a stream. It holds one bundle, and only ever newer ones."""

    name: str
    sequence: int
    expires: datetime


@dataclass
class Verifier:
    """Somebody far away who fetches the JWT keys now and then, by the true time."""

    keys: frozenset[str]
    fetched_at: datetime


@dataclass
class Issued:
    """A certificate or a token."""

    authority_id: str
    not_after: datetime


@dataclass
class Activation:
    """What was recorded when an authority became active. `alone`: there was nothing that anybody could have held."""

    clean: bool
    alone: bool
    stragglers: frozenset[str]
    jumps: int
    clocks_right: bool


@dataclass
class World:
    true: datetime = EPOCH
    slots: dict[str, Authority] = field(default_factory=dict)
    revision: int = 0
    bundles: list[frozenset[str]] = field(default_factory=lambda: [frozenset()])
    fleet: list[Sidecar] = field(default_factory=list)
    verifiers: list[Verifier] = field(default_factory=list)
    issued: list[Issued] = field(default_factory=list)
    activations: dict[str, Activation] = field(default_factory=dict)
    made_at: dict[str, int] = field(default_factory=dict)  # the number of clock jumps before
    revoked: set[str] = field(default_factory=set)
    high_water: datetime = EPOCH
    jumps: int = 0
    clocks_right: bool = True  # all schedulers' now
    asked: int = 0
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def look(self, now: datetime) -> tuple[tuple[Authority, ...], Fleet]:
        leaves: dict[str, datetime] = {}
        for one in self.issued:
            leaves[one.authority_id] = max(one.not_after, leaves.get(one.authority_id, EPOCH - LIFE))
        holders = tuple(holder(one.name, one.sequence) for one in self.fleet if now <= one.expires)
        return tuple(sorted(self.slots.values(), key=lambda one: (one.created_at, one.id))), Fleet(holders, leaves)

    def publish(self) -> None:
        self.bundles.append(frozenset(one.id for one in self.slots.values() if not one.revoked))

    def counted(self) -> list[Sidecar]:
        """Those that can come back without a new bundle."""
        return [one for one in self.fleet if one.expires >= self.high_water]

    # The steps, each of them refused at another revision than `expected`

    def prepare(self, kind: AuthorityKind, now: datetime, expected: int) -> bool:
        if expected != self.revision:
            return False
        name = f"{kind}-{next(self.numbers)}"
        made = slot(name, PREPARED, kind=kind, since=now - BACKDATE, life=LIFE + BACKDATE, sequence=len(self.bundles))
        self.slots[name] = replace(made, created_at=now)
        self.made_at[name] = self.jumps
        self.changed(bundle=True)
        return True

    def activate(self, name: str, now: datetime, expected: int, gate: Gate, *, clean: bool) -> bool:
        if expected != self.revision:
            return False
        chosen = self.slots[name]
        assert sound(chosen)
        assert chosen.state is PREPARED
        assert chosen.validity.covers(now)
        others = [one for one in self.slots.values() if one.kind is chosen.kind and one.state is not PREPARED]
        alone = not any(now <= one.not_after and not one.revoked for one in others)
        assert gate.open or alone or not clean
        for one in others:
            if one.state is ACTIVE:
                self.slots[one.id] = replace(one, state=OLD, retired_at=now)
        self.slots[name] = chosen.activated(now)
        late = frozenset(str(one.agent_id) for one in gate.stragglers)
        self.activations[name] = Activation(clean, alone, late, self.jumps, self.clocks_right)
        self.changed()
        return True

    def drop(self, name: str, expected: int) -> bool:
        if expected != self.revision:
            return False
        del self.slots[name]
        self.changed(bundle=True)
        return True

    def alter(self, name: str, **flags: bool) -> None:
        self.slots[name] = replace(self.slots[name], **flags)
        self.changed(bundle=True)

    def changed(self, *, bundle: bool = False) -> None:
        self.revision += 1
        if bundle:
            self.publish()
