"""What people were told of, so that nobody is told twice; and when identities, entries and grants were last used."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, PrimaryKeyConstraint, Table, text

from sds.store.tables.columns import Line, Name, metadata

notices = Table(
    "notices",
    metadata,
    Column("id", Name, primary_key=True),
    Column("kind", Name, nullable=False),
    Column("subject", Name, nullable=False),  # what it is about
    Column("recipient", Name, nullable=False),  # an address, webhook, or empty: shown to whoever looks
    Column("owner", Name, nullable=False),
    Column("text", Line, nullable=False),
    Column("due_at", BigInteger),  # of what is told: an expiry, the beginning of a silence
    Column("first_seen_at", BigInteger, nullable=False),
    Column("changed_at", BigInteger, nullable=False),  # since when it has something to tell
    Column("sent_at", BigInteger),
    Column("ended_at", BigInteger),  # what it tells of is over
    Column("stage", Integer, nullable=False),
    Column("told", Integer, nullable=False),  # the stage that was last told of; -1: none
    Column("urgent", Integer, nullable=False),
    Column("closed", Integer, nullable=False),  # over, and that was told, too
    Column("attempts", Integer, nullable=False),
    Column("retry_at", BigInteger),
    Column("problem", Line, nullable=False),
    Index(None, "first_seen_at", "id"),
    Index(None, "closed", "ended_at"),
    # Nobody is told of one thing by two rows, whatever two replicas do at the same time.
    Index(
        "uq_notices_standing",
        "kind",
        "subject",
        "recipient",
        unique=True,
        sqlite_where=text("closed = 0"),
        postgresql_where=text("closed = 0"),
    ),
)

last_uses = Table(
    "last_uses",
    metadata,
    Column("kind", Name, nullable=False),  # entry, grant
    Column("id", Name, nullable=False),
    Column("used_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("kind", "id"),
)

past_entries = Table(
    "past_entries",
    metadata,
    Column("id", Name, primary_key=True),
    Column("spiffe_id", Name, nullable=False),
    Column("owner", Name, nullable=False),
    Column("labels", Line, nullable=False),
    Column("deleted_at", BigInteger, nullable=False),
    Index(None, "owner"),
)
