"""Which decision is which action: the table of docs/audit.md, written out again by what has to be decided."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/audit.md").read_text()
ACTION = re.compile(r"[a-z_]+(\.[a-z_]+)+")

DECISIONS: dict[str, set[str]] = {
    "attestation accepted or refused": {"agent.attest", "agent.renew", "workload.attested", "workload.refused"},
    "entry changed": {"entry.create", "entry.update", "entry.delete"},
    "secret changed": {"secret.create", "secret.update", "secret.put", "secret.rotate", "secret.rollback", "secret.delete"},
    "grant changed": {"grant.create", "grant.delete"},
    "authority changed": {"authority.prepare", "authority.activate", "authority.taint", "authority.revoke", "authority.drop"},
    "certificate or token issued": {"certificate.issue", "token.issue"},
    "secret delivered": {"secret.deliver", "lease.create", "tickets.rotate"},
    "revocation": {"revocation.create", "certificate.revoke", "block.lift", "agent.ban"},
    "rotation step": {"key.create", "key.destroy", "kek.rotate"},
    "NACK": {"secret.nacked"},
    "admin read of sensitive data": {"admin.read"},
    "login": {"admin.login", "admin.logout", "admin.access"},
    "configuration at start": {"server.start"},
    "gap in what an agent saw": {"report.gap"},
    "retention and keys of the log": {"audit.prune", "audit.key.create", "audit.verify"},
    "access and approvals": {
        "access.token.create", "access.token.revoke", "access.binding.create", "access.binding.delete",
        "approval.request", "approval.approve", "approval.reject", "approval.perform",
    },
}  # fmt: skip


@cache
def nodes() -> tuple[ast.AST, ...]:
    """The program's calls and texts, but for those of its commands and pages."""
    found: list[ast.AST] = []
    for path in (ROOT / "sds").rglob("*.py"):
        text = path.read_text()
        if not {"cli", "client", "pages", "_pb"} & set(path.parts) and re.search(r'"[a-z_]+\.[a-z_.]+"', text):
            found += [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call | ast.Constant)]
    return tuple(found)


@cache
def literals() -> set[str]:
    """Every text in the program that looks like an action."""
    texts = {node.value for node in nodes() if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return {text for text in texts if ACTION.fullmatch(text)}


def documented() -> set[str]:
    table = PAGE[PAGE.index("## What is in it") : PAGE.index("## Formats")]
    return {name for name in re.findall(r"`([^`]+)`", table) if ACTION.fullmatch(name)}


@pytest.mark.parametrize("decision", DECISIONS)
def test_each_decision_has_its_events(decision: str) -> None:
    assert DECISIONS[decision] <= literals(), "the program knows no such action"
    assert DECISIONS[decision] <= documented()


def test_what_is_documented_is_there() -> None:
    assert documented() <= literals()


def test_what_is_made_is_documented() -> None:
    """Actions that stand where events are made."""
    made = set()
    for node in nodes():
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in {"make", "event", "_event"}:
            texts = [each.value for each in node.args if isinstance(each, ast.Constant)]
            made |= {text for text in texts if isinstance(text, str) and ACTION.fullmatch(text)}
    assert len(made) > 30
    assert made <= documented()
