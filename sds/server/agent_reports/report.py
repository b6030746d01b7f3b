"""A report of an agent, read strictly: texts are cut and made printable, what has no meaning is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from attestation.spiffe_id import SpiffeId
from ca.bundle import MAX_SEQUENCE
from sds._pb.sds.node.v1 import node_pb2
from sds.audit.event import Outcome
from sds.server import convert
from sds.server.rpc import CallRefused
from sds.store.records import ProcessRecord, ResourceRecord, StreamRecord

ACTIONS = frozenset(
    {
        "workload.attested",
        "workload.refused",
        "secret.expired",
        "secret.nacked",
        "secret.refused",
        "audit.contradicted",
    }
)
PROTOCOLS = frozenset({"sotw", "delta", "ads-sotw", "ads-delta", "workload-api"})
MAX_NAME = 128
MAX_ID = 2048
MAX_DETAIL = 1024
MAX_NUMBER = 2**62
MAX_LISTED = 256
"""SPIFFE IDs, selectors and resources of one stream or event; more are cut."""


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
    events_run: str = ""  # of which the events are, where it is a run before a restart
    through: int = 0  # numbers of that run have been given up to here; 0: not said
    cut: bool = False  # that run was killed behind it

    @property
    def run_of_events(self) -> str:
        return self.events_run or self.run_id


def parse_report(request: node_pb2.ReportDeliveryRequest, agent_id: SpiffeId, now: datetime) -> Report:
    """Read an agent's report. Texts are cut and made printable; what has no meaning is a CallRefused."""
    if not 0 < request.sequence < 2**63:
        raise _invalid("sequence counts from 1")
    return Report(
        run_id=_run(request.run_id),
        sequence=request.sequence,
        snapshot=request.snapshot,
        streams=tuple(_stream(message, agent_id, now) for message in request.streams),
        closed=tuple(_stream_id(stream_id) for stream_id in request.closed_stream_ids),
        events=tuple(_event(message, now) for message in request.events if message.action in ACTIONS),
        events_dropped=request.events_dropped,
        bundle_sequence=_sequence(request.bundle_sequence),
        events_run=_run(request.events_run_id) if request.events_run_id else "",
        through=_through(request),
        cut=request.events_cut,
    )


def _run(unverified: str) -> str:
    if not unverified or len(unverified) > MAX_NAME or not unverified.isprintable():
        raise _invalid(f"run_id must be 1 to {MAX_NAME} printable characters")
    return unverified


def _through(request: node_pb2.ReportDeliveryRequest) -> int:
    """The numbers of events ascend from 1, and none is behind what was given."""
    if request.events_through > MAX_NUMBER:
        raise _invalid("no run has so many events")
    numbers = [event.number for event in request.events]
    if request.events_through and (
        any(later <= earlier for earlier, later in zip([0, *numbers], numbers, strict=False))
        or (numbers and numbers[-1] > request.events_through)
    ):
        raise _invalid("the numbers of events ascend from 1 to events_through")
    return request.events_through


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
