"""What sinks are sent, byte for byte: events as they are hashed, and nothing that breaks out of its place."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca.masked import Masked
from sds._pb.sds.otlp.v1.logs_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from sds.audit.canonical import canonical_bytes
from sds.audit.event import Actor, ActorKind, AuditEvent, Outcome, Target
from sds.audit.sinks import otlp, webhook
from sds.audit.sinks.items import UNREADABLE, Leaf, Signed, line, seen
from sds.audit.sinks.syslog import MIN_BYTES, SyslogFormat, framed, message

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
FORM = SyslogFormat("audit", 32473, 8192, "host-1")
NASTY = '\r\n\x00\x07\x1b[2J\x7f\x85\u2028\u2029 "]\\ <34>1 - é \U0001f600'
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


def event(**changes) -> AuditEvent:
    values = {
        "id": "0" * 32,
        "time": NOW,
        "action": "entry.create",
        "outcome": Outcome.SUCCESS,
        "actor": Actor(ActorKind.ADMIN, "uid:0", "10.0.0.9"),
        "target": Target("entry", "e1"),
        "node": "node-1",
        "request_id": "r1",
        "details": {"a": 1},
    }
    return AuditEvent(**{**values, **changes})


def leaf(**changes) -> Leaf:
    return Leaf(7, 9, canonical_bytes(event(**changes)))


def test_a_line_has_the_event_byte_for_byte_as_it_is_hashed() -> None:
    one = leaf(reason=NASTY)
    made = line(one)
    assert made == b'{"event":' + one.canonical + b',"leaf":7,"sequence":9}'
    assert json.loads(made)["event"]["reason"] == NASTY
    assert b"\n" not in made and b"\r" not in made


def test_lines_of_checkpoints_and_of_events_that_are_gone() -> None:
    assert line(Signed(8, "o\n8\nAA==\n\n— o AA==\n")) == (
        b'{"checkpoint":{"note":"o\\n8\\nAA==\\n\\n\\u2014 o AA==\\n","size":8}}'
    )
    assert line(Leaf(7, 9, None)) == b'{"event":null,"leaf":7,"sequence":9}'


@pytest.mark.parametrize(
    "altered", [b"", b"[]", b"{", b'{"a":1}\n{"event":2}', b"\xff", b"[" * 100_000, b'"x"', '{"a":1}'.encode("utf-16")]
)
def test_bytes_that_somebody_has_put_in_place_of_an_event_break_no_line(altered: bytes) -> None:
    one = Leaf(7, 9, altered)
    assert line(one) == b'{"event":null,"leaf":7,"sequence":9}'
    assert seen(one) == UNREADABLE
    assert b"audit.unreadable" in message(one, FORM, NOW)


def test_an_altered_event_with_half_a_surrogate_pair_goes_through_every_format() -> None:
    document = json.loads(canonical_bytes(event()))
    document["reason"] = document["target"]["id"] = document["node"] = "\ud800"
    one = Leaf(7, 9, json.dumps(document).encode())
    assert '"' in message(one, FORM, NOW).decode()
    request = ExportLogsServiceRequest.FromString(otlp.request([one], "1", "h", NOW))
    assert len(request.resource_logs[0].scope_logs[0].log_records) == 1
    assert "\ud800" not in str(json.loads(webhook.body("s", [one])))


def test_a_syslog_message_is_as_in_rfc_5424() -> None:
    one = leaf()
    assert message(one, FORM, NOW) == (
        b"<110>1 2026-01-02T03:04:05.678901Z node-1 sds - entry.create "
        b'[sds@32473 leaf="7" sequence="9" id="00000000000000000000000000000000" outcome="success" actor="uid:0" '
        b'address="10.0.0.9" target="e1" kind="entry" request="r1"] \xef\xbb\xbf' + line(one)
    )
    assert message(Signed(3, "n\n"), FORM, NOW) == (
        b"<110>1 2026-01-02T03:04:05.678901Z host-1 sds - audit.checkpoint "
        b'[sds@32473 checkpoint="3"] \xef\xbb\xbf{"checkpoint":{"note":"n\\n","size":3}}'
    )


@pytest.mark.parametrize(("outcome", "priority"), [("success", 110), ("refused", 108), ("failure", 107)])
def test_the_outcome_is_the_severity(outcome: str, priority: int) -> None:
    assert message(leaf(outcome=Outcome(outcome)), FORM, NOW).startswith(b"<%d>1 " % priority)


def test_values_of_structured_data_are_escaped() -> None:
    made = message(leaf(target=Target("entry", 'a"b\\c]d\ne')), FORM, NOW)
    assert b' target="a\\"b\\\\c\\]d?e" ' in made


def test_an_event_that_is_too_large_is_sent_without_it_and_says_so() -> None:
    one = leaf(details={"text": "x" * 100_000})
    made = message(one, FORM, NOW)
    assert len(made) <= MIN_BYTES
    assert f'left_out="{len(line(one))}"]'.encode() in made
    assert made.endswith(b"]")


_HEADER = re.compile(rb"<\d{1,3}>1 (?:-|[0-9T:.-]+Z) ([!-~]{1,255}) sds - ([!-~]{1,32}) (\[sds@\d+.*)", re.DOTALL)


@given(TEXTS, TEXTS, TEXTS, st.sampled_from([2048, 4096, 65536]))
def test_nothing_breaks_out_of_a_syslog_message(one: str, two: str, three: str, limit: int) -> None:
    form = SyslogFormat("local7", 2**32 - 1, limit, one)
    item = leaf(
        actor=Actor(ActorKind.ADMIN, one, two), target=Target(three, two), reason=three, node=one, request_id=two,
        action=three, details={"x": one * 20},
    )  # fmt: skip
    made = message(item, form, NOW)
    assert len(made) <= limit
    found = _HEADER.fullmatch(made)
    assert found
    assert not re.search(rb"[\x00-\x1f]", made)
    element = re.match(rb'\[sds@\d+(?: [a-z_]+="(?:[^"\\\]]|\\["\\\]])*")*\]', found[3])
    assert element
    assert b"\x7f" not in element[0]
    rest = found[3][element.end() :]
    assert rest in (b"", b" \xef\xbb\xbf" + line(item))
    made.decode()
    assert framed(made) == str(len(made)).encode() + b" " + made


def test_a_webhook_is_signed_over_time_and_body() -> None:
    key = Masked(b"k" * 32)
    content = webhook.body("siem", [leaf(), Signed(8, "n\n")])
    assert json.loads(content) == {
        "sink": "siem",
        "items": [json.loads(line(leaf())), {"checkpoint": {"note": "n\n", "size": 8}}],
    }
    headers = webhook.signed_headers(key, 1_700_000_000, content)
    wanted = hmac.new(b"k" * 32, b"1700000000." + content, hashlib.sha256).hexdigest()
    assert headers["X-SDS-Time"] == "1700000000"
    assert headers["X-SDS-Signature"] == f"sha256={wanted}"
    assert headers["X-SDS-Delivery"] == hashlib.sha256(content).hexdigest()[:32]


def test_otlp_records() -> None:
    one = leaf(outcome=Outcome.REFUSED, reason=NASTY)
    request = ExportLogsServiceRequest.FromString(otlp.request([one, Signed(8, "n\n")], "1.2", "host-1", NOW))
    (logs,) = request.resource_logs
    assert {each.key: each.value.string_value for each in logs.resource.attributes} == {
        "service.name": "sds-server",
        "service.version": "1.2",
        "host.name": "host-1",
    }
    first, second = logs.scope_logs[0].log_records
    assert first.time_unix_nano == int(NOW.timestamp()) * 10**9 + 678901000
    assert (first.severity_number, first.severity_text, first.event_name) == (13, "WARN", "entry.create")
    assert first.body.string_value.encode() == line(one)
    found = {each.key: each.value for each in first.attributes}
    assert found["audit.leaf"].int_value == 7
    assert found["audit.reason"].string_value == NASTY
    assert second.event_name == "audit.checkpoint"
    assert second.body.string_value == "n\n"


def test_otlp_is_as_opentelemetrys_own_messages_write_it() -> None:
    """The vector: opentelemetry-proto 1.45.2 read these bytes, knew all of their fields, and wrote them the same again."""
    vector = bytes.fromhex((Path(__file__).parent / "otlp_request.hex").read_text())
    assert otlp.request([leaf(), Signed(8, "n\n")], "1.2", "host-1", NOW) == vector
    with pytest.raises(otlp.Rejected, match="3 log records"):
        otlp.check_answer(bytes.fromhex("0a06080312026e6f"))  # by the same: three rejected, "no"


def test_the_answer_of_an_otlp_receiver_is_read() -> None:
    otlp.check_answer(b"")
    otlp.check_answer(ExportLogsServiceResponse().SerializeToString())
    partial = ExportLogsServiceResponse(partial_success=ExportLogsPartialSuccess(rejected_log_records=3))
    with pytest.raises(otlp.Rejected, match="3 log records"):
        otlp.check_answer(partial.SerializeToString())
    with pytest.raises(otlp.NotAnAnswer):
        otlp.check_answer(b"<html>")


@given(st.dictionaries(st.text(st.characters(codec="ascii"), max_size=8), TEXTS, max_size=4), TEXTS)
def test_every_event_survives_every_format(details: dict[str, str], text: str) -> None:
    one = leaf(details=details, reason=text, request_id=text)
    assert json.loads(line(one))["event"]["details"] == details
    assert json.loads(webhook.body("s", [one]))["items"][0]["event"]["reason"] == text
    request = ExportLogsServiceRequest.FromString(otlp.request([one], "1", "h", NOW))
    assert request.resource_logs[0].scope_logs[0].log_records[0].body.string_value.encode() == line(one)


def test_the_note_stays_as_it_is_in_a_line() -> None:
    text = f"o\n3\n{base64.b64encode(bytes(32)).decode()}\n\n— o AAAA\n"
    assert json.loads(line(Signed(3, text)))["checkpoint"]["note"] == text
