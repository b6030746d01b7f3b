"""Slots of authorities, profiles and federation of entries, revocation, federated trust domains."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

Name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
Line = sa.Text
NOTHING = sa.text("''")
NONE = sa.text("'[]'")
ZERO = sa.text("0")


def upgrade() -> None:
    _authorities()
    _entries()
    _agents()
    op.create_index("ix_certificates_key_hash", "certificates", ["key_hash"])
    op.create_index("ix_certificates_authority_id_not_after", "certificates", ["authority_id", "not_after"])
    _revocation()
    _federation()


def _authorities() -> None:
    op.add_column("authorities", sa.Column("roots", Line, nullable=False, server_default=NONE))
    op.add_column("authorities", sa.Column("upstream", Name, nullable=False, server_default=sa.text("'self_signed'")))
    op.add_column("authorities", sa.Column("retired_at", sa.BigInteger))
    op.add_column("authorities", sa.Column("published_sequence", sa.BigInteger, nullable=False, server_default=ZERO))


def _entries() -> None:
    op.add_column("entries", sa.Column("jwt_svid_ttl", sa.BigInteger))
    op.add_column("entries", sa.Column("federates_with", Line, nullable=False, server_default=NONE))
    op.add_column("entries", sa.Column("profile", Name, nullable=False, server_default=NOTHING))
    op.add_column("entries", sa.Column("extra_sans", Line, nullable=False, server_default=NONE))
    op.add_column("entries", sa.Column("subject", Line, nullable=False, server_default=NOTHING))


def _agents() -> None:
    op.add_column("agents", sa.Column("bundle_sequence", sa.BigInteger, nullable=False, server_default=ZERO))
    op.add_column("agents", sa.Column("downstream", sa.Integer, nullable=False, server_default=ZERO))
    op.add_column("join_tokens", sa.Column("downstream", sa.Integer, nullable=False, server_default=ZERO))


def _revocation() -> None:
    op.create_table(
        "blocks",
        sa.Column("id", Name, nullable=False),
        sa.Column("kind", Name, nullable=False),
        sa.Column("value", Name, nullable=False),
        sa.Column("reason", Line, nullable=False),
        sa.Column("incident", Line, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("created_by", Line, nullable=False),
        sa.Column("lifted_at", sa.BigInteger),
        sa.Column("lifted_by", Line, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_blocks"),
    )
    op.create_index("ix_blocks_kind_value", "blocks", ["kind", "value"])
    op.create_table(
        "revocations",
        sa.Column("serial", Name, nullable=False),
        sa.Column("authority_id", Name, nullable=False),
        sa.Column("not_after", sa.BigInteger, nullable=False),
        sa.Column("reason", Name, nullable=False),
        sa.Column("revoked_at", sa.BigInteger, nullable=False),
        sa.Column("block_id", Name, nullable=False),
        sa.PrimaryKeyConstraint("serial", name="pk_revocations"),
    )
    op.create_index("ix_revocations_authority_id_not_after", "revocations", ["authority_id", "not_after"])
    op.create_index("ix_revocations_block_id", "revocations", ["block_id"])
    op.create_table(
        "crls",
        sa.Column("authority_id", Name, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("der", sa.LargeBinary, nullable=False),
        sa.Column("digest", Name, nullable=False),
        sa.Column("this_update", sa.BigInteger, nullable=False),
        sa.Column("next_update", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("authority_id", name="pk_crls"),
    )


def _federation() -> None:
    op.create_table(
        "federations",
        sa.Column("trust_domain", Name, nullable=False),
        sa.Column("endpoint_url", Line, nullable=False),
        sa.Column("profile", Name, nullable=False),
        sa.Column("endpoint_id", Name, nullable=False),
        sa.Column("bundle", sa.LargeBinary, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("refresh_hint", sa.BigInteger, nullable=False),
        sa.Column("fetched_at", sa.BigInteger),
        sa.Column("tried_at", sa.BigInteger),
        sa.Column("problem", Line, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("trust_domain", name="pk_federations"),
    )
