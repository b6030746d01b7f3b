"""The tables, private to this package. Times are microseconds (times.py); sets and maps are canonical JSON texts.

A change here needs a migration in ``migrations/versions``; a test holds both to the same schema.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Dialect,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.types import TypeEngine

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def storable(text: str) -> str:
    """`text` without what PostgreSQL (NUL) or UTF-8 (half surrogate pairs) cannot hold; such text never matches."""
    if text.isascii() and "\0" not in text:
        return text
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


class Line(TypeDecorator[str]):
    """A text. What others sent us may hold any character; it must not fail on one database and pass on the other."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        del dialect  # the same for all
        return None if value is None else storable(value)


class Name(Line):
    """A text that is compared, ordered or indexed.

    Its order is bytewise, as SQLite has it: cursors and prefixes then mean the same whatever the database's locale.
    """

    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return Text(collation="C") if dialect.name == "postgresql" else Text()


# What rows from before a column was added have in it.
NOTHING = text("''")
NO_ITEMS = text("'[]'")
ZERO = text("0")

# SQLite counts rows by itself only in a column that is called INTEGER; it holds 64 bits all the same.
Counter = BigInteger().with_variant(Integer(), "sqlite")


def _number(name: str) -> Column[int]:
    """A number the database gives out, growing; never given twice, even when the newest rows are gone."""
    return Column(name, Counter, Identity(always=False), primary_key=True, autoincrement=True)


settings = Table(
    "settings",
    metadata,
    Column("key", Name, primary_key=True),
    Column("value", Line, nullable=False),
)

