"""Named secrets, who may have them, and what was leased for whom."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, PrimaryKeyConstraint, Table, UniqueConstraint

from sds.store.tables.columns import Line, Name, metadata

secrets = Table(
    "secrets",
    metadata,
    Column("id", Name, primary_key=True),
    Column("name", Name, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("kind", Name, nullable=False),
    Column("source", Line, nullable=False),  # JSON: the backend's name and its reference
    Column("owner", Name, nullable=False),
    Column("labels", Line, nullable=False),
    Column("refresh", BigInteger),  # microseconds
    Column("rotate_every", BigInteger),  # microseconds
    Column("generate", Integer, nullable=False),  # bytes
    Column("pinned", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    # The data key, wrapped by the key-encryption key; empty where nothing of this secret is stored here.
    Column("kek_id", Name, nullable=False),
    Column("key_nonce", LargeBinary, nullable=False),
    Column("key_ciphertext", LargeBinary, nullable=False),
    # How it stands at its source.
    Column("version", Line, nullable=False),
    Column("changed_at", BigInteger),
    Column("checked_at", BigInteger),
    Column("not_after", BigInteger),
    Column("problem", Line, nullable=False),
    Column("problem_code", Name, nullable=False),
    Column("problem_since", BigInteger),
    UniqueConstraint("name"),
)

secret_versions = Table(
    "secret_versions",
    metadata,
    Column("secret_id", Name, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("nonce", LargeBinary, nullable=False),
    Column("ciphertext", LargeBinary, nullable=False),  # under the secret's data key; empty once destroyed
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Line, nullable=False),
    Column("not_after", BigInteger),
    Column("destroyed_at", BigInteger),
    PrimaryKeyConstraint("secret_id", "version"),
)

grants = Table(
    "grants",
    metadata,
    Column("id", Name, primary_key=True),
    Column("secret_id", Name, nullable=False),
    Column("kind", Name, nullable=False),  # exactly, below, labelled
    Column("value", Name, nullable=False),  # a SPIFFE ID, or labels as canonical JSON
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Line, nullable=False),
    UniqueConstraint("secret_id", "kind", "value"),
)

leases = Table(
    "leases",
    metadata,
    Column("id", Name, primary_key=True),
    Column("secret_id", Name, nullable=False),
    Column("spiffe_id", Name, nullable=False),
    Column("state", Name, nullable=False),  # pending, live, ending
    Column("accessor", Name, nullable=False),  # of the child token that the lease hangs on, stored first
    Column("lease_id", Line, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("ttl", BigInteger, nullable=False),  # microseconds; what one renewal gives, 0 while pending
    Column("created_at", BigInteger, nullable=False),
    Column("renewed_at", BigInteger),
    Column("expires_at", BigInteger),
    Column("max_expires_at", BigInteger),
    Column("nonce", LargeBinary, nullable=False),
    Column("ciphertext", LargeBinary, nullable=False),  # credentials under the secret's data key
    Column("holder", Line, nullable=False),  # the replica that looks after it
    UniqueConstraint("secret_id", "spiffe_id", "generation"),
)

# On which replicas a receiver's lease has users. A replica that is not seen any more has none.
lease_users = Table(
    "lease_users",
    metadata,
    Column("secret_id", Name, nullable=False),
    Column("spiffe_id", Name, nullable=False),
    Column("replica", Name, nullable=False),
    PrimaryKeyConstraint("secret_id", "spiffe_id", "replica"),
)

lease_replicas = Table(
    "lease_replicas",
    metadata,
    Column("id", Name, primary_key=True),
    Column("seen_at", BigInteger, nullable=False),
)

ticket_masters = Table(
    "ticket_masters",
    metadata,
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    Column("kek_id", Name, nullable=False),
    Column("nonce", LargeBinary, nullable=False),
    Column("ciphertext", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)
