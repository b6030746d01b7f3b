"""Other trust domains."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, LargeBinary, Table

from sds.store.tables.columns import Line, Name, metadata

federations = Table(
    "federations",
    metadata,
    Column("trust_domain", Name, primary_key=True),
    Column("endpoint_url", Line, nullable=False),
    Column("profile", Name, nullable=False),
    Column("endpoint_id", Name, nullable=False),
    Column("bundle", LargeBinary, nullable=False),  # the last good document, empty before the first
    Column("sequence", BigInteger, nullable=False),
    Column("refresh_hint", BigInteger, nullable=False),  # microseconds
    Column("fetched_at", BigInteger),
    Column("tried_at", BigInteger),
    Column("problem", Line, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
)
