"""What writes about access, the audit log's tree and notices, for the test of what has to be audited."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from attestation.spiffe_id import SpiffeId
from sds.notices.notice import Kind, Notice
from sds.store.access.records import (
    ApiTokenRecord,
    ApprovalRecord,
    ApprovalState,
    BindingRecord,
    RightRecord,
    SessionRecord,
)
from sds.store.ledger.audit_keys import AuditKey
from sds.store.ledger.tree import Addition, Head, Pruned, SignedHead
from sds.store.unit_of_work import UnitOfWork
from tests.contract.store.samples import later
from tests.fakes.clock import EPOCH

Work = Callable[[UnitOfWork], Any]
AGENT = SpiffeId.parse("spiffe://example.org/sds/agent/one")
VIEWER = RightRecord("viewer")
MINUTE = timedelta(minutes=1)
LEAVES = Addition([1], {(0, 0): bytes(32)}, SignedHead(1, bytes(32), "note", EPOCH))


def binding(name: str) -> BindingRecord:
    return BindingRecord(name, "uid:1000", VIEWER, EPOCH, "uid:0")


def token(name: str) -> ApiTokenRecord:
    return ApiTokenRecord(name, f"hash of {name}", name, VIEWER, EPOCH, "uid:0", later(9))


def session(name: str) -> SessionRecord:
    return SessionRecord(name, "uid:1000", "{}", "csrf", EPOCH, EPOCH, later(9))


def approval(name: str) -> ApprovalRecord:
    return ApprovalRecord(name, "authority.revoke", "aa", b"{}", "digest", "uid:1000", EPOCH, later(9))


def notice(name: str) -> Notice:
    return Notice(name, Kind.AGENT_SILENT, name, "ops@example.org", "silent", "", 0, False, None, EPOCH, EPOCH)


AUDITED: dict[str, Work] = {
    "role_bindings.create": lambda unit: unit.role_bindings.create(binding("b9")),
    "role_bindings.delete": lambda unit: unit.role_bindings.delete("b1"),
    "api_tokens.create": lambda unit: unit.api_tokens.create(token("t9")),
    "api_tokens.revoke": lambda unit: unit.api_tokens.revoke("t1"),
    "admin_sessions.create": lambda unit: unit.admin_sessions.create(session("s9")),
    "admin_sessions.delete": lambda unit: unit.admin_sessions.delete("s1"),
    "admin_sessions.delete_of": lambda unit: unit.admin_sessions.delete_of("uid:1000"),
    "approvals.create": lambda unit: unit.approvals.create(approval("a9")),
    "approvals.decide": lambda unit: unit.approvals.decide("a1", ApprovalState.PENDING, ApprovalState.REJECTED),
    "audit_keys.put": lambda unit: unit.audit_keys.put(AuditKey(2, "vkey", "wrapped:2", "", EPOCH)),
    "audit_tree.put_pruning": lambda unit: unit.audit_tree.put_pruning(Pruned(2, "statement", EPOCH)),
}
UNAUDITED: dict[str, Work | None] = {
    "api_tokens.used": lambda unit: unit.api_tokens.used("t1", MINUTE),
    "api_tokens.purge": lambda unit: unit.api_tokens.purge(EPOCH),
    "admin_sessions.touch": lambda unit: unit.admin_sessions.touch("s1", MINUTE),
    "admin_sessions.purge": lambda unit: unit.admin_sessions.purge(EPOCH),
    "idempotency.claim": lambda unit: unit.idempotency.claim("uid:0", "k", "d"),
    "idempotency.keep": lambda unit: unit.idempotency.keep("uid:0", "k", 200, {}, b"{}"),
    "idempotency.release": lambda unit: unit.idempotency.release("uid:0", "k"),
    "idempotency.purge": lambda unit: unit.idempotency.purge(EPOCH),
    "audit_tree.extend": lambda unit: unit.audit_tree.extend(Head(0, 0), LEAVES),
    "audit_tree.put_checkpoint": lambda unit: unit.audit_tree.put_checkpoint(LEAVES.checkpoint),
    "audit_tree.thin_checkpoints": lambda unit: unit.audit_tree.thin_checkpoints(EPOCH, 10),
    "audit_tree.remove_pruned": lambda unit: unit.audit_tree.remove_pruned(10),
    "cursors.claim": lambda unit: unit.cursors.claim("siem", "one", later(1)),
    "cursors.advance": lambda unit: unit.cursors.advance("siem", "one", later(1), 1, 1),
    "cursors.fail": lambda unit: unit.cursors.fail("siem", "one", "away"),
    "cursors.release": lambda unit: unit.cursors.release("siem", "one"),
    "agent_events.set_position": lambda unit: unit.agent_events.set_position(AGENT, "run", 7),
    "agent_events.purge": lambda unit: unit.agent_events.purge(EPOCH),
    "agent_events.forget": lambda unit: unit.agent_events.forget(AGENT),
    "past_entries.remember": lambda unit: unit.past_entries.remember(unit.entries.get("e1")),
    "past_entries.purge": lambda unit: unit.past_entries.purge(EPOCH),
    "notices.take_turn": lambda unit: unit.notices.take_turn("one", later(1)),
    "notices.end_turn": lambda unit: unit.notices.end_turn("one"),
    "notices.begin": lambda unit: unit.notices.begin([notice("n9")]),
    "notices.change": lambda unit: unit.notices.change([notice("n1")]),
    "notices.purge": lambda unit: unit.notices.purge(EPOCH),
    "uses.done": lambda unit: unit.uses.done(unit.uses.in_audit(10)),
    "uses.note": lambda unit: unit.uses.note("entry", {"e1": EPOCH}),
    "uses.forget_gone": lambda unit: unit.uses.forget_gone(),
}
READING = {"waiting", "overdue", "pending", "live_bootstrap", "lives", "issued", "refused", "events_after", "known"}
READING |= {"head", "heads", "tile", "tiles", "checkpoint", "checkpoints", "leaf_of", "leaves_of", "prunings", "pruned"}
READING |= {"first_leaf_since", "lowest", "leaves", "times", "judged", "placed", "copied", "unplaced", "misplaced"}
READING |= {"entries", "authorities", "agents", "grants", "tokens", "owners", "some", "last_sent"}
READING |= {"in_certificates", "in_audit", "newest", "settled_after", "sharing"}


def fill(unit: UnitOfWork) -> None:
    unit.role_bindings.create(binding("b1"))
    unit.api_tokens.create(token("t1"))
    unit.admin_sessions.create(session("s1"))
    unit.approvals.create(approval("a1"))


def everything(unit: UnitOfWork) -> object:
    return (
        unit.role_bindings.page().items,
        unit.api_tokens.page().items,
        unit.admin_sessions.of("uid:1000"),
        unit.approvals.page().items,
        unit.audit_keys.all(),
        unit.audit_tree.prunings(),
    )
