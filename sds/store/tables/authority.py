"""Authorities, and their private keys where the database holds them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, Table, text

from sds.store.tables.columns import NO_ITEMS, ZERO, Line, Name, metadata

authorities = Table(
    "authorities",
    metadata,
    Column("id", Name, primary_key=True),
    Column("trust_domain", Name, nullable=False),
    Column("kind", Name, nullable=False),
    Column("state", Name, nullable=False),
    Column("tainted", Integer, nullable=False),
    Column("revoked", Integer, nullable=False),
    Column("certificate", LargeBinary, nullable=False),
    Column("chain", Line, nullable=False),
    Column("public_key", LargeBinary, nullable=False),
    Column("key_ref", Name, nullable=False),
    Column("key_type", Name, nullable=False),
    Column("not_before", BigInteger, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("activated_at", BigInteger),
    Column("roots", Line, nullable=False, server_default=NO_ITEMS),
    Column("upstream", Name, nullable=False, server_default=text("'self_signed'")),
    Column("retired_at", BigInteger),
    Column("published_sequence", BigInteger, nullable=False, server_default=ZERO),
    # At most one signs, whatever two replicas decide at the same time.
    Index(
        "uq_authorities_active",
        "trust_domain",
        "kind",
        unique=True,
        sqlite_where=text("state = 'active'"),
        postgresql_where=text("state = 'active'"),
    ),
)

wrapped_keys = Table(
    "wrapped_keys",
    metadata,
    Column("key_id", Name, primary_key=True),
    Column("trust_domain", Name, nullable=False),
    Column("purpose", Name, nullable=False),
    Column("key_type", Name, nullable=False),
    Column("kek_id", Name, nullable=False),
    Column("nonce", LargeBinary, nullable=False),
    Column("ciphertext", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)
