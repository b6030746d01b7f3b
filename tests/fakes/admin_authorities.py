"""Authorities for the admin API, in memory: the real gate over holders that the test sets, and no keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256

from ca.authority import Authority, AuthorityKind, AuthorityState
from ca.errors import RotationRefused
from ca.gate import Fleet, Gate, GateClosed, Holder, judge
from ca.rotation import KindPolicy, RotationPolicy, plan, times
from sds.admin.services import AdminCall, AuthorityInfo, AuthorityOverview
from sds.admin.services.conditions import ANY, Condition
from sds.admin.services.versions import authority_version
from sds.audit.event import Outcome
from sds.store.errors import NotFound
from tests.fakes.slots import slot

HOUR = timedelta(hours=1)
POLICY = RotationPolicy(x509=KindPolicy(lead=HOUR, longest=HOUR), jwt=KindPolicy(lead=HOUR, longest=HOUR))
LIFE = timedelta(days=10)


def authority_id(number: int) -> str:
    return sha256(b"%d" % number).hexdigest()[:40]


class FakeAuthorities:
    """One active authority of each kind. `meanwhile` is what happens between one look and the next, one call each."""

    def __init__(self, now: Callable[[], datetime], append: Callable[..., object]) -> None:
        self._now = now
        self._append = append
        self._made = 0
        self.sequence = 0
        self.holders: tuple[Holder, ...] = ()
        self.jwt_wait = timedelta(0)
        self.meanwhile: list[Callable[[], None]] = []
        self.cross_signed: list[str] = []
        self.slots: dict[str, Authority] = {}
        for kind in AuthorityKind:
            self._add(kind, AuthorityState.ACTIVE)

    def active(self, kind: AuthorityKind = AuthorityKind.X509) -> Authority:
        return next(one for one in self.slots.values() if one.kind is kind and one.state is AuthorityState.ACTIVE)

    def hold(self, sequence: int) -> None:
        """Everybody has this bundle."""
        self.holders = tuple(replace(one, sequence=sequence) for one in self.holders)

    def change(self, one: Authority, **changes: object) -> Authority:
        self.slots[one.id] = changed = replace(one, **changes)  # type: ignore[arg-type]
        return changed

    async def overview(self, kind: AuthorityKind | None = None) -> AuthorityOverview:
        if self.meanwhile:
            self.meanwhile.pop(0)()
        due = plan(tuple(self.slots.values()), Fleet(self.holders), self._now(), POLICY)
        return AuthorityOverview(
            tuple(self._info(one) for one in self.slots.values() if kind in (None, one.kind)),
            tuple(step for step in due if kind in (None, step.kind)),
        )

    async def get(self, authority_id: str) -> AuthorityInfo:
        return self._info(self._find(authority_id))

    async def prepare(self, call: AdminCall, kind: AuthorityKind) -> AuthorityInfo:
        standing = [one for one in self.slots.values() if one.kind is kind and one.state is AuthorityState.PREPARED]
        if any(not (one.tainted or one.revoked) for one in standing):
            raise RotationRefused(f"authority {standing[-1].id} is prepared already: activate it, or taint it first")
        made = self._add(kind, AuthorityState.PREPARED)
        await self._append(call, "authority.prepare", made.id, Outcome.SUCCESS)  # type: ignore[misc]
        return self._info(made)

    async def activate(
        self,
        call: AdminCall,
        authority_id: str,
        *,
        force: bool = False,
        cross_sign: bool = False,
        condition: Condition = ANY,
    ) -> AuthorityInfo:
        one = self._as_wanted(authority_id, condition)
        if one.state is AuthorityState.ACTIVE:
            return self._info(one)
        if one.state is not AuthorityState.PREPARED:
            raise RotationRefused(f"authority {one.id} is {one.state}; only a prepared one can be activated")
        if one.tainted or one.revoked:
            raise RotationRefused(f"authority {one.id} is {'revoked' if one.revoked else 'tainted'}")
        gate = self._gate(one)
        if not (gate.open or force):
            raise GateClosed(gate)
        before = self.active(one.kind)
        self.change(before, state=AuthorityState.OLD, retired_at=self._now())
        if cross_sign:
            self.cross_signed.append(one.id)
            one = self.change(one, chain=(b"cross",))
        activated = self.change(one, state=AuthorityState.ACTIVE, activated_at=self._now())
        await self._append(call, "authority.activate", one.id, Outcome.SUCCESS)  # type: ignore[misc]
        return self._info(activated)

    async def taint(self, call: AdminCall, authority_id: str, *, condition: Condition = ANY) -> AuthorityInfo:
        tainted = self.change(self._as_wanted(authority_id, condition), tainted=True)
        await self._append(call, "authority.taint", tainted.id, Outcome.SUCCESS)  # type: ignore[misc]
        return self._info(tainted)

    async def revoke(
        self, call: AdminCall, authority_id: str, *, force: bool = False, condition: Condition = ANY
    ) -> AuthorityInfo:
        one = self._as_wanted(authority_id, condition)
        if one.state is AuthorityState.ACTIVE and not force:
            raise RotationRefused(f"authority {one.id} is the active one: activate another one first, or force it")
        revoked = self.change(one, revoked=True)
        await self._append(call, "authority.revoke", revoked.id, Outcome.SUCCESS)  # type: ignore[misc]
        return self._info(revoked)

    def _add(self, kind: AuthorityKind, state: AuthorityState) -> Authority:
        self._made += 1
        self.sequence += 1
        one = slot(
            authority_id(self._made),
            state,
            kind=kind,
            since=self._now() - timedelta(minutes=1),
            life=LIFE,
            sequence=self.sequence,
        )
        self.slots[one.id] = one
        return one

    def _as_wanted(self, authority_id: str, condition: Condition) -> Authority:
        one = self._find(authority_id)
        condition.check(f"authority {authority_id}", authority_version(one))
        return one

    def _find(self, authority_id: str) -> Authority:
        if authority_id not in self.slots:
            raise NotFound("authority", authority_id)
        return self.slots[authority_id]

    def _gate(self, one: Authority) -> Gate:
        wait = self.jwt_wait if one.kind is AuthorityKind.JWT else timedelta(0)
        return judge(one, tuple(self.slots.values()), Fleet(self.holders), self._now(), wait)

    def _info(self, one: Authority) -> AuthorityInfo:
        sound = not (one.tainted or one.revoked)
        return AuthorityInfo(
            one,
            gate=self._gate(one) if one.state is AuthorityState.PREPARED and sound else None,
            times=times(one, POLICY) if one.state is AuthorityState.ACTIVE else None,
            kept_until=self._now() + HOUR if one.state is AuthorityState.OLD else None,
        )
