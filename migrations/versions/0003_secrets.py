"""Named secrets, grants, leases of dynamic credentials, and the masters of session-ticket keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

Name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
Line = sa.Text


def upgrade() -> None:
    _secrets()
    _secret_versions()
    _grants()
    _leases()
    op.create_table(
        "ticket_masters",
        sa.Column("epoch", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("kek_id", Name, nullable=False),
        sa.Column("nonce", sa.LargeBinary, nullable=False),
        sa.Column("ciphertext", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("epoch", name="pk_ticket_masters"),
    )


def _secrets() -> None:
    op.create_table(
        "secrets",
        sa.Column("id", Name, nullable=False),
        sa.Column("name", Name, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("kind", Name, nullable=False),
        sa.Column("source", Line, nullable=False),
        sa.Column("owner", Name, nullable=False),
        sa.Column("labels", Line, nullable=False),
        sa.Column("refresh", sa.BigInteger),
        sa.Column("rotate_every", sa.BigInteger),
        sa.Column("generate", sa.Integer, nullable=False),
        sa.Column("pinned", sa.BigInteger),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Column("kek_id", Name, nullable=False),
        sa.Column("key_nonce", sa.LargeBinary, nullable=False),
        sa.Column("key_ciphertext", sa.LargeBinary, nullable=False),
        sa.Column("version", Line, nullable=False),
        sa.Column("changed_at", sa.BigInteger),
        sa.Column("checked_at", sa.BigInteger),
        sa.Column("not_after", sa.BigInteger),
        sa.Column("problem", Line, nullable=False),
        sa.Column("problem_code", Name, nullable=False),
        sa.Column("problem_since", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_secrets"),
        sa.UniqueConstraint("name", name="uq_secrets_name"),
    )


def _secret_versions() -> None:
    op.create_table(
        "secret_versions",
        sa.Column("secret_id", Name, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("nonce", sa.LargeBinary, nullable=False),
        sa.Column("ciphertext", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("created_by", Line, nullable=False),
        sa.Column("not_after", sa.BigInteger),
        sa.Column("destroyed_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("secret_id", "version", name="pk_secret_versions"),
    )


def _grants() -> None:
    op.create_table(
        "grants",
        sa.Column("id", Name, nullable=False),
        sa.Column("secret_id", Name, nullable=False),
        sa.Column("kind", Name, nullable=False),
        sa.Column("value", Name, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("created_by", Line, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_grants"),
        sa.UniqueConstraint("secret_id", "kind", "value", name="uq_grants_secret_id_kind_value"),
    )


def _leases() -> None:
    op.create_table(
        "leases",
        sa.Column("id", Name, nullable=False),
        sa.Column("secret_id", Name, nullable=False),
        sa.Column("spiffe_id", Name, nullable=False),
        sa.Column("state", Name, nullable=False),
        sa.Column("accessor", Name, nullable=False),
        sa.Column("lease_id", Line, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("ttl", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("renewed_at", sa.BigInteger),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("max_expires_at", sa.BigInteger),
        sa.Column("nonce", sa.LargeBinary, nullable=False),
        sa.Column("ciphertext", sa.LargeBinary, nullable=False),
        sa.Column("holder", Line, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_leases"),
        sa.UniqueConstraint("secret_id", "spiffe_id", "generation", name="uq_leases_secret_id_spiffe_id_generation"),
    )
    op.create_table(
        "lease_users",
        sa.Column("secret_id", Name, nullable=False),
        sa.Column("spiffe_id", Name, nullable=False),
        sa.Column("replica", Name, nullable=False),
        sa.PrimaryKeyConstraint("secret_id", "spiffe_id", "replica", name="pk_lease_users"),
    )
    op.create_table(
        "lease_replicas",
        sa.Column("id", Name, nullable=False),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_lease_replicas"),
    )
