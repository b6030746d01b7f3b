"""OpenTelemetry log records of events: the body of ``POST /v1/logs`` (OTLP/HTTP, binary protobuf)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from google.protobuf.message import DecodeError

from sds._pb.sds.otlp.v1 import logs_pb2
from sds.audit.sinks.items import Item, Leaf, Seen, Signed, line, seen

SCOPE = "sds.audit"
_SEVERITIES: Mapping[str, tuple[int, str]] = {"success": (9, "INFO"), "refused": (13, "WARN"), "failure": (17, "ERROR")}
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


class Rejected(Exception):
    """The receiver took the delivery and threw some of it away; it must not be sent again (OTLP, partial success)."""

    def __init__(self, records: int) -> None:
        super().__init__(f"the receiver rejected {records} log records")
        self.records = records


class NotAnAnswer(ValueError):
    """The receiver's answer is no ExportLogsServiceResponse."""


def request(items: Sequence[Item], version: str, host: str, now: datetime) -> bytes:
    """ExportLogsServiceRequest: one record an item. `now` is when they are told; `host` names this process's host."""
    records = [_record(item, host, _nanoseconds(now)) for item in items]
    resource = logs_pb2.Resource(
        attributes=_attributes({"service.name": "sds-server", "service.version": version, "host.name": host})
    )
    scope = logs_pb2.ScopeLogs(scope=logs_pb2.InstrumentationScope(name=SCOPE, version=version), log_records=records)
    found: bytes = logs_pb2.ExportLogsServiceRequest(
        resource_logs=[logs_pb2.ResourceLogs(resource=resource, scope_logs=[scope])]
    ).SerializeToString()
    return found


def check_answer(unverified_body: bytes) -> None:
    """Raises Rejected, NotAnAnswer."""
    answer = logs_pb2.ExportLogsServiceResponse()
    try:
        answer.ParseFromString(unverified_body)
    except DecodeError:
        raise NotAnAnswer("the receiver's answer is not of OTLP") from None
    if answer.partial_success.rejected_log_records > 0:
        raise Rejected(int(answer.partial_success.rejected_log_records))


def _record(item: Item, host: str, told: int) -> logs_pb2.LogRecord:
    if isinstance(item, Signed):
        return logs_pb2.LogRecord(
            time_unix_nano=told,
            observed_time_unix_nano=told,
            severity_number=9,
            severity_text="INFO",
            event_name="audit.checkpoint",
            body=logs_pb2.AnyValue(string_value=item.note),
            attributes=_attributes({"audit.checkpoint.size": item.size}),
        )
    event = seen(item)
    number, text = _SEVERITIES.get(event.outcome, (17, "ERROR"))
    return logs_pb2.LogRecord(
        time_unix_nano=_time(event.time),
        observed_time_unix_nano=told,
        severity_number=number,
        severity_text=text,
        event_name=event.action,
        body=logs_pb2.AnyValue(string_value=line(item).decode("utf-8", "replace")),
        attributes=_attributes(_facts(item, event, host)),
    )


def _facts(item: Leaf, event: Seen, host: str) -> dict[str, str | int]:
    return {
        "audit.leaf": item.leaf,
        "audit.sequence": item.sequence,
        "audit.id": event.id,
        "audit.action": event.action,
        "audit.outcome": event.outcome,
        "audit.actor.kind": event.actor_kind,
        "audit.actor.id": event.actor_id,
        "audit.target.kind": event.target_kind,
        "audit.target.id": event.target_id,
        "audit.reason": event.reason,
        "audit.request_id": event.request_id,
        "audit.node": event.node or host,
        "client.address": event.address,
    }


def _attributes(facts: Mapping[str, str | int]) -> list[logs_pb2.KeyValue]:
    """What is empty is left out. Text that is no UTF-8 (half a surrogate pair) is made so."""
    return [
        logs_pb2.KeyValue(
            key=name,
            value=logs_pb2.AnyValue(int_value=value)
            if isinstance(value, int)
            else logs_pb2.AnyValue(string_value=value.encode("utf-8", "replace").decode()),
        )
        for name, value in facts.items()
        if value or isinstance(value, int)
    ]


def _time(text: str) -> int:
    try:
        return _nanoseconds(datetime.fromisoformat(text))
    except (ValueError, TypeError):
        return 0  # unknown (OTLP's own meaning)


def _nanoseconds(moment: datetime) -> int:
    return max(0, (moment - _EPOCH) // timedelta(microseconds=1) * 1000)
