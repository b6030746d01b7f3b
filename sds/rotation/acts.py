"""The acts that a rotation is made of: a key where one is needed, the step by compare-and-swap, a line in the log."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ca.authority import Authority, AuthorityKind
from ca.errors import CaError
from ca.gate import Gate
from sds.logs import get_logger
from sds.rotation.look import Look, take_look
from sds.rotation.ports import Maker, RotationObserver, Rules, Store
from sds.rotation.steps import Call, Steps
from sds.store.errors import Conflict, ConstraintViolated, NotFound
from sds.store.revocation.records import CrlRecord
from sds.store.unit_of_work import UnitOfWork

T = TypeVar("T")

LOST = (Conflict, ConstraintViolated, NotFound)
"""Somebody else has changed the journal since the look."""
_LOGGED = 10


class Acts:
    """All but `look` raise one of LOST if the look is out of date, CaError and StoreError."""

    def __init__(self, store: Store, maker: Maker, steps: Steps, rules: Rules, observer: RotationObserver) -> None:
        self._store = store
        self._maker = maker
        self._steps = steps
        self._observer = observer
        self._log = get_logger(__name__)
        self.rules = rules

    async def look(self, *, whole_fleet: bool = True) -> Look:
        """Raises StoreError."""
        policy, settle = self.rules.policy, self.rules.settle
        return await self._store.read(lambda uow: take_look(uow, policy, settle, whole_fleet=whole_fleet))

    async def prepare(self, look: Look, kind: AuthorityKind, reason: str, call: Call) -> Authority:
        made, crl = await self._make(kind)
        try:
            added = await self._write(
                kind, "prepare", lambda uow: self._steps.prepare(uow, look, made, crl, reason, call)
            )
        except LOST:
            await self._maker.forget(made)
            raise
        self._log.info(
            "prepared an authority",
            kind=str(kind),
            authority_id=added.id,
            not_after=added.not_after.isoformat(),
            bundle_sequence=added.published_sequence,
            reason=reason,
        )
        return added

    async def _make(self, kind: AuthorityKind) -> tuple[Authority, CrlRecord | None]:
        try:
            made = await self._maker.make(kind)
            try:
                return made, await self._maker.first_crl(made)
            except CaError:
                await self._maker.forget(made)
                raise
        except CaError:
            self._observer.rotation_step(str(kind), "prepare", "failure")
            raise

    async def activate(
        self,
        look: Look,
        authority: Authority,
        gate: Gate,
        reason: str,
        call: Call,
        *,
        forced: bool = False,
        past_deadline: bool = False,
        cross_sign: bool = False,
    ) -> Authority:
        kind, before = authority.kind, look.active(authority.kind)
        chain: tuple[bytes, ...] | None = None
        try:
            await self._maker.check(authority)
            if cross_sign and before is not None:
                chain = await self._maker.cross_sign(authority, before)
        except CaError:
            self._observer.rotation_step(str(kind), "activate", "failure")
            raise

        def work(uow: UnitOfWork) -> Authority:
            return self._steps.activate(
                uow, look, authority, gate, reason, call, forced=forced, past_deadline=past_deadline, chain=chain
            )

        active = await self._write(kind, "activate", work)
        self._tell_activation(active, gate, reason)
        if before is not None and before.kind is AuthorityKind.X509 and look.now > before.not_after:
            self._log.error(
                "the authority before it has expired, and with it every certificate below it: give agents the new "
                "bundle (sds bundle show) and new tokens (sds token create)",
                authority_id=before.id,
                expired_at=before.not_after.isoformat(),
            )
        return active

    async def taint(self, look: Look, authority: Authority, call: Call) -> Authority:
        tainted = await self._write(authority.kind, "taint", lambda uow: self._steps.taint(uow, look, authority, call))
        self._log.warning(
            "an authority is tainted: it signs no more, and what it issued is being replaced",
            kind=str(authority.kind),
            authority_id=authority.id,
        )
        return tainted

    async def revoke(self, look: Look, authority: Authority, call: Call) -> Authority:
        revoked = await self._write(
            authority.kind, "revoke", lambda uow: self._steps.revoke(uow, look, authority, call)
        )
        self._log.warning(
            "an authority is revoked: nothing that it issued is accepted any more",
            kind=str(authority.kind),
            authority_id=authority.id,
        )
        return revoked

    async def drop(self, look: Look, authority: Authority, reason: str, call: Call) -> None:
        await self._write(authority.kind, "drop", lambda uow: self._steps.drop(uow, look, authority, reason, call))
        await self._maker.forget(authority)
        self._log.info("dropped an authority", kind=str(authority.kind), authority_id=authority.id, reason=reason)

    async def _write(self, kind: AuthorityKind, step: str, work: Callable[[UnitOfWork], T]) -> T:
        try:
            value = await self._store.write(work)
        except LOST:
            self._observer.rotation_step(str(kind), step, "lost")
            raise
        self._observer.rotation_step(str(kind), step, "success")
        return value

    def _tell_activation(self, active: Authority, gate: Gate, reason: str) -> None:
        facts = {"kind": str(active.kind), "authority_id": active.id, "reason": reason}
        figures = {"acked": gate.acked, "total": gate.total}
        if gate.stragglers:
            named = [f"{one.agent_id} {one.stream_id} {one.path}: {one.lag}" for one in gate.stragglers[:_LOGGED]]
            self._log.error(
                "an authority signs from now on, and some do not know it yet", **facts, **figures, stragglers=named
            )
        else:
            self._log.info("an authority signs from now on", **facts, **figures)
