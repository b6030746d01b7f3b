"""Revoking: one transaction has the decision, all that it revokes and its audit event; then the lists are told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.authority import Authority
from ca.bundle import TrustBundle
from ca.errors import CaError
from ca.revocation import Reason
from sds.admin.errors import FieldProblem, InvalidInput
from sds.admin.services.common import AdminCall, Page
from sds.admin.services.conditions import ANY, Condition
from sds.admin.services.revocations import (
    BlastRadius,
    BlockQuery,
    Lifted,
    Revocation,
    RevocationOrder,
    RevocationQuery,
)
from sds.admin.services.versions import block_version
from sds.audit.event import AuditEvent, Json, Target
from sds.clock import Clock
from sds.logs import get_logger
from sds.rotation.steps import Call
from sds.server.revocation.blast import survey
from sds.server.revocation.reach import check_target
from sds.server.revocation.records import check_room, records, serials
from sds.server.revocation.target import value_of
from sds.server.services.common import SETTLE_SECONDS, Desk, actor_of
from sds.store.errors import NotFound, StoreError
from sds.store.revocation.records import BlockKind, BlockRecord, RevocationRecord
from sds.store.unit_of_work import UnitOfWork

_TARGETS = {
    BlockKind.SERIAL: "certificate",
    BlockKind.SPIFFE_ID: "identity",
    BlockKind.KEY: "key",
    BlockKind.ENTRY: "entry",
    BlockKind.AGENT: "agent",
    BlockKind.AUTHORITY: "authority",
}


class AuthorityOrders(Protocol):
    """See sds.server.authority.authorities.Authorities."""

    async def taint(self, authority_id: str, call: Call) -> Authority: ...

    async def revoke(self, authority_id: str, call: Call, *, force: bool = False) -> Authority: ...


class RevocationObserver(Protocol):
    """Counts decisions by kind, and times them until the lists are published."""

    def revoked(self, kind: str, certificates: int, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class RevocationParts:
    """`publish` makes the lists true; `keep` writes down what a restored database must not forget."""

    desk: Desk
    authorities: AuthorityOrders
    publish: Callable[[], Awaitable[None]]
    keep: Callable[[], Awaitable[None]]
    bundle: Callable[[], TrustBundle]
    trust_domain: TrustDomain
    new_id: Callable[[], str]
    clock: Clock
    observer: RevocationObserver


class RevocationService:
    """Implements sds.admin.services.RevocationAdmin."""

    def __init__(self, parts: RevocationParts) -> None:
        self._parts = parts
        self._desk = parts.desk
        self._log = get_logger(__name__)

    async def revoke(self, call: AdminCall, order: RevocationOrder) -> Revocation:
        parts, started = self._parts, self._parts.clock.monotonic()
        value = value_of(order, parts.trust_domain)
        order = replace(order, value=value)
        bundle = parts.bundle()
        await check_target(self._desk.store, call, order)
        radius = await self._desk.store.read(lambda uow: _look(uow, order, bundle))
        if order.dry_run:
            return Revocation(order, radius)
        if order.kind is BlockKind.AUTHORITY:
            asked = Call(actor_of(call), call.request_id)
            await parts.authorities.taint(value, asked)
            await parts.authorities.revoke(value, asked, force=True)
        block_id = parts.new_id()
        block, fresh = await self._desk.store.write(lambda uow: self._decide(uow, call, order, block_id))
        problem = await self._carry_out()
        seconds = parts.clock.monotonic() - started
        parts.observer.revoked(str(order.kind), fresh, seconds)
        self._log.warning(
            "revoked",
            kind=str(order.kind),
            value=value,
            certificates=fresh,
            block_id=block.id,
            reason=str(order.reason),
        )
        return Revocation(order, replace(radius, fresh=fresh), block, problem)

    async def lift(self, call: AdminCall, block_id: str, condition: Condition = ANY) -> Lifted:
        def work(uow: UnitOfWork) -> tuple[BlockRecord, bool]:
            uow.changes.lock()
            before = uow.blocks.get(block_id)
            condition.check(f"block {block_id}", block_version(before))
            _check_may_be_lifted(before)
            block = uow.blocks.lift(block_id, actor_of(call).id)
            released = block.reason is Reason.CERTIFICATE_HOLD
            if before.standing:
                uow.crls.outdate(uow.revocations.release(block))
                if block.kind is BlockKind.AGENT:
                    _forget_ban(uow, block)
                uow.audit.append(self._event(uow.now, call, "block.lift", block, {"released": released}))
            return block, released

        block, released = await self._desk.store.write(work)
        return Lifted(block, released, await self._carry_out())

    async def blocks(self, query: BlockQuery) -> Page[BlockRecord]:
        found = await self._desk.store.read(
            lambda uow: uow.blocks.list(
                kind=query.kind,
                standing=query.standing,
                oldest_first=query.order == "created",
                cursor=query.cursor,
                limit=query.limit,
            )
        )
        return Page(found.items, found.next_cursor)

    async def block(self, block_id: str) -> BlockRecord:
        return await self._desk.store.read(lambda uow: uow.blocks.get(block_id))

    async def revocations(self, query: RevocationQuery) -> Page[RevocationRecord]:
        found = await self._desk.store.read(
            lambda uow: uow.revocations.list(
                authority_id=query.authority_id,
                block_id=query.block_id,
                reason=query.reason,
                oldest_first=query.order == "revoked",
                cursor=query.cursor,
                limit=query.limit,
            )
        )
        return Page(found.items, found.next_cursor)

    def _decide(
        self, uow: UnitOfWork, call: AdminCall, order: RevocationOrder, block_id: str
    ) -> tuple[BlockRecord, int]:
        """In the transaction: everything that follows, or nothing. Returns how many are newly revoked, too."""
        uow.changes.lock()
        block = uow.blocks.standing_against(order.kind, order.value, order.reason)
        added = block is None
        if block is None:
            block = BlockRecord(
                id=block_id,
                kind=order.kind,
                value=order.value,
                reason=order.reason,
                incident=order.incident,
                created_at=uow.now,
                created_by=actor_of(call).id,
            )
            uow.blocks.add(block)
        taken_back = records(uow, order, block)
        check_room(uow, taken_back)
        uow.revocations.add(taken_back)
        if not (added or taken_back):
            return block, 0
        details: dict[str, Json] = {"certificates": len(taken_back), **serials(taken_back)}
        if order.kind is BlockKind.AGENT:
            details["banned"] = _ban(uow, order)
        uow.audit.append(self._event(uow.now, call, "revocation.create", block, details))
        return block, len(taken_back)

    async def _carry_out(self) -> str:
        """Tell the world. The decision stands whatever happens here, and the next tick tries again."""
        problem = ""
        for step in (self._parts.publish, self._parts.keep):
            try:
                await step()
            except (CaError, StoreError, OSError, ValueError) as error:
                self._log.error("a revocation stands and could not be carried out in full", reason=str(error))
                problem = problem or str(error)
        await self._desk.settled(SETTLE_SECONDS)
        return problem

    def _event(
        self, now: datetime, call: AdminCall, action: str, block: BlockRecord, details: dict[str, Json]
    ) -> AuditEvent:
        facts: dict[str, Json] = {"block_id": block.id, "incident": block.incident, "crl_reason": str(block.reason)}
        return self._desk.event(now, call, action, Target(_TARGETS[block.kind], block.value), {**facts, **details})


def _look(uow: UnitOfWork, order: RevocationOrder, bundle: TrustBundle) -> BlastRadius:
    """Raises NotFound for what there never was, InvalidInput for what cannot be."""
    _check_exists(uow, order)
    return survey(uow, order, order.value, bundle)


def _check_exists(uow: UnitOfWork, order: RevocationOrder) -> None:
    match order.kind:
        case BlockKind.SERIAL if order.issuer:
            uow.authorities.get(order.issuer)
        case BlockKind.SERIAL:
            if uow.certificates.get(order.value).not_after < uow.now:
                raise InvalidInput([FieldProblem("value", "this certificate has expired")])
        case BlockKind.ENTRY:
            if uow.certificates.latest_not_after(entry_id=order.value) is None:
                uow.entries.get(order.value)
        case BlockKind.AGENT:
            if not uow.revocations.concerned(order.kind, order.value, limit=1):
                uow.agents.get(SpiffeId.parse(order.value))
        case BlockKind.AUTHORITY:
            uow.authorities.get(order.value)
        case BlockKind.SPIFFE_ID | BlockKind.KEY:
            pass  # what does not exist yet can be blocked, too


def _ban(uow: UnitOfWork, order: RevocationOrder) -> bool:
    """Cut the agent off, if it is known; whether it was."""
    agent_id = SpiffeId.parse(order.value)
    try:
        uow.agents.ban(agent_id, order.incident or f"revoked: {order.reason}")
    except NotFound:
        return False
    uow.streams.forget(agent_id)
    return True


def _check_may_be_lifted(block: BlockRecord) -> None:
    """Raises InvalidInput."""
    if block.kind is BlockKind.AUTHORITY:
        raise InvalidInput([FieldProblem("block_id", "an authority is revoked for good")])
    if block.kind is BlockKind.SERIAL and block.reason is not Reason.CERTIFICATE_HOLD:
        problem = "this certificate was revoked for good, and nothing else is blocked by that"
        raise InvalidInput([FieldProblem("block_id", problem)])


def _forget_ban(uow: UnitOfWork, block: BlockRecord) -> None:
    """Its certificates are revoked, so the agent attests anew; it may, unless another block stands."""
    if uow.blocks.among([(BlockKind.AGENT, block.value)]):
        return
    agent_id = SpiffeId.parse(block.value)
    try:
        banned = uow.agents.get(agent_id).banned
    except NotFound:
        return
    if banned:
        uow.agents.delete(agent_id)
