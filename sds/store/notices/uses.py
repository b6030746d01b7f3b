"""When entries and grants were last used: derived now and then from what issuance and delivery write anyway."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import ColumnElement, and_, delete, exists, func, select

from sds.audit.canonical import NotCanonical, parse_event
from sds.audit.event import Outcome
from sds.store.audit import STORED
from sds.store.settings import Settings
from sds.store.tables import audit_events, certificates, entries, grants, last_uses, storable
from sds.store.times import from_micros, to_micros
from sds.store.tx import Tx

ENTRY, GRANT = "entry", "grant"
DELIVERIES = ("secret.deliver", "token.issue")
_MARGIN = 1000
"""Rows before the last one that was looked at, which may have been committed after it."""
CERTIFICATES, AUDIT = "notices.certificates", "notices.audit"


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found up to a place: entries to the times of their uses, and (secret ID, SPIFFE ID) of deliveries."""

    key: str
    upto: int
    left: int
    entries: Mapping[str, datetime]
    delivered: Mapping[tuple[str, str], datetime] = field(default_factory=dict)


class Uses:
    """Neither audited nor in the feed."""

    __slots__ = ("_settings", "_tx")

    def __init__(self, tx: Tx, settings: Settings) -> None:
        self._tx = tx
        self._settings = settings

    def in_certificates(self, most: int) -> Seen:
        """What entries got certificates since what was `done` last, of at most `most` of them. Reads alone."""
        after, upto, left = self._range(CERTIFICATES, certificates.c.number, most)
        chosen = certificates.c.number.between(after + 1, upto) & (certificates.c.entry_id != "")
        used = func.max(certificates.c.requested_at).label("used_at")
        rows = self._tx.rows(select(certificates.c.entry_id, used).where(chosen).group_by(certificates.c.entry_id))
        return Seen(CERTIFICATES, upto, left, {row.entry_id: from_micros(row.used_at) for row in rows})

    def in_audit(self, most: int) -> Seen:
        """What entries got tokens, and who was delivered what, since what was `done` last. Reads alone."""
        after, upto, left = self._range(AUDIT, audit_events.c.seq, most)
        chosen = audit_events.c.seq.between(after + 1, upto) & audit_events.c.action.in_(DELIVERIES)
        tokens: dict[str, datetime] = {}
        delivered: dict[tuple[str, str], datetime] = {}
        for row in self._tx.rows(select(STORED).where(chosen)):
            try:
                event = parse_event(row.canonical)
            except NotCanonical:  # somebody has tampered with it, which is the verifier's to tell
                continue
            entry, ids = event.details.get("entry_id"), event.details.get("spiffe_ids")
            if event.outcome is not Outcome.SUCCESS:
                continue
            if event.action == "token.issue":
                tokens |= {str(entry): event.time} if entry else {}
            elif isinstance(ids, list | tuple):
                delivered |= {(event.target.id, str(each)): event.time for each in ids}
        return Seen(AUDIT, upto, left, tokens, delivered)

    def done(self, seen: Seen) -> None:
        """Note the uses of entries, and that the next look goes on from there."""
        self.note(ENTRY, seen.entries)
        self._settings.put(seen.key, str(seen.upto))

    def note(self, kind: str, times: Mapping[str, datetime]) -> None:
        """Note when these were used; an earlier time than the one that stands changes nothing."""
        if not times:
            return
        insert = self._tx.insert(last_uses)
        statement = insert.on_conflict_do_update(
            index_elements=["kind", "id"],
            set_={"used_at": insert.excluded.used_at},
            where=last_uses.c.used_at < insert.excluded.used_at,
        )
        rows = [
            {"kind": kind, "id": storable(each), "used_at": to_micros(time)} for each, time in sorted(times.items())
        ]
        self._tx.note(statement, rows)

    def of(self, kind: str) -> Mapping[str, datetime]:
        """When each was last used, by ID."""
        rows = self._tx.rows(select(last_uses.c.id, last_uses.c.used_at).where(last_uses.c.kind == kind))
        return {row.id: from_micros(row.used_at) for row in rows}

    def forget_gone(self) -> int:
        """Forget what was used and is no more; returns how many."""
        gone = 0
        for kind, table in ((ENTRY, entries), (GRANT, grants)):
            stands = exists(select(table.c.id).where(table.c.id == last_uses.c.id))
            gone += self._tx.note(delete(last_uses).where(and_(last_uses.c.kind == kind, ~stands))).rowcount
        return gone

    def _range(self, key: str, column: ColumnElement[int], most: int) -> tuple[int, int, int]:
        """After which number, up to which, and how many are left then."""
        after = max(int(self._settings.get(key) or 0) - _MARGIN, 0)
        newest = int(self._tx.scalar(select(func.max(column))) or 0)
        upto = min(newest, after + _MARGIN + most)
        return after, upto, newest - upto