entries = Table(
    "entries",
    metadata,
    Column("id", Name, primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("spiffe_id", Name, nullable=False),
    Column("parent_id", Name, nullable=False),
    Column("selectors", Line, nullable=False),
    Column("identity_hash", Name, nullable=False),  # of (spiffe_id, parent_id, selectors)
    Column("x509_svid_ttl", BigInteger),  # microseconds
    Column("dns_names", Line, nullable=False),
    Column("hint", Line, nullable=False),
    Column("owner", Name, nullable=False),
    Column("labels", Line, nullable=False),
    Column("expires_at", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("jwt_svid_ttl", BigInteger),  # microseconds
    Column("federates_with", Line, nullable=False, server_default=NO_ITEMS),
    Column("profile", Name, nullable=False, server_default=NOTHING),
    Column("extra_sans", Line, nullable=False, server_default=NO_ITEMS),
    Column("subject", Line, nullable=False, server_default=NOTHING),
    UniqueConstraint("identity_hash"),
    Index(None, "parent_id"),
    Index(None, "spiffe_id"),
    Index(None, "created_at", "id"),
)

entry_selectors = Table(
    "entry_selectors",
    metadata,
    Column("entry_id", Name, ForeignKey("entries.id", ondelete="CASCADE"), primary_key=True),
    Column("selector", Name, primary_key=True),
    Index(None, "selector"),
)

entry_labels = Table(
    "entry_labels",
    metadata,
    Column("entry_id", Name, ForeignKey("entries.id", ondelete="CASCADE"), primary_key=True),
    Column("name", Name, primary_key=True),
    Column("value", Name, nullable=False),
    Index(None, "name", "value"),
)

agents = Table(
    "agents",
    metadata,
    Column("spiffe_id", Name, primary_key=True),
    Column("attestation_type", Name, nullable=False),
    Column("selectors", Line, nullable=False),
    Column("serial", Name, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("key_hash", Name, nullable=False),
    Column("attested_at", BigInteger, nullable=False),
    Column("renewed_at", BigInteger),
    Column("last_seen", BigInteger),
    Column("banned_at", BigInteger),
    Column("banned_reason", Line, nullable=False),
    Column("address", Line, nullable=False),
    Column("version", Line, nullable=False),
    Column("bundle_sequence", BigInteger, nullable=False, server_default=ZERO),  # of the bundle that it verifies by
    Column("downstream", Integer, nullable=False, server_default=ZERO),  # another server, which may get an intermediate
)

join_tokens = Table(
    "join_tokens",
    metadata,
    Column("hash", Name, primary_key=True),  # the token itself is never stored
    Column("spiffe_id", Name, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("used_at", BigInteger),
    Column("used_from", Line, nullable=False),
    Column("downstream", Integer, nullable=False, server_default=ZERO),
    Index(None, "expires_at"),
)

authorities = Table(
    "authorities",
    metadata,
    Column("id", Name, primary_key=True),
    Column("trust_domain", Name, nullable=False),
    Column("kind", Name, nullable=False),
    Column("state", Name, nullable=False),
    Column("tainted", Integer, nullable=False),
    Column("revoked", Integer, nullable=False),
    Column("certificate", LargeBinary, nullable=False),
    Column("chain", Line, nullable=False),
    Column("public_key", LargeBinary, nullable=False),
    Column("key_ref", Name, nullable=False),
    Column("key_type", Name, nullable=False),
    Column("not_before", BigInteger, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("activated_at", BigInteger),
    Column("roots", Line, nullable=False, server_default=NO_ITEMS),
    Column("upstream", Name, nullable=False, server_default=text("'self_signed'")),
    Column("retired_at", BigInteger),
    Column("published_sequence", BigInteger, nullable=False, server_default=ZERO),
    # At most one signs, whatever two replicas decide at the same time.
    Index(
        "uq_authorities_active",
        "trust_domain",
        "kind",
        unique=True,
        sqlite_where=text("state = 'active'"),
        postgresql_where=text("state = 'active'"),
    ),
)

wrapped_keys = Table(
    "wrapped_keys",
    metadata,
    Column("key_id", Name, primary_key=True),
    Column("trust_domain", Name, nullable=False),
    Column("purpose", Name, nullable=False),
    Column("key_type", Name, nullable=False),
    Column("kek_id", Name, nullable=False),
    Column("nonce", LargeBinary, nullable=False),
    Column("ciphertext", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

# An intent stands before the key signs; what was signed is a second, later fact. Two tables that only ever grow are
# cheaper to write than one that is updated, and scans of the inventory do not drag the certificates along.
certificates = Table(
    "certificates",
    metadata,
    _number("number"),
    Column("serial", Name, nullable=False),
    Column("spiffe_id", Name, nullable=False),
    Column("key_hash", Name, nullable=False),
    Column("entry_id", Name, nullable=False),  # no foreign key: the record outlives the entry
    Column("entry_revision", BigInteger, nullable=False),
    Column("agent_id", Name, nullable=False),
    Column("pid", BigInteger, nullable=False),
    Column("uid", BigInteger, nullable=False),
    Column("path", Line, nullable=False),
    Column("profile", Name, nullable=False),
    Column("authority_id", Name, nullable=False),
    Column("dns_names", Line, nullable=False),
    Column("not_before", BigInteger, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("requested_at", BigInteger, nullable=False),
    UniqueConstraint("serial"),
    Index(None, "spiffe_id", "not_after"),
    Index(None, "entry_id", "not_after"),
    Index(None, "agent_id", "not_after"),
    Index(None, "not_after"),
    Index(None, "key_hash"),
    Index(None, "authority_id", "not_after"),
)

issued_certificates = Table(
    "issued_certificates",
    metadata,
    Column(
        "number",
        Counter,
        ForeignKey("certificates.number", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("der", LargeBinary, nullable=False),
    Column("issued_at", BigInteger, nullable=False),
)

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

audit_events = Table(
    "audit_events",
    metadata,
    _number("seq"),
    Column("canonical", LargeBinary, nullable=False),  # the event; all other columns are an index over it
    Column("time", BigInteger, nullable=False),
    Column("action", Name, nullable=False),
    Column("outcome", Name, nullable=False),
    Column("actor", Name, nullable=False),
    Column("target", Name, nullable=False),
    Index(None, "actor", "seq"),
    Index(None, "target", "seq"),
    sqlite_autoincrement=True,
)

changes = Table(
    "changes",
    metadata,
    _number("seq"),
    Column("kind", Name, nullable=False),
    Column("key", Name, nullable=False),
    Column("parent", Name, nullable=False),
    Column("at", BigInteger, nullable=False),
    Index(None, "at"),
    sqlite_autoincrement=True,
)

# What may not be issued any more (an identity, entry, agent or key), and what was taken back. A block can be lifted; a
# revoked serial stays revoked until it expires (RFC 5280 5.3.1: only a hold can be undone).
blocks = Table(
    "blocks",
    metadata,
    Column("id", Name, primary_key=True),
    Column("kind", Name, nullable=False),
    Column("value", Name, nullable=False),
    Column("reason", Line, nullable=False),
    Column("incident", Line, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Line, nullable=False),
    Column("lifted_at", BigInteger),
    Column("lifted_by", Line, nullable=False),
    Index(None, "kind", "value"),
)

revocations = Table(
    "revocations",
    metadata,
    Column("serial", Name, primary_key=True),
    Column("authority_id", Name, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("reason", Name, nullable=False),
    Column("revoked_at", BigInteger, nullable=False),
    Column("block_id", Name, nullable=False),
    Index(None, "authority_id", "not_after"),
    Index(None, "block_id"),
)

crls = Table(
    "crls",
    metadata,
    Column("authority_id", Name, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("der", LargeBinary, nullable=False),
    Column("digest", Name, nullable=False),  # of what it says, so that an equal one is not signed again
    Column("this_update", BigInteger, nullable=False),
    Column("next_update", BigInteger, nullable=False),
)

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
