"""The authorities, for administrators: one look at all of them and the fleet; orders go to who rotates them."""

from __future__ import annotations

from typing import Protocol

from ca.authority import Authority, AuthorityKind, AuthorityState
from ca.rotation import sound, times
from sds.admin.services import AdminCall, AuthorityInfo, AuthorityOverview
from sds.admin.services.conditions import ANY, Condition
from sds.admin.services.versions import authority_version
from sds.rotation.look import Look, take_look
from sds.rotation.orders import Judge
from sds.rotation.ports import Rules
from sds.rotation.steps import Call
from sds.server.services.common import SETTLE_SECONDS, Desk, actor_of


class Orders(Protocol):
    """The part of Authorities that is used here."""

    async def prepare(self, kind: AuthorityKind, call: Call) -> Authority: ...

    async def activate(
        self, authority_id: str, call: Call, *, force: bool = False, cross_sign: bool = False, judge: Judge = ...
    ) -> Authority: ...

    async def taint(self, authority_id: str, call: Call, *, judge: Judge = ...) -> Authority: ...

    async def revoke(self, authority_id: str, call: Call, *, force: bool = False, judge: Judge = ...) -> Authority: ...


class AuthorityService:
    """Implements sds.admin.services.AuthorityAdmin."""

    def __init__(self, desk: Desk, orders: Orders, rules: Rules) -> None:
        self._desk = desk
        self._orders = orders
        self._rules = rules

    async def overview(self, kind: AuthorityKind | None = None) -> AuthorityOverview:
        look = await self._look()
        return AuthorityOverview(
            tuple(_info(one, look) for one in look.slots if kind is None or one.kind is kind),
            tuple(step for step in look.due() if kind is None or step.kind is kind),
        )

    async def get(self, authority_id: str) -> AuthorityInfo:
        look = await self._look()
        return _info(look.slot(authority_id), look)

    async def prepare(self, call: AdminCall, kind: AuthorityKind) -> AuthorityInfo:
        return await self._told(await self._orders.prepare(kind, _by(call)))

    async def activate(
        self,
        call: AdminCall,
        authority_id: str,
        *,
        force: bool = False,
        cross_sign: bool = False,
        condition: Condition = ANY,
    ) -> AuthorityInfo:
        activated = await self._orders.activate(
            authority_id, _by(call), force=force, cross_sign=cross_sign, judge=_judge(condition)
        )
        return await self._told(activated)

    async def taint(self, call: AdminCall, authority_id: str, *, condition: Condition = ANY) -> AuthorityInfo:
        return await self._told(await self._orders.taint(authority_id, _by(call), judge=_judge(condition)))

    async def revoke(
        self, call: AdminCall, authority_id: str, *, force: bool = False, condition: Condition = ANY
    ) -> AuthorityInfo:
        revoked = await self._orders.revoke(authority_id, _by(call), force=force, judge=_judge(condition))
        return await self._told(revoked)

    async def _told(self, authority: Authority) -> AuthorityInfo:
        """What follows from a change may have moved it on already: the answer is what stands now."""
        await self._desk.settled(SETTLE_SECONDS)
        look = await self._look()
        standing = next((one for one in look.slots if one.id == authority.id), authority)
        return _info(standing, look)

    async def _look(self) -> Look:
        policy, settle = self._rules.policy, self._rules.settle
        return await self._desk.store.read(lambda uow: take_look(uow, policy, settle, whole_fleet=True))


def _info(one: Authority, look: Look) -> AuthorityInfo:
    match one.state:
        case AuthorityState.PREPARED:
            return AuthorityInfo(one, gate=look.gate(one) if sound(one) else None)
        case AuthorityState.ACTIVE:
            return AuthorityInfo(one, times=times(one, look.policy))
        case AuthorityState.OLD:
            return AuthorityInfo(one, kept_until=look.dropped_from(one))


def _judge(condition: Condition) -> Judge:
    return lambda one: condition.check(f"authority {one.id}", authority_version(one))


def _by(call: AdminCall) -> Call:
    return Call(actor_of(call), call.request_id)
