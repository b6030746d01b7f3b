"""The audit log's Merkle tree (RFC 9162), the checkpoints signed over it, and who was told of the log how far."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, PrimaryKeyConstraint, Table, UniqueConstraint

from sds.store.tables.columns import Line, Name, metadata

# The place of an event in the tree. Events commit in any order; a leaf's number is given once and for all.
audit_leaves = Table(
    "audit_leaves",
    metadata,
    Column("leaf", BigInteger, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False),  # of audit_events; no foreign key: verification has to find what is gone
    UniqueConstraint("seq"),
)

# Hashes of the tree in tiles of 256: those of level 0 are of leaves, those of level N of 256 hashes of level N - 1.
audit_tiles = Table(
    "audit_tiles",
    metadata,
    Column("level", Integer, nullable=False, autoincrement=False),
    Column("tile", BigInteger, nullable=False, autoincrement=False),
    Column("hashes", LargeBinary, nullable=False),  # up to 256 of 32 bytes
    PrimaryKeyConstraint("level", "tile"),
)

audit_checkpoints = Table(
    "audit_checkpoints",
    metadata,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("root", LargeBinary, nullable=False),
    Column("note", Line, nullable=False),  # the signed note, as it is
    Column("signed_at", BigInteger, nullable=False),
)

# What retention took away: everything before leaf `size`, whose root and subtrees a signed statement vouches for.
audit_prunings = Table(
    "audit_prunings",
    metadata,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("statement", Line, nullable=False),
    Column("pruned_at", BigInteger, nullable=False),
)

# The keys that sign, as verifiers know them; the private halves are wrapped keys. The highest number signs now.
audit_keys = Table(
    "audit_keys",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("verifier", Line, nullable=False),  # the public half, in the text form of signed notes
    Column("key_ref", Name, nullable=False),
    Column("endorsement", Line, nullable=False),  # a note of the key before it that names this one; empty for the first
    Column("created_at", BigInteger, nullable=False),
)

audit_cursors = Table(
    "audit_cursors",
    metadata,
    Column("sink", Name, primary_key=True),
    Column("leaf", BigInteger, nullable=False),  # the next one to be handed over
    Column("checkpoint", BigInteger, nullable=False),  # the size of the last one handed over
    Column("holder", Name, nullable=False),  # the server process that serves it now
    Column("held_until", BigInteger, nullable=False),
    Column("delivered_at", BigInteger),
    Column("problem", Line, nullable=False),
    Column("problem_since", BigInteger),
    Index(None, "held_until"),
)

# How far what each run of an agent has seen is taken in. Numbers count within a run.
agent_events = Table(
    "agent_events",
    metadata,
    Column("agent_id", Name, nullable=False),
    Column("run_id", Name, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("agent_id", "run_id"),
)
