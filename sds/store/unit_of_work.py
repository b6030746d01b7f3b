"""One unit of work is one transaction: what changed, why (audit) and who must learn of it (feed), or nothing."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from sds.store.access.approvals import Approvals
from sds.store.access.bindings import RoleBindings
from sds.store.access.idempotency import IdempotencyKeys
from sds.store.access.sessions import AdminSessions
from sds.store.access.tokens import ApiTokens
from sds.store.agents import Agents
from sds.store.audit import Audit
from sds.store.authorities import Authorities
from sds.store.certificates import Certificates
from sds.store.changes import Changes
from sds.store.entries import Entries
from sds.store.errors import UnauditedChange
from sds.store.federations import Federations
from sds.store.inventory.certificates import CertificateInventory
from sds.store.inventory.overview import Overview
from sds.store.inventory.past_entries import PastEntries
from sds.store.keys import Keys
from sds.store.ledger.agent_events import AgentEvents
from sds.store.ledger.audit_keys import AuditKeys
from sds.store.ledger.cursors import Cursors
from sds.store.ledger.lines import Lines
from sds.store.ledger.tree import Tree
from sds.store.notices.facts import NoticeFacts
from sds.store.notices.notices import Notices
from sds.store.notices.uses import Uses
from sds.store.revocation.blocks import Blocks
from sds.store.revocation.crls import Crls
from sds.store.revocation.revocations import Revocations
from sds.store.secrets.grants import Grants
from sds.store.secrets.leases import Leases
from sds.store.secrets.secrets import Secrets
from sds.store.secrets.ticket_masters import TicketMasters
from sds.store.settings import Settings
from sds.store.streams import Streams
from sds.store.tokens import Tokens
from sds.store.tx import Tx


class UnitOfWork:
    """All repositories over one transaction, and its one `now` (aware UTC)."""

    __slots__ = (
        "_tx",
        "admin_sessions",
        "agent_events",
        "agents",
        "api_tokens",
        "approvals",
        "audit",
        "audit_keys",
        "audit_lines",
        "audit_tree",
        "authorities",
        "blocks",
        "certificates",
        "changes",
        "crls",
        "cursors",
        "entries",
        "federations",
        "grants",
        "idempotency",
        "inventory",
        "keys",
        "leases",
        "notice_facts",
        "notices",
        "now",
        "overview",
        "past_entries",
        "revocations",
        "role_bindings",
        "secrets",
        "settings",
        "streams",
        "ticket_masters",
        "tokens",
        "uses",
    )

    def __init__(self, connection: Connection, now: datetime, *, writable: bool) -> None:
        tx = self._tx = Tx(connection, now, writable=writable)
        self.now = now
        self.settings = Settings(tx)
        self.changes = Changes(tx, self.settings)
        self.audit = Audit(tx)
        self.audit_keys = AuditKeys(tx)
        self.audit_lines = Lines(tx)
        self.audit_tree = Tree(tx)
        self.entries = Entries(tx, self.changes)
        self.agents = Agents(tx, self.changes)
        self.tokens = Tokens(tx)
        self.authorities = Authorities(tx, self.changes, self.settings)
        self.keys = Keys(tx)
        self.certificates = Certificates(tx)
        self.inventory = CertificateInventory(tx)
        self.past_entries = PastEntries(tx)
        self.overview = Overview(tx)
        self.blocks = Blocks(tx, self.changes)
        self.revocations = Revocations(tx)
        self.crls = Crls(tx)
        self.streams = Streams(tx)
        self.agent_events = AgentEvents(tx)
        self.cursors = Cursors(tx)
        self.role_bindings = RoleBindings(tx)
        self.api_tokens = ApiTokens(tx)
        self.idempotency = IdempotencyKeys(tx)
        self.admin_sessions = AdminSessions(tx)
        self.approvals = Approvals(tx)
        self.federations = Federations(tx, self.changes)
        self.secrets = Secrets(tx, self.changes)
        self.grants = Grants(tx, self.changes)
        self.ticket_masters = TicketMasters(tx, self.changes)
        self.leases = Leases(tx, self.changes)
        self.notices = Notices(tx)
        self.notice_facts = NoticeFacts(tx)
        self.uses = Uses(tx, self.settings)

    def finish(self) -> bool:
        """Write what was collected; whether followers must be woken after the commit.

        Raises UnauditedChange if audited data changed and no event says why: the transaction must not be committed.
        """
        self.audit.flush()
        if self._tx.unaudited and not self._tx.audited:
            raise UnauditedChange(", ".join(sorted(self._tx.unaudited)))
        self.changes.flush()
        return self._tx.told
