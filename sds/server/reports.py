"""What agents tell of their sidecars: the fleet view, and audit events for what was refused or rejected.

At least once and in order: an agent repeats a report until it is acknowledged; (run, sequence) drops the repeats, in
the transaction that takes a report in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from attestation.spiffe_id import SpiffeId
from ca.bundle import MAX_SEQUENCE
from sds._pb.sds.node.v1 import node_pb2
from sds.audit.event import AuditEvent, Json, Outcome, Target
from sds.logs import get_logger
from sds.net.limits import Rate, TokenBuckets
from sds.server import convert
from sds.server.events import Events, agent_actor, rfc3339
from sds.server.identity import AgentCaller
from sds.server.rpc import CallRefused
from sds.server.runs import Runs
from sds.server.transactions import Transactions
from sds.store.records import ProcessRecord, ReportPosition, ResourceRecord, StreamRecord
from sds.store.unit_of_work import UnitOfWork

ACTIONS = frozenset({"workload.attested", "workload.refused", "secret.expired", "secret.nacked", "secret.refused"})
PROTOCOLS = frozenset({"sotw", "delta", "ads-sotw", "ads-delta", "workload-api"})
MAX_NAME = 128
MAX_ID = 2048
MAX_DETAIL = 1024
MAX_LISTED = 256
"""SPIFFE IDs, selectors and resources of one stream or event; more are cut."""

SHARE = Rate(per_second=20.0, burst=20_000)
"""Events of one agent that are audited one by one; of more than that only the number is. Honest agents stay below."""


@dataclass(frozen=True, slots=True)
class SeenEvent:
    """Something that an agent saw. `seen_at` is by the agent's clock."""

    number: int
    seen_at: datetime
    action: str
    outcome: Outcome
    reason: str
    process: ProcessRecord
    stream_id: str
    resource: str
    version: str
    selectors: tuple[str, ...]
    spiffe_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """One ReportDelivery, parsed. `snapshot`: forget all streams of the agent that are not in `streams`."""

    run_id: str
    sequence: int
    snapshot: bool
    streams: tuple[StreamRecord, ...]
    closed: tuple[str, ...]
    events: tuple[SeenEvent, ...]
    events_dropped: int
    bundle_sequence: int = 0  # of the trust bundle that the agent verifies by


class ReportObserver(Protocol):
    def reported(self, lags: Iterable[float], dropped: int) -> None:
        """Seconds from what was seen to its being stored, and how many events the agent had to drop."""
        ...


class Reports:
    """Takes reports in."""

    def __init__(self, store: Transactions, events: Events, observer: ReportObserver, share: Rate = SHARE) -> None:
        self._store = store
        self._events = events
        self._observer = observer
        self._shares = TokenBuckets(share)
        self._runs = Runs()
        self._log = get_logger(__name__)

    def within_share(self, agent_id: SpiffeId, report: Report, now: datetime) -> Report:
        """`report` without the events that are too many for its agent; they are counted as dropped."""
        told = tuple(event for event in report.events if self._shares.take(agent_id, now.timestamp()))
        return replace(report, events=told, events_dropped=report.events_dropped + len(report.events) - len(told))

    async def take_in(self, caller: AgentCaller, report: Report, now: datetime) -> bool:
        """Whether the agent must send a snapshot next. Raises StoreError: nothing was taken in."""
        report = self.within_share(caller.agent_id, report, now)
        duplicate = self._runs.duplicate(caller.agent_id, report.run_id, now)
        if duplicate:
            self._log.error(
                "an agent's identity is in use twice", agent_id=str(caller.agent_id), address=caller.address
            )

        def work(uow: UnitOfWork) -> tuple[bool, bool, datetime]:
            if duplicate:
                uow.audit.append(self._duplicate(caller, report, uow.now))
            known = uow.streams.position(caller.agent_id)
            same_run = known is not None and known.run_id == report.run_id
            if known is not None and same_run and report.sequence <= known.sequence:
                return True, False, uow.now
            gap = not (known is not None and same_run and report.sequence == known.sequence + 1)
            if report.snapshot:
                uow.streams.replace(caller.agent_id, report.streams)
            else:
                uow.streams.upsert(report.streams)
                uow.streams.delete(caller.agent_id, report.closed)
            uow.audit.append_all(self._audited(caller, report, uow.now))
            uow.agents.verifies_by(caller.agent_id, report.bundle_sequence)
            uow.streams.set_position(caller.agent_id, ReportPosition(report.run_id, report.sequence))
            return False, gap and not report.snapshot, uow.now

        repeated, resync, stored_at = await self._store.write(work)
        if not repeated:
            lags = [max(0.0, (stored_at - event.seen_at).total_seconds()) for event in report.events]
            self._observer.reported(lags, report.events_dropped)
        return resync

    def _duplicate(self, caller: AgentCaller, report: Report, now: datetime) -> AuditEvent:
        actor = agent_actor(caller.agent_id, caller.address)
        return self._events.make(
            now,
            "agent.duplicate",
            actor,
            Target("agent", actor.id),
            outcome=Outcome.FAILURE,
            reason="two processes report under one identity, so its data folder was copied: ban the agent, attest anew",
            request_id=caller.request_id,
            details={"run": report.run_id},
        )

    def _audited(self, caller: AgentCaller, report: Report, now: datetime) -> list[AuditEvent]:
        actor = agent_actor(caller.agent_id, caller.address)
        made = []
        for event in report.events:
            target = Target("resource", event.resource) if event.resource else Target("process", event.process.path)
            details: dict[str, Json] = {
                "seen_at": rfc3339(event.seen_at),
                "run": report.run_id,
                "number": str(event.number),  # 64 bits, more than JSON's readers agree on
                "process": {"pid": event.process.pid, "uid": event.process.uid, "path": event.process.path},
                "stream": event.stream_id,
                "version": event.version,
                "selectors": event.selectors,
                "spiffe_ids": event.spiffe_ids,
            }
            made.append(
                self._events.make(
                    now,
                    event.action,
                    actor,
                    target,
                    outcome=event.outcome,
                    reason=event.reason,
                    request_id=caller.request_id,
                    details=details,
                )
            )
        if report.events_dropped:
            made.append(
                self._events.make(
                    now,
                    "report.gap",
                    actor,
                    Target("agent", actor.id),
                    outcome=Outcome.FAILURE,
                    reason="the agent had to drop events before it could report them",
                    request_id=caller.request_id,
                    details={"run": report.run_id, "dropped": str(report.events_dropped)},
                )
            )
        return made


