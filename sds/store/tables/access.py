"""Who may use the admin API: roles, tokens, sessions, what waits for a second pair of eyes, answers given already."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, PrimaryKeyConstraint, Table, UniqueConstraint

from sds.store.tables.columns import Line, Name, metadata

role_bindings = Table(
    "role_bindings",
    metadata,
    Column("id", Name, primary_key=True),
    Column("subject", Name, nullable=False),  # uid:0, a SPIFFE ID, oidc:ISSUER#SUBJECT, group:NAME
    Column("role", Name, nullable=False),
    Column("below", Name, nullable=False),  # a SPIFFE ID that limits it, or empty
    Column("labels", Line, nullable=False),  # JSON; labels that limit it
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Line, nullable=False),
    Column("expires_at", BigInteger),
    Index(None, "subject"),
)

api_tokens = Table(
    "api_tokens",
    metadata,
    Column("id", Name, primary_key=True),
    Column("hash", Name, nullable=False),  # the token itself is never stored
    Column("name", Name, nullable=False),
    Column("role", Name, nullable=False),
    Column("below", Name, nullable=False),
    Column("labels", Line, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Line, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("last_used_at", BigInteger),
    Column("revoked_at", BigInteger),
    Column("bootstrap", Integer, nullable=False),
    UniqueConstraint("hash"),
    Index(None, "created_at", "id"),
)

admin_sessions = Table(
    "admin_sessions",
    metadata,
    Column("hash", Name, primary_key=True),  # of the cookie's value
    Column("caller_id", Name, nullable=False),
    Column("caller", Line, nullable=False),  # JSON: kind, id, name, subjects
    Column("csrf", Name, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("used_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Index(None, "caller_id"),
    Index(None, "expires_at"),
)

approvals = Table(
    "approvals",
    metadata,
    Column("id", Name, primary_key=True),
    Column("action", Name, nullable=False),  # the operation's ID
    Column("target", Name, nullable=False),
    Column("request", LargeBinary, nullable=False),  # method, path and body, canonical, of what is to be done
    Column("digest", Name, nullable=False),
    Column("requested_by", Name, nullable=False),
    Column("requested_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("state", Name, nullable=False),
    Column("decided_by", Name, nullable=False),
    Column("decided_at", BigInteger),
    Column("reason", Line, nullable=False),
    Index(None, "state", "requested_at"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("caller", Name, nullable=False),
    Column("key", Name, nullable=False),
    Column("digest", Name, nullable=False),  # of the request that it was first sent with
    Column("status", Integer, nullable=False),  # 0 while it is being done
    Column("headers", Line, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("caller", "key"),
    Index(None, "created_at"),
)
