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

MAX_SLOTS = 32
"""Authorities of a kind; the bundle that everybody holds has them all."""
_TRIES = 5


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
        self, authority_id: str, call: Call, *, force: bool = False, cross_sign: bool = False
    ) -> Authority:
        """Sign with it from now on; one that does already is returned as it is.

        Raises GateClosed unless `force`, RotationRefused for one that is not prepared, sound and valid. `cross_sign`:
        its leaves are sent with a certificate of the authority that it replaces.
        """

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

        return await self._decide(work)

    async def taint(self, authority_id: str, call: Call) -> Authority:
        """It signs nothing more, and agents replace what it issued. What follows from that is for the next tick."""

        async def work(look: Look) -> Authority:
            authority = look.slot(authority_id)
            return authority if authority.tainted else await self._acts.taint(look, authority, call)

        return await self._decide(work)

    async def revoke(self, authority_id: str, call: Call, *, force: bool = False) -> Authority:
        """Out of the bundle at once. The active one only with `force`: another one, made if need be, is activated
        first, whoever has its bundle. Raises RotationRefused.
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

        if force:
            await self._step_aside(authority_id, call)
        return await self._decide(work)

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

    async def _step_aside(self, authority_id: str, call: Call) -> None:
        look = await self._acts.look(whole_fleet=False)
        active = look.slot(authority_id)
        if active.state is AuthorityState.ACTIVE:
            ready = [
                one
                for one in _prepared([one for one in look.slots if one.kind is active.kind], look)
                if one.validity.covers(look.now)
            ]
            successor = ready[-1] if ready else await self.prepare(active.kind, call)
            await self.activate(successor.id, call, force=True)

    async def _decide(self, work: Callable[[Look], Awaitable[T]]) -> T:
        for _ in range(_TRIES - 1):
            try:
                return await work(await self._acts.look())
            except (Conflict, ConstraintViolated):
                continue
        return await work(await self._acts.look())


def _prepared(slots: list[Authority], look: Look) -> list[Authority]:
    """Those that may sign one day, oldest first."""
    return [one for one in slots if one.state is AuthorityState.PREPARED and sound(one) and look.now <= one.not_after]


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
