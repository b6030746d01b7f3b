"""Puts events into the audit log's tree as the sequencer does: each gets the next leaf, and a note stands over all."""

from __future__ import annotations

import base64
from hashlib import sha256

from sqlalchemy import func, select

from sds.store.store import Store
from sds.store.tables import audit_checkpoints, audit_events, audit_leaves, audit_prunings
from sds.store.unit_of_work import UnitOfWork

KEY_ID = b"abcd"


def note(size: int, root: bytes | None = None, origin: str = "example.org/audit") -> str:
    """A signed note in its right form; nobody can verify its signature."""
    root = sha256(str(size).encode()).digest() if root is None else root
    signature = base64.b64encode(KEY_ID + bytes(64)).decode()
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n\n— {origin} {signature}\n"


async def sequence(store: Store, *, signed: bool = True) -> int:
    """Give every event without a leaf the next one, and sign; returns how many leaves there are."""

    def work(unit: UnitOfWork) -> int:
        tx = unit._tx
        known = select(audit_leaves.c.seq)
        rows = tx.rows(select(audit_events.c.seq).where(audit_events.c.seq.not_in(known)).order_by(audit_events.c.seq))
        newest = tx.scalar(select(func.max(audit_leaves.c.leaf)))
        size = 0 if newest is None else newest + 1
        for row in rows:
            tx.note(audit_leaves.insert().values(leaf=size, seq=row.seq))
            size += 1
        if signed and rows:
            values = {"size": size, "root": bytes(32), "note": note(size), "signed_at": 1}
            tx.note(audit_checkpoints.insert().values(**values))
        return size

    return await store.write(work)


async def prune(store: Store, size: int) -> None:
    """Take all events before leaf `size`."""

    def work(unit: UnitOfWork) -> None:
        old = select(audit_leaves.c.seq).where(audit_leaves.c.leaf < size).scalar_subquery()
        unit._tx.note(audit_events.delete().where(audit_events.c.seq.in_(old)))
        unit._tx.note(audit_leaves.delete().where(audit_leaves.c.leaf < size))
        unit._tx.note(audit_prunings.insert().values(size=size, statement="s", pruned_at=1))

    await store.write(work)
