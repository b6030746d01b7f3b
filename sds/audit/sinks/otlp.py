"""OpenTelemetry log records of events: the body of ``POST /v1/logs`` (OTLP/HTTP, binary protobuf)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

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
    messages = _messages()
    records = [_record(messages, item, host, _nanoseconds(now)) for item in items]
    resource = messages.Resource(
        attributes=_attributes(messages, {"service.name": "sds-server", "service.version": version, "host.name": host})
    )
    scope = messages.ScopeLogs(scope=messages.InstrumentationScope(name=SCOPE, version=version), log_records=records)
    found: bytes = messages.Request(
        resource_logs=[messages.ResourceLogs(resource=resource, scope_logs=[scope])]
    ).SerializeToString()
    return found


def check_answer(unverified_body: bytes) -> None:
    """Raises Rejected, NotAnAnswer."""
    from google.protobuf.message import DecodeError  # noqa: PLC0415  # with the messages

    answer = _messages().Answer()
    try:
        answer.ParseFromString(unverified_body)
    except DecodeError:
        raise NotAnAnswer("the receiver's answer is not of OTLP") from None
    if answer.partial_success.rejected_log_records > 0:
        raise Rejected(int(answer.partial_success.rejected_log_records))


def _record(messages: Any, item: Item, host: str, told: int) -> Any:
    if isinstance(item, Signed):
        return messages.LogRecord(
            time_unix_nano=told,
            observed_time_unix_nano=told,
            severity_number=9,
            severity_text="INFO",
            event_name="audit.checkpoint",
            body=messages.AnyValue(string_value=item.note),
            attributes=_attributes(messages, {"audit.checkpoint.size": item.size}),
        )
    event = seen(item)
    number, text = _SEVERITIES.get(event.outcome, (17, "ERROR"))
    return messages.LogRecord(
        time_unix_nano=_time(event.time),
        observed_time_unix_nano=told,
        severity_number=number,
        severity_text=text,
        event_name=event.action,
        body=messages.AnyValue(string_value=line(item).decode("utf-8", "replace")),
        attributes=_attributes(messages, _facts(item, event, host)),
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


def _attributes(messages: Any, facts: Mapping[str, str | int]) -> list[Any]:
    """What is empty is left out. Text that is no UTF-8 (half a surrogate pair) is made so."""
    return [
        messages.KeyValue(
            key=name,
            value=messages.AnyValue(int_value=value)
            if isinstance(value, int)
            else messages.AnyValue(string_value=value.encode("utf-8", "replace").decode()),
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


class _Messages:
    """OpenTelemetry's messages, imported when a sink first needs them."""

    def __init__(self) -> None:
        from opentelemetry.proto.collector.logs.v1 import logs_service_pb2  # noqa: PLC0415
        from opentelemetry.proto.common.v1 import common_pb2  # noqa: PLC0415
        from opentelemetry.proto.logs.v1 import logs_pb2  # noqa: PLC0415
        from opentelemetry.proto.resource.v1 import resource_pb2  # noqa: PLC0415

        self.Request = logs_service_pb2.ExportLogsServiceRequest
        self.Answer = logs_service_pb2.ExportLogsServiceResponse
        self.KeyValue, self.AnyValue = common_pb2.KeyValue, common_pb2.AnyValue
        self.InstrumentationScope = common_pb2.InstrumentationScope
        self.LogRecord, self.ScopeLogs = logs_pb2.LogRecord, logs_pb2.ScopeLogs
        self.ResourceLogs, self.Resource = logs_pb2.ResourceLogs, resource_pb2.Resource


@cache
def _messages() -> Any:
    return _Messages()
