"""What the database knows of itself: its settings, the audit log, and the feed of changes."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, LargeBinary, Table, text

from sds.store.tables.columns import NOTHING, Line, Name, metadata, number

settings = Table(
    "settings",
    metadata,
    Column("key", Name, primary_key=True),
    Column("value", Line, nullable=False),
)

audit_events = Table(
    "audit_events",
    metadata,
    number("seq"),
    Column("canonical", LargeBinary, nullable=False),  # the event; all other columns are an index over it
    Column("time", BigInteger, nullable=False),
    Column("action", Name, nullable=False),
    Column("outcome", Name, nullable=False),
    Column("actor", Name, nullable=False),
    Column("target", Name, nullable=False),
    Column("request_id", Name, nullable=False, server_default=NOTHING),
    Index(None, "action", "seq"),
    Index(None, "actor", "seq"),
    Index(None, "target", "seq"),
    Index(None, "time", "seq"),
    Index(
        "ix_audit_events_request_id",
        "request_id",
        sqlite_where=text("request_id != ''"),
        postgresql_where=text("request_id != ''"),
    ),
    sqlite_autoincrement=True,
)

changes = Table(
    "changes",
    metadata,
    number("seq"),
    Column("kind", Name, nullable=False),
    Column("key", Name, nullable=False),
    Column("parent", Name, nullable=False),
    Column("at", BigInteger, nullable=False),
    Index(None, "at"),
    sqlite_autoincrement=True,
)
