"""The masters that session-ticket keys are derived from, one an epoch."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import delete, func, select, update

from sds.store.changes import Changes
from sds.store.records import ChangeKind
from sds.store.secrets import rows
from sds.store.secrets.records import TicketMaster, WrappedDataKey
from sds.store.tables import ticket_masters
from sds.store.times import to_micros
from sds.store.tx import Tx


class TicketMasters:
    """Every change tells the feed and needs an audit event."""

    __slots__ = ("_changes", "_tx")

    def __init__(self, tx: Tx, changes: Changes) -> None:
        self._tx = tx
        self._changes = changes

    def add(self, epoch: int, key: WrappedDataKey) -> TicketMaster:
        """The master of an epoch; returns the one that stands, which another replica may have added first."""
        self._changes.lock()
        columns = {"kek_id": key.kek_id, "nonce": key.nonce, "ciphertext": key.ciphertext}
        row = {"epoch": epoch, "created_at": to_micros(self._tx.now), **columns}
        statement = self._tx.insert(ticket_masters).values(row).on_conflict_do_nothing()
        if self._tx.note(statement.returning(ticket_masters.c.epoch)).first() is not None:
            self._tx.unaudited.add(ticket_masters.name)
            self._changes.append(ChangeKind.TICKETS, str(epoch))
        (standing,) = self._tx.rows(select(ticket_masters).where(ticket_masters.c.epoch == epoch))
        return rows.ticket_master(standing)

    def all(self) -> tuple[TicketMaster, ...]:
        """Every one, the oldest epoch first."""
        return tuple(map(rows.ticket_master, self._tx.rows(select(ticket_masters).order_by(ticket_masters.c.epoch))))

    def destroy_before(self, epoch: int) -> int:
        """Remove the masters of all earlier epochs for good; returns how many went."""
        self._changes.lock()
        gone = self._tx.note(delete(ticket_masters).where(ticket_masters.c.epoch < epoch)).rowcount
        if gone:
            self._tx.unaudited.add(ticket_masters.name)
            self._changes.append(ChangeKind.TICKETS, str(epoch))
        return gone

    def rewrap(self, wrap: Callable[[int, WrappedDataKey], WrappedDataKey]) -> int:
        """Put every master, with its epoch, through `wrap`; returns how many changed. All or nothing."""
        self._tx.check_writable()
        self._changes.lock()  # a key that is being made under the former key-encryption key is there when we look
        done = 0
        for row in self._tx.rows(select(ticket_masters).order_by(ticket_masters.c.epoch).with_for_update()):
            old = rows.ticket_master(row).key
            new = wrap(row.epoch, old)
            if new != old:
                chosen = update(ticket_masters).where(ticket_masters.c.epoch == row.epoch)
                columns = {"kek_id": new.kek_id, "nonce": new.nonce, "ciphertext": new.ciphertext}
                self._tx.change(ticket_masters, chosen.values(columns))
                done += 1
        return done

    def count(self) -> int:
        return int(self._tx.scalar(select(func.count()).select_from(ticket_masters)))

    def kek_ids(self) -> frozenset[str]:
        """The key-encryption keys that are needed to open what is stored."""
        return frozenset(row.kek_id for row in self._tx.rows(select(ticket_masters.c.kek_id).distinct()))
