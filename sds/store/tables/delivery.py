"""What agents report of the streams that they serve."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, Table, text

from sds.store.tables.columns import ZERO, Line, Name, metadata

NEVER = 2**62
"""A moment after all others."""

streams = Table(
    "streams",
    metadata,
    Column("agent_id", Name, primary_key=True),
    Column("stream_id", Name, primary_key=True),
    Column("protocol", Name, nullable=False),
    Column("pid", BigInteger, nullable=False),
    Column("uid", BigInteger, nullable=False),
    Column("path", Line, nullable=False),
    Column("spiffe_ids", Line, nullable=False),
    Column("node_id", Line, nullable=False),
    Column("opened_at", BigInteger, nullable=False),
    Column("resources", Line, nullable=False),
    Column("reported_at", BigInteger, nullable=False),
    Column("rejected", Integer, nullable=False, server_default=ZERO),  # what was sent last, by a NACK
    Column("waiting_since", BigInteger, nullable=False, server_default=text(str(NEVER))),  # for an answer
)

reports = Table(
    "reports",
    metadata,
    Column("agent_id", Name, primary_key=True),
    Column("run_id", Name, nullable=False),
    Column("sequence", BigInteger, nullable=False),
)
