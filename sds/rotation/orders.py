"""What administrators ask for. Each is judged by the journal that it is done by; who was overtaken judges again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from ca.authority import Authority, AuthorityKind, AuthorityState
from ca.errors import RotationRefused
from ca.gate import Gate, GateClosed
from ca.rotation import sound
from sds.rotation.acts import Acts
from sds.rotation.look import Look
from sds.rotation.steps import Call
from sds.store.errors import Conflict, ConstraintViolated

T = TypeVar("T")

Judge = Callable[[Authority], None]
"""Whether an authority is as who gave the order saw it; raises Conflict. It is judged by the look that the order is
done by, which is done only if the journal is still at that revision.
"""

MAX_SLOTS = 32
"""Authorities of a kind; the bundle that everybody holds has them all."""
_TRIES = 5


def as_it_stands(_authority: Authority) -> None:
    """The judge of who orders whatever stands."""


def _anything(_look: Look) -> None:
    pass


class Orders:
    """All raise CaError and StoreError; NotFound for an authority that there is not."""

    def __init__(self, acts: Acts) -> None:
        self._acts = acts

    async def look(self) -> Look:
        """All slots, and the whole fleet."""
        return await self._acts.look()

    async def gate(self, authority_id: str) -> Gate:
        """Who would not accept what this authority issues. Of one that signs already: does not."""
        look = await self.look()
        return look.gate(look.slot(authority_id))

    async def prepare(self, kind: AuthorityKind, call: Call) -> Authority:
        """Make the next authority now. Raises RotationRefused if one is there already."""

        async def work(look: Look) -> Authority:
            mine = [one for one in look.slots if one.kind is kind]
            standing = _prepared(mine, look)
            if standing:
                raise RotationRefused(
                    f"authority {standing[-1].id} is prepared already: activate it, or taint it first"
                )
            if len(mine) >= MAX_SLOTS:
                raise RotationRefused(f"there are {len(mine)} authorities of this kind: wait until old ones are gone")
            return await self._acts.prepare(look, kind, "asked for", call)

        return await self._decide(work)

    async def activate(
        self,
        authority_id: str,
        call: Call,
        *,
        force: bool = False,
        cross_sign: bool = False,
        judge: Judge = as_it_stands,
    ) -> Authority:
        """Sign with it from now on; one that does already is returned as it is.

        Raises GateClosed unless `force`, RotationRefused for one that is not prepared, sound and valid. `cross_sign`:
        its leaves are sent with a certificate of the authority that it replaces.
        """
        work = self._activation(authority_id, call, force=force, cross_sign=cross_sign)
        return await self._decide(work, lambda look: judge(look.slot(authority_id)))

    def _activation(
        self, authority_id: str, call: Call, *, force: bool, cross_sign: bool = False
    ) -> Callable[[Look], Awaitable[Authority]]:
        async def work(look: Look) -> Authority:
            authority = look.slot(authority_id)
            if authority.usable(look.now):
                return authority
            _check_may_sign(authority, look)
            gate = look.gate(authority)
            if not (gate.open or force):
                raise GateClosed(gate)
            reason = "asked for" if gate.open else "forced"
            return await self._acts.activate(
                look, authority, gate, reason, call, forced=not gate.open, cross_sign=cross_sign
            )

        return work

    async def taint(self, authority_id: str, call: Call, *, judge: Judge = as_it_stands) -> Authority:
        """It signs nothing more, and agents replace what it issued. What follows from that is for the next tick."""

        async def work(look: Look) -> Authority:
            authority = look.slot(authority_id)
            return authority if authority.tainted else await self._acts.taint(look, authority, call)

        return await self._decide(work, lambda look: judge(look.slot(authority_id)))

    async def revoke(
        self, authority_id: str, call: Call, *, force: bool = False, judge: Judge = as_it_stands
    ) -> Authority:
        """Out of the bundle at once. The active one only with `force`: another one, made if need be, is activated
        first, whoever has its bundle. Raises RotationRefused. It is judged by the first change of it.
        """

        async def work(look: Look) -> Authority:
            authority = look.slot(authority_id)
            if authority.revoked:
                return authority
            if authority.state is AuthorityState.ACTIVE:
                raise RotationRefused(
                    f"authority {authority.id} is the active one: activate another one first, or force it"
                )
            return await self._acts.revoke(look, authority, call)

        if force and await self._step_aside(authority_id, call, judge):
            judge = as_it_stands  # as the order itself has made it
        return await self._decide(work, lambda look: judge(look.slot(authority_id)))

    async def drop(self, authority_id: str, call: Call) -> None:
        """Forget one that is not active, if nothing that it issued is valid any more. Raises RotationRefused."""

        async def work(look: Look) -> None:
            authority = look.slot(authority_id)
            if authority.state is AuthorityState.ACTIVE:
                raise RotationRefused(f"authority {authority.id} is the active one")
            if look.now < look.dropped_from(authority):
                raise RotationRefused(
                    f"something that authority {authority.id} issued may still be valid: revoke it if that must end"
                )
            await self._acts.drop(look, authority, "asked for", call)

        await self._decide(work)

    async def _step_aside(self, authority_id: str, call: Call, judge: Judge) -> bool:
        """Whether it was the active one, and is not any more."""
        look = await self._acts.look(whole_fleet=False)
        active = look.slot(authority_id)
        judge(active)
        if active.state is not AuthorityState.ACTIVE:
            return False
        successor = _ready(active.kind, look)
        if successor is None:
            try:
                successor = await self.prepare(active.kind, call)
            except RotationRefused:  # unless somebody else has just made one
                look = await self._acts.look(whole_fleet=False)
                judge(look.slot(authority_id))
                successor = _ready(active.kind, look)
                if successor is None:
                    raise
        work = self._activation(successor.id, call, force=True)
        await self._decide(work, lambda look: judge(look.slot(authority_id)))
        return True

    async def _decide(self, work: Callable[[Look], Awaitable[T]], check: Callable[[Look], None] = _anything) -> T:
        """What `check` raises is not tried again: what was overtaken since the look is."""
        for _ in range(_TRIES - 1):
            look = await self._acts.look()
            check(look)
            try:
                return await work(look)
            except (Conflict, ConstraintViolated):
                continue
        look = await self._acts.look()
        check(look)
        return await work(look)


def _prepared(slots: list[Authority], look: Look) -> list[Authority]:
    """Those that may sign one day, oldest first."""
    return [one for one in slots if one.state is AuthorityState.PREPARED and sound(one) and look.now <= one.not_after]


def _ready(kind: AuthorityKind, look: Look) -> Authority | None:
    """The newest one that may sign now."""
    prepared = _prepared([one for one in look.slots if one.kind is kind], look)
    return next((one for one in reversed(prepared) if one.validity.covers(look.now)), None)


def _check_may_sign(authority: Authority, look: Look) -> None:
    """Raises RotationRefused; nobody can force this."""
    if not sound(authority):
        raise RotationRefused(f"authority {authority.id} is {'revoked' if authority.revoked else 'tainted'}")
    if authority.state is not AuthorityState.PREPARED:
        raise RotationRefused(f"authority {authority.id} is {authority.state}; only a prepared one can be activated")
    if not authority.validity.covers(look.now):
        raise RotationRefused(
            f"authority {authority.id} is valid from {authority.not_before.isoformat()} to "
            f"{authority.not_after.isoformat()} only"
        )
