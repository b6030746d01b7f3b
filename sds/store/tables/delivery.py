"""What agents report of the streams that they serve."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Table

from sds.store.tables.columns import Line, Name, metadata

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
)

reports = Table(
    "reports",
    metadata,
    Column("agent_id", Name, primary_key=True),
    Column("run_id", Name, nullable=False),
    Column("sequence", BigInteger, nullable=False),
)
