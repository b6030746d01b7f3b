"""Revocation in memory: what a store, lists and an audit log would do, without any of them."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.revocation import Reason
from sds.admin.errors import FieldProblem, InvalidInput
from sds.admin.services import AdminCall, Page
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
from sds.audit.event import Outcome
from sds.server.revocation.target import value_of
from sds.store.errors import InvalidCursor, NotFound
from sds.store.revocation.records import BlockKind, BlockRecord, RevocationRecord

T = TypeVar("T")
Append = Callable[..., Awaitable[None]]


def _page(items: Sequence[T], limit: int, cursor: str | None) -> Page[T]:
    if cursor is not None and not cursor.isdigit():
        raise InvalidCursor
    start = int(cursor or 0)
    end = start + limit
    return Page(tuple(items[start:end]), str(end) if end < len(items) else None)


class FakeRevocations:
    """Knows certificates by serial, and of each its SPIFFE ID; every other kind of target is taken as it is."""

    def __init__(self, now: Callable[[], datetime], append: Append, trust_domain: TrustDomain) -> None:
        self._now = now
        self._append = append
        self._trust_domain = trust_domain
        self._numbers = itertools.count(1)
        self.certificates: dict[str, tuple[SpiffeId, datetime]] = {}
        self.radius: BlastRadius | None = None  # answered as it is
        self.standing: dict[str, BlockRecord] = {}
        self.revoked: dict[str, RevocationRecord] = {}

    async def revoke(self, call: AdminCall, order: RevocationOrder) -> Revocation:
        value = value_of(order, self._trust_domain)
        order = replace(order, value=value)
        if order.kind is BlockKind.SERIAL and value not in self.certificates:
            raise NotFound("certificate", value)
        hit = [serial for serial, (spiffe_id, _) in self.certificates.items() if value in (serial, str(spiffe_id))]
        fresh = [serial for serial in hit if serial not in self.revoked]
        notes = ("connections that are open now live on",) if hit else ()
        radius = self.radius or BlastRadius(certificates=len(hit), fresh=len(fresh), notes=notes)
        if order.dry_run:
            return Revocation(order, radius)
        block = next(
            (b for b in self.standing.values() if (b.kind, b.value) == (order.kind, value) and b.standing), None
        )
        if block is None:
            await self._append(call, "revocation.create", value, Outcome.SUCCESS, str(order.reason))
            identifier = f"b{next(self._numbers):08}"
            by = call.caller.id
            block = BlockRecord(identifier, order.kind, value, order.reason, order.incident, self._now(), by)
            self.standing[block.id] = block
        for serial in fresh:
            not_after = self.certificates[serial][1]
            self.revoked[serial] = RevocationRecord(serial, "aa", not_after, order.reason, self._now(), block.id)
        return Revocation(order, radius, block)

    async def lift(self, call: AdminCall, block_id: str, condition: Condition = ANY) -> Lifted:
        block = await self.block(block_id)
        condition.check(f"block {block_id}", block_version(block))
        held = block.reason is Reason.CERTIFICATE_HOLD
        if block.kind is BlockKind.AUTHORITY or (block.kind is BlockKind.SERIAL and not held):
            raise InvalidInput([FieldProblem("block_id", "revoked for good")])
        if block.standing:
            await self._append(call, "block.lift", block.value, Outcome.SUCCESS)
            block = replace(block, lifted_at=self._now(), lifted_by=call.caller.id)
            self.standing[block_id] = block
            if held:
                self.revoked = {serial: one for serial, one in self.revoked.items() if one.block_id != block_id}
        return Lifted(block, held)

    async def blocks(self, query: BlockQuery) -> Page[BlockRecord]:
        found = [
            block
            for block in list(self.standing.values())[:: 1 if query.order == "created" else -1]
            if query.kind in (None, block.kind) and query.standing in (None, block.standing)
        ]
        return _page(found, query.limit, query.cursor)

    async def block(self, block_id: str) -> BlockRecord:
        if block_id not in self.standing:
            raise NotFound("block", block_id)
        return self.standing[block_id]

    async def revocations(self, query: RevocationQuery) -> Page[RevocationRecord]:
        found = [
            one
            for one in self.revoked.values()
            if query.block_id in (None, one.block_id)
            and query.authority_id in (None, one.authority_id)
            and query.reason in (None, one.reason)
        ]
        return _page(
            sorted(found, key=lambda one: (one.revoked_at, one.serial), reverse=query.order == "-revoked"),
            query.limit,
            query.cursor,
        )
