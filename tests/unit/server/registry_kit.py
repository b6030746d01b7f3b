"""What tests of the registry share: entries, agents, and one that follows by its watch alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from attestation.entry import EntrySpec, RegistrationEntry
from attestation.selector import Selector
from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.bundle import TrustBundle
from sds.server.facts import Facts
from sds.server.registry import Registry
from sds.store.records import AgentRecord
from tests.fakes.clock import EPOCH

TD = TrustDomain("example.org")
A, B = SpiffeId(TD, "/sds/agent/a"), SpiffeId(TD, "/sds/agent/b")
BUNDLE = TrustBundle(TD, (b"one",), 1)


def entry(
    name: str, parent: SpiffeId = A, *, revision: int = 1, expires_at: datetime | None = None
) -> RegistrationEntry:
    spec = EntrySpec(
        SpiffeId(TD, f"/{name}"), parent, frozenset({Selector("unix", f"uid:{revision}")}), expires_at=expires_at
    )
    return RegistrationEntry(name, revision, EPOCH, EPOCH, spec)


def agent(spiffe_id: SpiffeId = A, *, banned: bool = False) -> AgentRecord:
    return AgentRecord(
        spiffe_id, "join_token", frozenset(), "aa", EPOCH, "", EPOCH, banned_at=EPOCH if banned else None
    )


def make(*entries: RegistrationEntry, revision: int = 10, now: datetime = EPOCH, **more: object) -> Registry:
    facts = Facts("epoch", revision, entries, (agent(A), agent(B)), BUNDLE, history_floor=revision)
    return Registry(replace(facts, **more), now=now)  # type: ignore[arg-type]