def parse_report(request: node_pb2.ReportDeliveryRequest, agent_id: SpiffeId, now: datetime) -> Report:
    """Read an agent's report. Texts are cut and made printable; what has no meaning is a CallRefused."""
    if not request.run_id or len(request.run_id) > MAX_NAME or not request.run_id.isprintable():
        raise _invalid(f"run_id must be 1 to {MAX_NAME} printable characters")
    if not 0 < request.sequence < 2**63:
        raise _invalid("sequence counts from 1")
    return Report(
        run_id=request.run_id,
        sequence=request.sequence,
        snapshot=request.snapshot,
        streams=tuple(_stream(message, agent_id, now) for message in request.streams),
        closed=tuple(_stream_id(stream_id) for stream_id in request.closed_stream_ids),
        events=tuple(_event(message, now) for message in request.events if message.action in ACTIONS),
        events_dropped=request.events_dropped,
        bundle_sequence=_sequence(request.bundle_sequence),
    )


def _stream(message: node_pb2.StreamState, agent_id: SpiffeId, now: datetime) -> StreamRecord:
    if message.protocol not in PROTOCOLS:
        raise _invalid("a stream's protocol is one of " + ", ".join(sorted(PROTOCOLS)))
    return StreamRecord(
        agent_id=agent_id,
        stream_id=_stream_id(message.id),
        protocol=message.protocol,
        process=convert.process(message.process),
        spiffe_ids=_texts(message.spiffe_ids, MAX_ID),
        node_id=convert.text(message.node_id, MAX_NAME),
        opened_at=_moment(message.opened_at) if message.HasField("opened_at") else now,
        resources=tuple(map(_resource, _most_telling(message.resources))),
    )


def _most_telling(resources: Sequence[node_pb2.ResourceState]) -> Sequence[node_pb2.ResourceState]:
    """Of too many, those that hold our bundle come first: rotation waits for them."""
    if len(resources) <= MAX_LISTED:
        return resources
    return sorted(resources, key=lambda one: not one.sent_sequence)[:MAX_LISTED]


def _resource(message: node_pb2.ResourceState) -> ResourceRecord:
    return ResourceRecord(
        name=convert.text(message.name, MAX_ID),
        sent_version=convert.text(message.sent_version, MAX_NAME),
        acked_version=convert.text(message.acked_version, MAX_NAME),
        nacked_version=convert.text(message.nacked_version, MAX_NAME),
        nack_detail=convert.text(message.nack_detail, MAX_DETAIL),
        sent_at=_moment(message.sent_at) if message.HasField("sent_at") else None,
        acked_at=_moment(message.acked_at) if message.HasField("acked_at") else None,
        sent_serial=convert.text(message.sent_serial, MAX_NAME),
        acked_serial=convert.text(message.acked_serial, MAX_NAME),
        sent_sequence=_sequence(message.sent_sequence),
        acked_sequence=_sequence(message.acked_sequence),
    )


def _event(message: node_pb2.DeliveryEvent, now: datetime) -> SeenEvent:
    try:
        outcome = Outcome(message.outcome)
    except ValueError:
        raise _invalid("an event's outcome is success, refused or failure") from None
    return SeenEvent(
        number=message.number,
        seen_at=_moment(message.time) if message.HasField("time") else now,
        action=message.action,
        outcome=outcome,
        reason=convert.text(message.reason, MAX_DETAIL),
        process=convert.process(message.process),
        stream_id=convert.text(message.stream_id, MAX_NAME),
        resource=convert.text(message.resource, MAX_ID),
        version=convert.text(message.version, MAX_NAME),
        selectors=_texts(message.selectors, MAX_DETAIL),
        spiffe_ids=_texts(message.spiffe_ids, MAX_ID),
    )


def _sequence(unverified: int) -> int:
    if unverified > MAX_SEQUENCE:
        raise _invalid("no bundle has such a sequence")
    return unverified


def _stream_id(unverified: str) -> str:
    if not unverified or len(unverified) > MAX_NAME or not unverified.isprintable():
        raise _invalid(f"a stream's id is 1 to {MAX_NAME} printable characters")
    return unverified


def _texts(unverified: Sequence[str], limit: int) -> tuple[str, ...]:
    return tuple(convert.text(one, limit) for one in unverified[:MAX_LISTED])


def _moment(message: Timestamp) -> datetime:
    try:
        return convert.moment(message)
    except ValueError:
        raise _invalid("a time is out of range") from None


def _invalid(problem: str) -> CallRefused:
    return CallRefused(grpc.StatusCode.INVALID_ARGUMENT, problem)
