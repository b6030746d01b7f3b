"""Values to store, with whatever a test cares about changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any, TypeVar

from attestation.entry import EntrySpec
from attestation.selector import parse_selectors
from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.authority import Authority, AuthorityKind, AuthorityState
from ca.kek import KeyLabel, Wrapped, WrappedKey
from ca.keys import KeyType
from sds.audit.event import Actor, ActorKind, AuditEvent, Outcome, Target
from sds.store.records import AgentRecord, CertificateRecord, ProcessRecord, ResourceRecord, StreamRecord
from sds.store.store import Store
from sds.store.unit_of_work import UnitOfWork
from tests.fakes.clock import EPOCH

T = TypeVar("T")
_numbers = count(1)


def spiffe(path: str) -> SpiffeId:
    return SpiffeId.parse(f"spiffe://example.org{path}")


AGENT = spiffe("/sds/agent/join_token/1")
OTHER_AGENT = spiffe("/sds/agent/join_token/2")


def event(action: str = "test.change", **changes: Any) -> AuditEvent:
    base = AuditEvent(
        id=f"{next(_numbers):032x}",
        time=EPOCH,
        action=action,
        outcome=Outcome.SUCCESS,
        actor=Actor(ActorKind.ADMIN, "uid:0", "unix"),
        target=Target("thing", "1"),
    )
    return replace(base, **changes)


def spec(path: str = "/web", *selectors: str, parent: SpiffeId = AGENT, **changes: Any) -> EntrySpec:
    base = EntrySpec(spiffe(path), parent, parse_selectors(selectors or ("unix:uid:1000",)))
    return replace(base, **changes)


def agent(spiffe_id: SpiffeId = AGENT, **changes: Any) -> AgentRecord:
    base = AgentRecord(
        spiffe_id=spiffe_id,
        attestation_type="join_token",
        selectors=parse_selectors(("join_token:node:a",)),
        serial="0a",
        not_after=EPOCH + timedelta(hours=1),
        key_hash="ab" * 32,
        attested_at=EPOCH,
        address="192.0.2.1",
        version="0.1.0",
    )
    return replace(base, **changes)


def certificate(serial: str, **changes: Any) -> CertificateRecord:
    base = CertificateRecord(
        serial=serial,
        spiffe_id=spiffe("/web"),
        key_hash="cd" * 32,
        profile="workload",
        authority_id="ef" * 20,
        not_before=EPOCH - timedelta(seconds=10),
        not_after=EPOCH + timedelta(hours=1),
        requested_at=EPOCH,
        entry_id="entry-1",
        entry_revision=3,
        agent_id=AGENT,
        process=ProcessRecord(4711, 1000, "/usr/bin/envoy"),
        dns_names=("web.example.org",),
    )
    return replace(base, **changes)


def authority(identifier: str = "aa" * 20, **changes: Any) -> Authority:
    base = Authority(
        id=identifier,
        trust_domain=TrustDomain("example.org"),
        kind=AuthorityKind.X509,
        state=AuthorityState.PREPARED,
        key_ref="wrapped:1",
        key_type=KeyType.ECDSA_P256,
        public_key=b"spki",
        certificate=b"der of " + identifier.encode(),
        not_before=EPOCH,
        not_after=EPOCH + timedelta(days=365),
        created_at=EPOCH,
        chain=(b"\x00one", b"two"),
    )
    return replace(base, **changes)


def wrapped_key(key_id: str = "k1", kek_id: str = "11111111") -> WrappedKey:
    label = KeyLabel(key_id, "example.org", "x509", KeyType.ECDSA_P256)
    return Wrapped(label, kek_id, b"\x00" * 12, b"cipher\x00text")


def stream(stream_id: str = "s1", agent_id: SpiffeId = AGENT, **changes: Any) -> StreamRecord:
    base = StreamRecord(
        agent_id=agent_id,
        stream_id=stream_id,
        protocol="sotw",
        process=ProcessRecord(4711, 1000, "/usr/bin/envoy"),
        spiffe_ids=(str(spiffe("/web")),),
        node_id="node-1",
        opened_at=EPOCH,
        resources=(
            ResourceRecord("default", "v2", "v1", sent_at=EPOCH, acked_at=EPOCH, sent_serial="0b", acked_serial="0a"),
            ResourceRecord("ROOTCA", "r1", nacked_version="r1", nack_detail="no: \x00 \u2028"),
        ),
    )
    return replace(base, **changes)


async def change(store: Store, work: Callable[[UnitOfWork], T]) -> T:
    """Run `work` and append an audit event with it."""

    def audited(unit: UnitOfWork) -> T:
        unit.audit.append(event())
        return work(unit)

    return await store.write(audited)


def later(seconds: float) -> datetime:
    return EPOCH + timedelta(seconds=seconds)
