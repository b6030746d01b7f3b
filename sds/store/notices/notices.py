"""What people were told of, and what they are still to be told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, bindparam, delete, func, select, tuple_, update

from sds.notices.notice import Kind, Notice
from sds.store.codec import chunks, make_cursor, read_cursor
from sds.store.records import Page
from sds.store.tables import notices, settings
from sds.store.times import from_micros, from_micros_or_none, to_micros, to_micros_or_none
from sds.store.tx import Tx

TURN = "notices.turn"
"""Who looks and sends, and until when."""


@dataclass(frozen=True, slots=True)
class NoticeFilter:
    """Filters are and-ed; one that is not given matches all. `over`: whether what it tells of is over."""

    kind: Kind | None = None
    subject: str | None = None
    recipient: str | None = None
    owner: str | None = None
    over: bool | None = None
    urgent: bool | None = None
    failing: bool | None = None  # whether the last try to send it failed


NO_FILTER = NoticeFilter()


class Notices:
    """Observations, and what was told of them: the sending is audited, not the finding. None is in the feed."""

    __slots__ = ("_tx",)

    def __init__(self, tx: Tx) -> None:
        self._tx = tx

    def take_turn(self, holder: str, until: datetime) -> bool:
        """Whether `holder` is the one who looks and sends until then: nobody else is, or their time is up.

        Compare and swap: of two who try at once one gets it. Who has it may take it again.
        """
        turn = self._tx.scalar(select(settings.c.value).where(settings.c.key == TURN))
        mine = f"{to_micros(until)} {holder}"
        if turn is None:
            insert = self._tx.insert(settings).values(key=TURN, value=mine).on_conflict_do_nothing()
            return self._tx.note(insert.returning(settings.c.key)).first() is not None
        end, _, other = str(turn).partition(" ")
        if other != holder and int(end) > to_micros(self._tx.now):
            return False
        swap = update(settings).where(settings.c.key == TURN, settings.c.value == turn).values(value=mine)
        return bool(self._tx.note(swap).rowcount)

    def end_turn(self, holder: str) -> None:
        """Let another one begin at once, if it is `holder`'s turn."""
        turn = str(self._tx.scalar(select(settings.c.value).where(settings.c.key == TURN)) or "")
        if turn.partition(" ")[2] == holder:
            self._tx.note(delete(settings).where(settings.c.key == TURN, settings.c.value == turn))

    def standing(self) -> tuple[Notice, ...]:
        """All that are not closed."""
        statement = select(notices).where(notices.c.closed == 0).order_by(notices.c.first_seen_at, notices.c.id)
        return tuple(map(_from_row, self._tx.rows(statement)))

    def some(self, ids: Iterable[str]) -> tuple[Notice, ...]:
        """Those that there are under these IDs and that are not closed."""
        found: list[Notice] = []
        for part in chunks(ids):
            rows = self._tx.rows(select(notices).where(notices.c.id.in_(part), notices.c.closed == 0))
            found += map(_from_row, rows)
        return tuple(found)

    def begin(self, batch: Sequence[Notice]) -> None:
        """Store new ones. One that stands already, by another hand, is left as it is."""
        if batch:
            statement = self._tx.insert(notices).on_conflict_do_nothing()
            self._tx.note(statement, [_columns(notice) for notice in batch])

    def change(self, batch: Sequence[Notice]) -> None:
        """Store these in place of what stood under their IDs."""
        if batch:
            statement = update(notices).where(notices.c.id == bindparam("of_id"))
            names = [name for name in _columns(batch[0]) if name != "id"]
            statement = statement.values({name: bindparam(f"new_{name}") for name in names})
            rows = [_columns(notice) for notice in batch]
            self._tx.note(
                statement, [{"of_id": row["id"]} | {f"new_{name}": row[name] for name in names} for row in rows]
            )

    def last_sent(self) -> Mapping[str, datetime]:
        """When each recipient was last sent something."""
        newest = func.max(notices.c.sent_at).label("newest")
        statement = select(notices.c.recipient, newest).where(notices.c.sent_at.is_not(None))
        rows = self._tx.rows(statement.group_by(notices.c.recipient))
        return {row.recipient: from_micros(row.newest) for row in rows}

    def page(self, filters: NoticeFilter = NO_FILTER, *, cursor: str | None = None, limit: int = 100) -> Page[Notice]:
        """Newest first. Raises InvalidCursor."""
        place = (notices.c.first_seen_at, notices.c.id)
        statement = select(notices).where(*_conditions(filters)).limit(limit + 1)
        statement = statement.order_by(*(column.desc() for column in place))
        if cursor is not None:
            statement = statement.where(tuple_(*place) < read_cursor(cursor, int, str))
        rows = self._tx.rows(statement)
        last = rows[limit - 1] if len(rows) > limit else None
        return Page(
            tuple(map(_from_row, rows[:limit])), None if last is None else make_cursor(last.first_seen_at, last.id)
        )

    def counts(self) -> Mapping[Kind, int]:
        """How many things stand, of each kind; of several recipients' notices of one thing, one counts."""
        statement = select(notices.c.kind, func.count(notices.c.subject.distinct()).label("number"))
        rows = self._tx.rows(statement.where(notices.c.ended_at.is_(None)).group_by(notices.c.kind))
        return {Kind(row.kind): row.number for row in rows}

    def purge(self, ended_before: datetime) -> int:
        """Forget what is closed, and was over before then; returns how many."""
        old = (notices.c.closed == 1) & (notices.c.ended_at < to_micros(ended_before))
        return self._tx.note(delete(notices).where(old)).rowcount


