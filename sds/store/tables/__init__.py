"""The tables, private to sds.store: a module for each subject, called other than any table, and all tables' names here.

Times are microseconds (times.py); sets and maps are canonical JSON texts. A change here needs a migration in
``migrations/versions``; a test holds both to the same schema, of the tables that are imported here.
"""

from sds.store.tables.access import admin_sessions, api_tokens, approvals, idempotency_keys, role_bindings
from sds.store.tables.attestation import agents, join_tokens
from sds.store.tables.authority import authorities, wrapped_keys
from sds.store.tables.bookkeeping import audit_events, changes, settings
from sds.store.tables.columns import Name, metadata, storable
from sds.store.tables.delivery import reports, streams
from sds.store.tables.federation import federations
from sds.store.tables.issuance import certificates, issued_certificates
from sds.store.tables.ledger import (
    agent_events,
    audit_checkpoints,
    audit_cursors,
    audit_keys,
    audit_leaves,
    audit_prunings,
    audit_tiles,
)
from sds.store.tables.noticing import last_uses, notices, past_entries
from sds.store.tables.registration import entries, entry_labels, entry_selectors
from sds.store.tables.revocation import blocks, crls, revocations
from sds.store.tables.secrecy import (
    grants,
    lease_replicas,
    lease_users,
    leases,
    secret_versions,
    secrets,
    ticket_masters,
)

__all__ = [
    "Name",
    "admin_sessions",
    "agent_events",
    "agents",
    "api_tokens",
    "approvals",
    "audit_checkpoints",
    "audit_cursors",
    "audit_events",
    "audit_keys",
    "audit_leaves",
    "audit_prunings",
    "audit_tiles",
    "authorities",
    "blocks",
    "certificates",
    "changes",
    "crls",
    "entries",
    "entry_labels",
    "entry_selectors",
    "federations",
    "grants",
    "idempotency_keys",
    "issued_certificates",
    "join_tokens",
    "last_uses",
    "lease_replicas",
    "lease_users",
    "leases",
    "metadata",
    "notices",
    "past_entries",
    "reports",
    "revocations",
    "role_bindings",
    "secret_versions",
    "secrets",
    "settings",
    "storable",
    "streams",
    "ticket_masters",
    "wrapped_keys",
]
