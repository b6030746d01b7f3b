"""Requests that wait for somebody else to approve them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, func, insert, select, tuple_, update

from sds.store.access.records import ApprovalRecord, ApprovalState
from sds.store.codec import make_cursor, read_cursor
from sds.store.errors import Conflict, NotFound
from sds.store.records import Page
from sds.store.tables.access import approvals as table
from sds.store.times import from_micros, from_micros_or_none, to_micros
from sds.store.tx import Tx


class Approvals:
    """Every change needs an audit event."""

    __slots__ = ("_tx",)

    def __init__(self, tx: Tx) -> None:
        self._tx = tx

    def create(self, approval: ApprovalRecord) -> None:
        row = {
            "id": approval.id,
            "action": approval.action,
            "target": approval.target,
            "request": approval.request,
            "digest": approval.digest,
            "requested_by": approval.requested_by,
            "requested_at": to_micros(approval.requested_at),
            "expires_at": to_micros(approval.expires_at),
            "state": approval.state.value,
            "decided_by": "",
            "decided_at": None,
            "reason": "",
        }
        self._tx.change(table, insert(table).values(row))

    def get(self, approval_id: str) -> ApprovalRecord:
        """Raises NotFound."""
        row = self._tx.first(select(table).where(table.c.id == approval_id))
        if row is None:
            raise NotFound("approval", approval_id)
        return _approval(row)

    def waiting(self, digest: str, requested_by: str) -> ApprovalRecord | None:
        """The same request of the same caller, if it waits already."""
        same = (table.c.digest == digest, table.c.requested_by == requested_by)
        pending = (table.c.state == ApprovalState.PENDING.value, table.c.expires_at > to_micros(self._tx.now))
        row = self._tx.first(select(table).where(*same, *pending))
        return None if row is None else _approval(row)

    def decide(
        self, approval_id: str, before: ApprovalState, after: ApprovalState, *, by: str = "", reason: str = ""
    ) -> ApprovalRecord:
        """Compare-and-swap of its state, so that nothing is done twice. Raises NotFound, Conflict."""
        values: dict[str, Any] = {"state": after.value, "reason": reason}
        if by:
            values |= {"decided_by": by, "decided_at": to_micros(self._tx.now)}
        statement = update(table).where(table.c.id == approval_id, table.c.state == before.value).values(values)
        if not self._tx.change(table, statement).rowcount:
            raise Conflict(f"approval {approval_id}", self.get(approval_id).state.value)
        return self.get(approval_id)

    def overdue(self, limit: int = 100) -> tuple[ApprovalRecord, ...]:
        """Those that nobody has decided in time."""
        late = (table.c.state == ApprovalState.PENDING.value, table.c.expires_at <= to_micros(self._tx.now))
        statement = select(table).where(*late).order_by(table.c.requested_at, table.c.id).limit(limit)
        return tuple(map(_approval, self._tx.rows(statement)))

    def page(
        self, *, state: ApprovalState | None = None, cursor: str | None = None, limit: int = 100
    ) -> Page[ApprovalRecord]:
        """Newest first. Raises InvalidCursor."""
        statement = select(table).order_by(table.c.requested_at.desc(), table.c.id.desc()).limit(limit + 1)
        if state is not None:
            statement = statement.where(table.c.state == state.value)
        if cursor is not None:
            statement = statement.where(tuple_(table.c.requested_at, table.c.id) < read_cursor(cursor, int, str))
        found = self._tx.rows(statement)
        last = found[limit - 1] if len(found) > limit else None
        items = tuple(map(_approval, found[:limit]))
        return Page(items, None if last is None else make_cursor(last.requested_at, last.id))

    def pending(self) -> int:
        """How many wait."""
        waiting = select(func.count()).select_from(table).where(table.c.state == ApprovalState.PENDING.value)
        return int(self._tx.scalar(waiting))


def _approval(row: Row[Any]) -> ApprovalRecord:
    return ApprovalRecord(
        row.id,
        row.action,
        row.target,
        bytes(row.request),
        row.digest,
        row.requested_by,
        from_micros(row.requested_at),
        from_micros(row.expires_at),
        ApprovalState(row.state),
        row.decided_by,
        from_micros_or_none(row.decided_at),
        row.reason,
    )
