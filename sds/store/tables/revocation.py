"""What was taken back."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, LargeBinary, Table

from sds.store.tables.columns import Line, Name, metadata

# What may not be issued any more (an identity, entry, agent or key), and what was taken back. A block can be lifted; a
# revoked serial stays revoked until it expires (RFC 5280 5.3.1: only a hold can be undone).
blocks = Table(
    "blocks",
    metadata,
    Column("id", Name, primary_key=True),
    Column("kind", Name, nullable=False),
    Column("value", Name, nullable=False),
    Column("reason", Line, nullable=False),
    Column("incident", Line, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Line, nullable=False),
    Column("lifted_at", BigInteger),
    Column("lifted_by", Line, nullable=False),
    Index(None, "kind", "value"),
)

revocations = Table(
    "revocations",
    metadata,
    Column("serial", Name, primary_key=True),
    Column("authority_id", Name, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("reason", Name, nullable=False),
    Column("revoked_at", BigInteger, nullable=False),
    Column("block_id", Name, nullable=False),
    Index(None, "authority_id", "not_after"),
    Index(None, "block_id"),
)

crls = Table(
    "crls",
    metadata,
    Column("authority_id", Name, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("der", LargeBinary, nullable=False),
    Column("digest", Name, nullable=False),  # of what it says, so that an equal one is not signed again
    Column("this_update", BigInteger, nullable=False),
    Column("next_update", BigInteger, nullable=False),
)
