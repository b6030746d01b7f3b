"""Webhook and OTLP against a receiver: what arrives, and what is said of one that does not take it."""

from __future__ import annotations

import json

import pytest

from ca.masked import Masked
from sds._pb.sds.otlp.v1.logs_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from sds.audit.sinks.items import Signed, line
from sds.server.audit_sinks.http import HttpOutlet, HttpPlace, Otlp, Webhook
from sds.server.audit_sinks.outlet import SinkFailed, TooLarge
from sds.server.secrets.hook import sign
from tests.contract.audit_sinks.items import CLOCK, leaves
from tests.fakes.receivers import http_receiver


def hook(url: str, seconds: float = 10.0) -> HttpOutlet:
    return HttpOutlet(HttpPlace(url, seconds), Webhook("siem", Masked(b"k" * 32), CLOCK.now))


async def test_a_webhook_is_signed_as_calls_to_the_server_are() -> None:
    async with http_receiver() as receiver:
        out = hook(receiver.url)
        items = [*leaves(3), Signed(3, "n\n")]
        await out.deliver(items)
        await out.deliver(leaves(1, 3))
        await out.close()
    (headers, body), _ = receiver.requests
    assert json.loads(body) == {"sink": "siem", "items": [json.loads(line(item)) for item in items]}
    assert headers["x-sds-signature"] == sign(Masked(b"k" * 32), headers["x-sds-time"], body)
    assert abs(int(headers["x-sds-time"]) - CLOCK.now().timestamp()) < 600
    assert headers["content-type"] == "application/json"


@pytest.mark.parametrize("status", [500, 503, 429, 404, 301])
async def test_whatever_a_webhook_answers_but_yes_is_a_failure(status: int) -> None:
    async with http_receiver() as receiver:
        receiver.status = status
        out = hook(receiver.url)
        with pytest.raises(SinkFailed, match=str(status)):
            await out.deliver(leaves(1))
        receiver.status = 200
        await out.deliver(leaves(1))
        await out.close()


async def test_a_webhook_that_hangs_or_is_away_or_too_small() -> None:
    async with http_receiver() as receiver:
        receiver.status = 0
        out = hook(receiver.url, 0.3)
        with pytest.raises(SinkFailed, match="has not answered"):
            await out.deliver(leaves(1))
        receiver.status, receiver.most = 200, 1000
        with pytest.raises(TooLarge):
            await out.deliver(leaves(100))
        receiver.answer = b"x" * 100_000
        with pytest.raises(SinkFailed, match="more than"):
            await out.deliver(leaves(1))
    with pytest.raises(SinkFailed, match="cannot be reached: Connection refused"):
        await out.deliver(leaves(1))
    await out.close()


async def test_otlp_is_what_opentelemetry_reads() -> None:
    async with http_receiver() as receiver:
        place = HttpPlace(receiver.url, 10.0, bearer=Masked(b"token"))
        out = HttpOutlet(place, Otlp("s", "host", CLOCK.now))
        await out.deliver([*leaves(3), Signed(3, "n\n")])
        (headers, body) = receiver.requests[0]
        assert headers["content-type"] == "application/x-protobuf"
        assert headers["authorization"] == "Bearer token"
        assert "token" not in repr(place)
        request = ExportLogsServiceRequest.FromString(body)
        records = request.resource_logs[0].scope_logs[0].log_records
        assert [record.event_name for record in records] == ["test.change"] * 3 + ["audit.checkpoint"]
        partial = ExportLogsPartialSuccess(rejected_log_records=1, error_message="no")
        receiver.answer = ExportLogsServiceResponse(partial_success=partial).SerializeToString()
        await out.deliver(leaves(1))  # must not be sent again
        receiver.answer = b"<html>"
        with pytest.raises(SinkFailed, match="not of OTLP"):
            await out.deliver(leaves(1))
        await out.close()
