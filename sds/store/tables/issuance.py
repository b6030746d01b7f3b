"""What was issued."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, LargeBinary, Table, UniqueConstraint

from sds.store.tables.columns import Counter, Line, Name, metadata, number

# An intent stands before the key signs; what was signed is a second, later fact. Two tables that only ever grow are
# cheaper to write than one that is updated, and scans of the inventory do not drag the certificates along.
certificates = Table(
    "certificates",
    metadata,
    number("number"),
    Column("serial", Name, nullable=False),
    Column("spiffe_id", Name, nullable=False),
    Column("key_hash", Name, nullable=False),
    Column("entry_id", Name, nullable=False),  # no foreign key: the record outlives the entry
    Column("entry_revision", BigInteger, nullable=False),
    Column("agent_id", Name, nullable=False),
    Column("pid", BigInteger, nullable=False),
    Column("uid", BigInteger, nullable=False),
    Column("path", Line, nullable=False),
    Column("profile", Name, nullable=False),
    Column("authority_id", Name, nullable=False),
    Column("dns_names", Line, nullable=False),
    Column("not_before", BigInteger, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("requested_at", BigInteger, nullable=False),
    UniqueConstraint("serial"),
    Index(None, "spiffe_id", "not_after"),
    Index(None, "entry_id", "not_after"),
    Index(None, "agent_id", "not_after"),
    Index(None, "not_after"),
    Index(None, "key_hash"),
    Index(None, "authority_id", "not_after"),
    Index(None, "requested_at", "number"),
)

issued_certificates = Table(
    "issued_certificates",
    metadata,
    Column(
        "number",
        Counter,
        ForeignKey("certificates.number", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("der", LargeBinary, nullable=False),
    Column("issued_at", BigInteger, nullable=False),
)
