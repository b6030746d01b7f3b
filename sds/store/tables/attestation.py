"""Agents, and the tokens that they join with."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, Table

from sds.store.tables.columns import ZERO, Line, Name, metadata

agents = Table(
    "agents",
    metadata,
    Column("spiffe_id", Name, primary_key=True),
    Column("attestation_type", Name, nullable=False),
    Column("selectors", Line, nullable=False),
    Column("serial", Name, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("key_hash", Name, nullable=False),
    Column("attested_at", BigInteger, nullable=False),
    Column("renewed_at", BigInteger),
    Column("last_seen", BigInteger),
    Column("banned_at", BigInteger),
    Column("banned_reason", Line, nullable=False),
    Column("address", Line, nullable=False),
    Column("version", Line, nullable=False),
    Column("bundle_sequence", BigInteger, nullable=False, server_default=ZERO),  # of the bundle that it verifies by
    Column("downstream", Integer, nullable=False, server_default=ZERO),  # another server, which may get an intermediate
)

join_tokens = Table(
    "join_tokens",
    metadata,
    Column("hash", Name, primary_key=True),  # the token itself is never stored
    Column("spiffe_id", Name, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("used_at", BigInteger),
    Column("used_from", Line, nullable=False),
    Column("downstream", Integer, nullable=False, server_default=ZERO),
    Index(None, "expires_at"),
)
