"""The audit events that the server's own decisions make, in one place so that they read alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

from attestation.spiffe_id import SpiffeId
from ca.intent import CertificateIntent
from sds.audit.event import Actor, ActorKind, AuditEvent, Json, Outcome, Target
from sds.store.records import ProcessRecord

SERVER = "sds-server"


def agent_actor(agent_id: SpiffeId, address: str = "") -> Actor:
    return Actor(ActorKind.AGENT, str(agent_id), address)


def system_actor() -> Actor:
    """The server acting of itself."""
    return Actor(ActorKind.SYSTEM, SERVER)


@dataclass(frozen=True, slots=True)
class Events:
    """Makes events of this server process; `node` is its host's name."""

    node: str

    def make(
        self,
        time: datetime,
        action: str,
        actor: Actor,
        target: Target,
        *,
        outcome: Outcome = Outcome.SUCCESS,
        reason: str = "",
        request_id: str = "",
        details: Mapping[str, Json] | None = None,
    ) -> AuditEvent:
        return AuditEvent(
            id=uuid4().hex,
            time=time,
            action=action,
            outcome=outcome,
            actor=actor,
            target=target,
            reason=reason,
            request_id=request_id,
            node=self.node,
            details=details or {},
        )

    def certificate(
        self,
        time: datetime,
        intent: CertificateIntent,
        actor: Actor,
        request_id: str,
        *,
        entry: tuple[str, int] | None = None,
        process: ProcessRecord | None = None,
    ) -> AuditEvent:
        """``certificate.issue``: durable with the intent, before the key signs. `entry` is its id and revision."""
        details: dict[str, Json] = {
            "spiffe_id": str(intent.spiffe_id),
            "profile": str(intent.profile),
            "key_hash": intent.key_hash,
            "not_before": rfc3339(intent.not_before),
            "not_after": rfc3339(intent.not_after),
            "authority_id": intent.authority_id,
        }
        if intent.dns_names:
            details["dns_names"] = intent.dns_names
        if intent.extra_sans:
            details["extra_sans"] = intent.extra_sans
        if intent.subject:
            details["subject"] = intent.subject
        if entry is not None:
            details["entry_id"], details["entry_revision"] = entry
        if process is not None:
            details["process"] = process_details(process)
        return self.make(
            time,
            "certificate.issue",
            actor,
            Target("certificate", intent.serial),
            request_id=request_id,
            details=details,
        )

    def unsigned(
        self, time: datetime, intent: CertificateIntent, actor: Actor, request_id: str, *, reason: str
    ) -> AuditEvent:
        """``certificate.issue`` that failed: the intent stands, and nothing was signed for it."""
        return self.make(
            time,
            "certificate.issue",
            actor,
            Target("certificate", intent.serial),
            outcome=Outcome.FAILURE,
            reason=reason,
            request_id=request_id,
            details={"spiffe_id": str(intent.spiffe_id), "profile": str(intent.profile)},
        )


def process_details(process: ProcessRecord) -> dict[str, Json]:
    """As events name it: by its agent's word."""
    details: dict[str, Json] = {"pid": process.pid, "uid": process.uid, "path": process.path}
    if process.container:
        details["container"] = process.container
    return details


def rfc3339(moment: datetime) -> str:
    """UTC with a Z (RFC 3339)."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
