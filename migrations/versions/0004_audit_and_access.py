"""The audit log's tree and sinks; who may use the admin API; notices."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

Name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
Line = sa.Text

# JSON may hold a NUL and a text of PostgreSQL may not; columns have another character in its place.
_BACKFILL_POSTGRESQL = r"""
    UPDATE audit_events SET request_id = left(
        replace(convert_from(canonical, 'UTF8'), '\u0000', '\ufffd')::json ->> 'request_id', 512)
"""
_BACKFILL_SQLITE = """
    UPDATE audit_events SET request_id = substr(json_extract(CAST(canonical AS TEXT), '$.request_id'), 1, 512)
"""


def upgrade() -> None:
    _searched()
    _ledger()
    _audit_readers()
    _rights()
    _sessions()
    _requests()
    _notices()
    _last_seen()
    _inventory()


def _searched() -> None:
    """Events are found by their request, time and action; those that stand already, too."""
    op.add_column("audit_events", sa.Column("request_id", Name, nullable=False, server_default=sa.text("''")))
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_BACKFILL_POSTGRESQL)
    else:
        op.execute(_BACKFILL_SQLITE)
    op.create_index("ix_audit_events_action_seq", "audit_events", ["action", "seq"])
    op.create_index("ix_audit_events_time_seq", "audit_events", ["time", "seq"])
    op.create_index(
        "ix_audit_events_request_id",
        "audit_events",
        ["request_id"],
        sqlite_where=sa.text("request_id != ''"),
        postgresql_where=sa.text("request_id != ''"),
    )


def _ledger() -> None:
    op.create_table(
        "audit_leaves",
        sa.Column("leaf", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("seq", name="uq_audit_leaves_seq"),
        sa.PrimaryKeyConstraint("leaf", name="pk_audit_leaves"),
    )
    op.create_table(
        "audit_tiles",
        sa.Column("level", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("tile", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("hashes", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("level", "tile", name="pk_audit_tiles"),
    )
    op.create_table(
        "audit_checkpoints",
        sa.Column("size", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("root", sa.LargeBinary, nullable=False),
        sa.Column("note", Line, nullable=False),
        sa.Column("signed_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("size", name="pk_audit_checkpoints"),
    )
    op.create_table(
        "audit_prunings",
        sa.Column("size", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("statement", Line, nullable=False),
        sa.Column("pruned_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("size", name="pk_audit_prunings"),
    )
    op.create_table(
        "audit_keys",
        sa.Column("number", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("verifier", Line, nullable=False),
        sa.Column("key_ref", Name, nullable=False),
        sa.Column("endorsement", Line, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_audit_keys"),
    )


def _audit_readers() -> None:
    """How far each sink has come, and which events of agents have been heard."""
    op.create_table(
        "audit_cursors",
        sa.Column("sink", Name, nullable=False),
        sa.Column("leaf", sa.BigInteger, nullable=False),
        sa.Column("checkpoint", sa.BigInteger, nullable=False),
        sa.Column("holder", Name, nullable=False),
        sa.Column("held_until", sa.BigInteger, nullable=False),
        sa.Column("delivered_at", sa.BigInteger),
        sa.Column("problem", Line, nullable=False),
        sa.Column("problem_since", sa.BigInteger),
        sa.PrimaryKeyConstraint("sink", name="pk_audit_cursors"),
    )
    op.create_index("ix_audit_cursors_held_until", "audit_cursors", ["held_until"])
    op.create_table(
        "agent_events",
        sa.Column("agent_id", Name, nullable=False),
        sa.Column("run_id", Name, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("agent_id", "run_id", name="pk_agent_events"),
    )


def _rights() -> None:
    op.create_table(
        "role_bindings",
        sa.Column("id", Name, nullable=False),
        sa.Column("subject", Name, nullable=False),
        sa.Column("role", Name, nullable=False),
        sa.Column("below", Name, nullable=False),
        sa.Column("labels", Line, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("created_by", Line, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_role_bindings"),
    )
    op.create_index("ix_role_bindings_subject", "role_bindings", ["subject"])
    op.create_table(
        "api_tokens",
        sa.Column("id", Name, nullable=False),
        sa.Column("hash", Name, nullable=False),
        sa.Column("name", Name, nullable=False),
        sa.Column("role", Name, nullable=False),
        sa.Column("below", Name, nullable=False),
        sa.Column("labels", Line, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("created_by", Line, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("last_used_at", sa.BigInteger),
        sa.Column("revoked_at", sa.BigInteger),
        sa.Column("bootstrap", sa.Integer, nullable=False),
        sa.UniqueConstraint("hash", name="uq_api_tokens_hash"),
        sa.PrimaryKeyConstraint("id", name="pk_api_tokens"),
    )
    op.create_index("ix_api_tokens_created_at_id", "api_tokens", ["created_at", "id"])


def _sessions() -> None:
    op.create_table(
        "admin_sessions",
        sa.Column("hash", Name, nullable=False),
        sa.Column("caller_id", Name, nullable=False),
        sa.Column("caller", Line, nullable=False),
        sa.Column("csrf", Name, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("used_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("hash", name="pk_admin_sessions"),
    )
    op.create_index("ix_admin_sessions_caller_id", "admin_sessions", ["caller_id"])
    op.create_index("ix_admin_sessions_expires_at", "admin_sessions", ["expires_at"])


def _requests() -> None:
    """Requests that wait for a second person, and those that have been answered."""
    op.create_table(
        "approvals",
        sa.Column("id", Name, nullable=False),
        sa.Column("action", Name, nullable=False),
        sa.Column("target", Name, nullable=False),
        sa.Column("request", sa.LargeBinary, nullable=False),
        sa.Column("digest", Name, nullable=False),
        sa.Column("requested_by", Name, nullable=False),
        sa.Column("requested_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("state", Name, nullable=False),
        sa.Column("decided_by", Name, nullable=False),
        sa.Column("decided_at", sa.BigInteger),
        sa.Column("reason", Line, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_approvals"),
    )
    op.create_index("ix_approvals_state_requested_at", "approvals", ["state", "requested_at"])
    op.create_table(
        "idempotency_keys",
        sa.Column("caller", Name, nullable=False),
        sa.Column("key", Name, nullable=False),
        sa.Column("digest", Name, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("headers", Line, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("caller", "key", name="pk_idempotency_keys"),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])


def _notices() -> None:
    op.create_table(
        "notices",
        sa.Column("id", Name, nullable=False),
        sa.Column("kind", Name, nullable=False),
        sa.Column("subject", Name, nullable=False),
        sa.Column("recipient", Name, nullable=False),
        sa.Column("owner", Name, nullable=False),
        sa.Column("text", Line, nullable=False),
        sa.Column("due_at", sa.BigInteger),
        sa.Column("first_seen_at", sa.BigInteger, nullable=False),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
        sa.Column("sent_at", sa.BigInteger),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("stage", sa.Integer, nullable=False),
        sa.Column("told", sa.Integer, nullable=False),
        sa.Column("urgent", sa.Integer, nullable=False),
        sa.Column("closed", sa.Integer, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("retry_at", sa.BigInteger),
        sa.Column("problem", Line, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_notices"),
    )
    op.create_index("ix_notices_first_seen_at_id", "notices", ["first_seen_at", "id"])
    op.create_index("ix_notices_closed_ended_at", "notices", ["closed", "ended_at"])
    op.create_index(
        "uq_notices_standing",
        "notices",
        ["kind", "subject", "recipient"],
        unique=True,
        sqlite_where=sa.text("closed = 0"),
        postgresql_where=sa.text("closed = 0"),
    )


def _last_seen() -> None:
    """When a thing was used last, and whose an entry was that is gone."""
    op.create_table(
        "last_uses",
        sa.Column("kind", Name, nullable=False),
        sa.Column("id", Name, nullable=False),
        sa.Column("used_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("kind", "id", name="pk_last_uses"),
    )
    op.create_table(
        "past_entries",
        sa.Column("id", Name, nullable=False),
        sa.Column("spiffe_id", Name, nullable=False),
        sa.Column("owner", Name, nullable=False),
        sa.Column("labels", Line, nullable=False),
        sa.Column("deleted_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_past_entries"),
    )
    op.create_index("ix_past_entries_owner", "past_entries", ["owner"])


def _inventory() -> None:
    op.create_index("ix_certificates_requested_at_number", "certificates", ["requested_at", "number"])
    op.create_index("ix_entries_owner", "entries", ["owner"])
    op.add_column("streams", sa.Column("rejected", sa.Integer, nullable=False, server_default=sa.text("0")))
    op.add_column(
        "streams", sa.Column("waiting_since", sa.BigInteger, nullable=False, server_default=sa.text(str(2**62)))
    )
