"""Registration entries, with what they are found by."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Table, UniqueConstraint

from sds.store.tables.columns import NO_ITEMS, NOTHING, Line, Name, metadata

entries = Table(
    "entries",
    metadata,
    Column("id", Name, primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("spiffe_id", Name, nullable=False),
    Column("parent_id", Name, nullable=False),
    Column("selectors", Line, nullable=False),
    Column("identity_hash", Name, nullable=False),  # of (spiffe_id, parent_id, selectors)
    Column("x509_svid_ttl", BigInteger),  # microseconds
    Column("dns_names", Line, nullable=False),
    Column("hint", Line, nullable=False),
    Column("owner", Name, nullable=False),
    Column("labels", Line, nullable=False),
    Column("expires_at", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("jwt_svid_ttl", BigInteger),  # microseconds
    Column("federates_with", Line, nullable=False, server_default=NO_ITEMS),
    Column("profile", Name, nullable=False, server_default=NOTHING),
    Column("extra_sans", Line, nullable=False, server_default=NO_ITEMS),
    Column("subject", Line, nullable=False, server_default=NOTHING),
    UniqueConstraint("identity_hash"),
    Index(None, "parent_id"),
    Index(None, "spiffe_id"),
    Index(None, "created_at", "id"),
    Index(None, "owner"),
)

entry_selectors = Table(
    "entry_selectors",
    metadata,
    Column("entry_id", Name, ForeignKey("entries.id", ondelete="CASCADE"), primary_key=True),
    Column("selector", Name, primary_key=True),
    Index(None, "selector"),
)

entry_labels = Table(
    "entry_labels",
    metadata,
    Column("entry_id", Name, ForeignKey("entries.id", ondelete="CASCADE"), primary_key=True),
    Column("name", Name, primary_key=True),
    Column("value", Name, nullable=False),
    Index(None, "name", "value"),
)
