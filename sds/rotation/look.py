"""One look at what rotation decides by: the journal of authorities, and the fleet as it was last reported."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ca.authority import Authority, AuthorityKind, AuthorityState
from ca.gate import Fleet, Gate, judge
from ca.rotation import RotationPolicy, Step, dropped_from, plan
from sds.rotation.fleet import fleet_of
from sds.store.errors import NotFound
from sds.store.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True)
class Look:
    """All of one moment. Whoever acts on it says at which `revision` of the journal it was taken."""

    revision: int
    slots: tuple[Authority, ...]
    fleet: Fleet
    now: datetime
    policy: RotationPolicy

    def due(self) -> tuple[Step, ...]:
        return plan(self.slots, self.fleet, self.now, self.policy)

    def gate(self, authority: Authority) -> Gate:
        return judge(authority, self.slots, self.fleet, self.now, self.policy.of(authority.kind).wait)

    def dropped_from(self, authority: Authority) -> datetime:
        """From when on it may be forgotten; one that issued nothing at once."""
        if authority.state is AuthorityState.PREPARED:
            return self.now
        return dropped_from(authority, self.fleet, self.policy)

    def slot(self, authority_id: str) -> Authority:
        """Raises NotFound."""
        for one in self.slots:
            if one.id == authority_id:
                return one
        raise NotFound("authority", authority_id)

    def active(self, kind: AuthorityKind) -> Authority | None:
        return next((one for one in self.slots if one.kind is kind and one.state is AuthorityState.ACTIVE), None)


def take_look(uow: UnitOfWork, policy: RotationPolicy, settle: timedelta, *, whole_fleet: bool = True) -> Look:
    """Read it in one transaction.

    Without `whole_fleet` nobody is asked for, as if there were none: what is not due then is not due with a fleet.
    """
    journal = uow.authorities.journal()
    fleet = _fleet(uow, journal.authorities, settle) if whole_fleet else Fleet()
    fleet = replace(fleet, last_leaf=_last_leaves(uow, journal.authorities))
    return Look(journal.revision, journal.authorities, fleet, uow.now, policy)


def _fleet(uow: UnitOfWork, slots: tuple[Authority, ...], settle: timedelta) -> Fleet:
    newest = max((one.published_sequence for one in slots if one.kind is AuthorityKind.X509), default=0)
    ahead, others = uow.streams.holding(newest, uow.now - settle)
    return fleet_of(uow.agents.all(), others, uow.now, settle, ahead=ahead)


def _last_leaves(uow: UnitOfWork, slots: tuple[Authority, ...]) -> dict[str, datetime]:
    """Of those that may be dropped next; the others' are not asked for."""
    found: dict[str, datetime] = {}
    for one in slots:
        if one.kind is AuthorityKind.X509 and one.state is AuthorityState.OLD:
            last = uow.certificates.latest_not_after(authority_id=one.id)
            if last is not None:
                found[one.id] = last
    return found