def _conditions(filters: NoticeFilter) -> list[ColumnElement[bool]]:
    columns = notices.c
    equal = (
        (columns.kind, filters.kind),
        (columns.subject, filters.subject),
        (columns.recipient, filters.recipient),
        (columns.owner, filters.owner),
    )
    found = [column == str(value) for column, value in equal if value is not None]
    if filters.over is not None:
        found.append(columns.ended_at.is_not(None) if filters.over else columns.ended_at.is_(None))
    if filters.urgent is not None:
        found.append(columns.urgent == int(filters.urgent))
    if filters.failing is not None:
        found.append((columns.problem != "") == filters.failing)
    return found


def _columns(notice: Notice) -> dict[str, Any]:
    return {
        "id": notice.id,
        "kind": notice.kind.value,
        "subject": notice.subject,
        "recipient": notice.recipient,
        "owner": notice.owner,
        "text": notice.text,
        "due_at": to_micros_or_none(notice.due_at),
        "first_seen_at": to_micros(notice.first_seen_at),
        "changed_at": to_micros(notice.changed_at),
        "sent_at": to_micros_or_none(notice.sent_at),
        "ended_at": to_micros_or_none(notice.ended_at),
        "stage": notice.stage,
        "told": notice.told,
        "urgent": int(notice.urgent),
        "closed": int(notice.closed),
        "attempts": notice.attempts,
        "retry_at": to_micros_or_none(notice.retry_at),
        "problem": notice.problem,
    }


def _from_row(row: Row[Any]) -> Notice:
    return Notice(
        id=row.id,
        kind=Kind(row.kind),
        subject=row.subject,
        recipient=row.recipient,
        owner=row.owner,
        text=row.text,
        stage=row.stage,
        urgent=bool(row.urgent),
        due_at=from_micros_or_none(row.due_at),
        first_seen_at=from_micros(row.first_seen_at),
        changed_at=from_micros(row.changed_at),
        told=row.told,
        sent_at=from_micros_or_none(row.sent_at),
        ended_at=from_micros_or_none(row.ended_at),
        closed=bool(row.closed),
        attempts=row.attempts,
        retry_at=from_micros_or_none(row.retry_at),
        problem=row.problem,
    )
