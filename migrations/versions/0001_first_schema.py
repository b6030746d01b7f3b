"""The first schema: entries, agents, join tokens, authorities, certificates, the fleet view, audit log, change feed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

Name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
Line = sa.Text
Counter = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
ACTIVE = sa.text("state = 'active'")


def upgrade() -> None:
    _bookkeeping()
    _entries()
    _agents()
    _fleet()
    _authorities()
    _certificates()
    _audit()


def _bookkeeping() -> None:
    op.create_table(
        "settings",
        sa.Column("key", Name, nullable=False),
        sa.Column("value", Line, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_settings"),
    )
    op.create_table(
        "changes",
        sa.Column("seq", Counter, sa.Identity(always=False), autoincrement=True, nullable=False),
        sa.Column("kind", Name, nullable=False),
        sa.Column("key", Name, nullable=False),
        sa.Column("parent", Name, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_changes"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_changes_at", "changes", ["at"])


def _entries() -> None:
    op.create_table(
        "entries",
        sa.Column("id", Name, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("spiffe_id", Name, nullable=False),
        sa.Column("parent_id", Name, nullable=False),
        sa.Column("selectors", Line, nullable=False),
        sa.Column("identity_hash", Name, nullable=False),
        sa.Column("x509_svid_ttl", sa.BigInteger),
        sa.Column("dns_names", Line, nullable=False),
        sa.Column("hint", Line, nullable=False),
        sa.Column("owner", Name, nullable=False),
        sa.Column("labels", Line, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_entries"),
        sa.UniqueConstraint("identity_hash", name="uq_entries_identity_hash"),
    )
    op.create_index("ix_entries_created_at_id", "entries", ["created_at", "id"])
    op.create_index("ix_entries_parent_id", "entries", ["parent_id"])
    op.create_index("ix_entries_spiffe_id", "entries", ["spiffe_id"])
    op.create_table(
        "entry_selectors",
        sa.Column("entry_id", Name, nullable=False),
        sa.Column("selector", Name, nullable=False),
        sa.ForeignKeyConstraint(["entry_id"], ["entries.id"], name="fk_entry_selectors_entry_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("entry_id", "selector", name="pk_entry_selectors"),
    )
    op.create_index("ix_entry_selectors_selector", "entry_selectors", ["selector"])
    op.create_table(
        "entry_labels",
        sa.Column("entry_id", Name, nullable=False),
        sa.Column("name", Name, nullable=False),
        sa.Column("value", Name, nullable=False),
        sa.ForeignKeyConstraint(["entry_id"], ["entries.id"], name="fk_entry_labels_entry_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("entry_id", "name", name="pk_entry_labels"),
    )
    op.create_index("ix_entry_labels_name_value", "entry_labels", ["name", "value"])


def _agents() -> None:
    op.create_table(
        "agents",
        sa.Column("spiffe_id", Name, nullable=False),
        sa.Column("attestation_type", Name, nullable=False),
        sa.Column("selectors", Line, nullable=False),
        sa.Column("serial", Name, nullable=False),
        sa.Column("not_after", sa.BigInteger, nullable=False),
        sa.Column("key_hash", Name, nullable=False),
        sa.Column("attested_at", sa.BigInteger, nullable=False),
        sa.Column("renewed_at", sa.BigInteger),
        sa.Column("last_seen", sa.BigInteger),
        sa.Column("banned_at", sa.BigInteger),
        sa.Column("banned_reason", Line, nullable=False),
        sa.Column("address", Line, nullable=False),
        sa.Column("version", Line, nullable=False),
        sa.PrimaryKeyConstraint("spiffe_id", name="pk_agents"),
    )
    op.create_table(
        "join_tokens",
        sa.Column("hash", Name, nullable=False),
        sa.Column("spiffe_id", Name, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("used_at", sa.BigInteger),
        sa.Column("used_from", Line, nullable=False),
        sa.PrimaryKeyConstraint("hash", name="pk_join_tokens"),
    )
    op.create_index("ix_join_tokens_expires_at", "join_tokens", ["expires_at"])


def _fleet() -> None:
    op.create_table(
        "streams",
        sa.Column("agent_id", Name, nullable=False),
        sa.Column("stream_id", Name, nullable=False),
        sa.Column("protocol", Name, nullable=False),
        sa.Column("pid", sa.BigInteger, nullable=False),
        sa.Column("uid", sa.BigInteger, nullable=False),
        sa.Column("path", Line, nullable=False),
        sa.Column("spiffe_ids", Line, nullable=False),
        sa.Column("node_id", Line, nullable=False),
        sa.Column("opened_at", sa.BigInteger, nullable=False),
        sa.Column("resources", Line, nullable=False),
        sa.Column("reported_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("agent_id", "stream_id", name="pk_streams"),
    )
    op.create_table(
        "reports",
        sa.Column("agent_id", Name, nullable=False),
        sa.Column("run_id", Name, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("agent_id", name="pk_reports"),
    )


def _authorities() -> None:
    op.create_table(
        "authorities",
        sa.Column("id", Name, nullable=False),
        sa.Column("trust_domain", Name, nullable=False),
        sa.Column("kind", Name, nullable=False),
        sa.Column("state", Name, nullable=False),
        sa.Column("tainted", sa.Integer, nullable=False),
        sa.Column("revoked", sa.Integer, nullable=False),
        sa.Column("certificate", sa.LargeBinary, nullable=False),
        sa.Column("chain", Line, nullable=False),
        sa.Column("public_key", sa.LargeBinary, nullable=False),
        sa.Column("key_ref", Name, nullable=False),
        sa.Column("key_type", Name, nullable=False),
        sa.Column("not_before", sa.BigInteger, nullable=False),
        sa.Column("not_after", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("activated_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_authorities"),
    )
    op.create_index(
        "uq_authorities_active",
        "authorities",
        ["trust_domain", "kind"],
        unique=True,
        sqlite_where=ACTIVE,
        postgresql_where=ACTIVE,
    )
    op.create_table(
        "wrapped_keys",
        sa.Column("key_id", Name, nullable=False),
        sa.Column("trust_domain", Name, nullable=False),
        sa.Column("purpose", Name, nullable=False),
        sa.Column("key_type", Name, nullable=False),
        sa.Column("kek_id", Name, nullable=False),
        sa.Column("nonce", sa.LargeBinary, nullable=False),
        sa.Column("ciphertext", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("key_id", name="pk_wrapped_keys"),
    )


def _certificates() -> None:
    op.create_table(
        "certificates",
        sa.Column("number", Counter, sa.Identity(always=False), autoincrement=True, nullable=False),
        sa.Column("serial", Name, nullable=False),
        sa.Column("spiffe_id", Name, nullable=False),
        sa.Column("key_hash", Name, nullable=False),
        sa.Column("entry_id", Name, nullable=False),
        sa.Column("entry_revision", sa.BigInteger, nullable=False),
        sa.Column("agent_id", Name, nullable=False),
        sa.Column("pid", sa.BigInteger, nullable=False),
        sa.Column("uid", sa.BigInteger, nullable=False),
        sa.Column("path", Line, nullable=False),
        sa.Column("profile", Name, nullable=False),
        sa.Column("authority_id", Name, nullable=False),
        sa.Column("dns_names", Line, nullable=False),
        sa.Column("not_before", sa.BigInteger, nullable=False),
        sa.Column("not_after", sa.BigInteger, nullable=False),
        sa.Column("requested_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_certificates"),
        sa.UniqueConstraint("serial", name="uq_certificates_serial"),
    )
    op.create_index("ix_certificates_agent_id_not_after", "certificates", ["agent_id", "not_after"])
    op.create_index("ix_certificates_entry_id_not_after", "certificates", ["entry_id", "not_after"])
    op.create_index("ix_certificates_not_after", "certificates", ["not_after"])
    op.create_index("ix_certificates_spiffe_id_not_after", "certificates", ["spiffe_id", "not_after"])
    op.create_table(
        "issued_certificates",
        sa.Column("number", Counter, autoincrement=False, nullable=False),
        sa.Column("der", sa.LargeBinary, nullable=False),
        sa.Column("issued_at", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(
            ["number"], ["certificates.number"], name="fk_issued_certificates_number", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("number", name="pk_issued_certificates"),
    )


def _audit() -> None:
    op.create_table(
        "audit_events",
        sa.Column("seq", Counter, sa.Identity(always=False), autoincrement=True, nullable=False),
        sa.Column("canonical", sa.LargeBinary, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("action", Name, nullable=False),
        sa.Column("outcome", Name, nullable=False),
        sa.Column("actor", Name, nullable=False),
        sa.Column("target", Name, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_audit_events"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_audit_events_actor_seq", "audit_events", ["actor", "seq"])
    op.create_index("ix_audit_events_target_seq", "audit_events", ["target", "seq"])
