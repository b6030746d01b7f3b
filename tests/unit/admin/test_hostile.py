"""Bodies, headers and paths that nobody sends by accident: a clear answer, nothing echoed, the server unharmed."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sds.admin.gate import Limits
from tests.fakes.admin_server import Running

JSON = {"Content-Type": "application/json"}
ENTRY: dict[str, Any] = {
    "spiffe_id": "spiffe://example.org/web",
    "parent_id": "spiffe://example.org/sds/agent/one",
    "selectors": ["unix:uid:1000"],
}


def check_problem(answer: httpx.Response, status: int, code: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == f"urn:sds:problem:{code}"
    assert problem["status"] == status
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert "CANARY" not in answer.text


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"CANARY",
        b'{"spiffe_id": "CANARY',
        b"\xff\xfeCANARY",
        b'{"spiffe_id": "\xc3\x28CANARY"}',
        b'{"spiffe_id": "CANARY", "spiffe_id": "CANARY"}',
        b'{"x509_ttl": NaN, "CANARY": 1}',
        b'{"x509_ttl": -Infinity, "CANARY": 1}',
        b'{"hint": "\\ud800CANARY"}',
        b'{"\\udfffCANARY": 1}',
        b'{"x509_ttl": ' + b"1" * 5000 + b"}",
        b"[" * 100_000,
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        b'{"hint": "a\nCANARY"}',
        b"\x00" * 1000,
        b'{"a": 1}{"CANARY": 1}',
    ],
    ids=range(16),
)
async def test_malformed_bodies(http: httpx.AsyncClient, running: Running, body: bytes) -> None:
    answer = await http.post("/v1/entries", content=body, headers=JSON)
    check_problem(answer, 400, "malformed-body")
    refused = running.fakes.audit.rows[-1].event
    assert (refused.action, refused.outcome.value) == ("entry.create", "refused")
    assert "CANARY" not in repr(refused)


@pytest.mark.parametrize("body", [b"null", b"1", b'"CANARY"', b"[]", b"true", b'["CANARY"]'])
async def test_json_of_the_wrong_shape(http: httpx.AsyncClient, body: bytes) -> None:
    for path in ("/v1/entries", "/v1/entries:apply", "/v1/tokens", "/v1/agents/spiffe://example.org/a/ban"):
        answer = await http.post(path, content=body, headers=JSON)
        check_problem(answer, 422, "invalid")
        assert [each["field"] for each in answer.json()["problems"]] == ["body"]


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "CANARY"]
)
async def test_only_json_is_read(http: httpx.AsyncClient, content_type: str) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    answer = await http.post("/v1/entries", content=json.dumps(ENTRY).encode(), headers=headers)
    check_problem(answer, 415, "unsupported-media-type")


async def test_json_may_have_parameters(http: httpx.AsyncClient) -> None:
    answer = await http.post(
        "/v1/entries", content=json.dumps(ENTRY), headers={"Content-Type": "Application/JSON; charset=utf-8"}
    )
    assert answer.status_code == 201


async def test_a_huge_body_is_refused_whether_declared_or_not(http: httpx.AsyncClient, running: Running) -> None:
    running.reset(limits=Limits(body_bytes=1000))
    big = json.dumps({**ENTRY, "hint": "CANARY" * 1000}).encode()
    check_problem(await http.post("/v1/entries", content=big, headers=JSON), 413, "too-large")

    async def chunks() -> Any:
        for at in range(0, len(big), 100):
            yield big[at : at + 100]

    check_problem(await http.post("/v1/entries", content=chunks(), headers=JSON), 413, "too-large")
    assert (await http.post("/v1/entries", json=ENTRY)).status_code == 201


async def test_keys_are_named_only_if_they_are_plain(http: httpx.AsyncClient) -> None:
    body = {**ENTRY, "x509_tll": 1, "CANARY secret\n\x1b[31m": 1}
    answer = await http.post("/v1/entries", json=body)
    check_problem(answer, 422, "invalid")
    assert [each["field"] for each in answer.json()["problems"]] == ["x509_tll", "?"]


@pytest.mark.parametrize(
    "path",
    [
        "/index.html",
        "/v1",
        "/v1/",
        "/v1//entries",
        "/v1/%2e%2e/v1/entries",
        "/v1/entriesx",
        "/docs",
        "/redoc",
    ],
)
async def test_unknown_paths(http: httpx.AsyncClient, path: str) -> None:
    check_problem(await http.get(httpx.URL("http://sds", raw_path=path.encode())), 404, "no-such-path")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PATCH", "/v1/entries", "GET, POST"),
        ("POST", "/v1/bundle", "GET"),
        ("DELETE", "/v1/audit", "GET"),
        ("QUERY", "/v1/kek:rotate", "POST"),
        ("TRACE", "/v1/entries/x", "DELETE, GET, PUT"),
    ],
)
async def test_methods(http: httpx.AsyncClient, method: str, path: str, allow: str) -> None:
    answer = await http.request(method, path)
    check_problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == allow


@pytest.mark.parametrize(
    "agent_id",
    ["CANARY", "spiffe://", "spiffe:%2f%2fexample.org%2fCANARY%2f..%2fx", "..%2f..%2fCANARY"],
)
async def test_what_is_no_agent_id(http: httpx.AsyncClient, agent_id: str) -> None:
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/ban")):
        check_problem(await http.request(method, f"/v1/agents/{agent_id}{path}"), 422, "invalid")


@pytest.mark.parametrize("path", ["/v1/agents/%00CANARY", "/v1/agents/spiffe://example.org/a%0a", "/v1/entries/a%1b"])
async def test_control_characters_in_a_path(http: httpx.AsyncClient, path: str) -> None:
    for method in ("GET", "DELETE"):
        check_problem(await http.request(method, path), 404, "not-found")


@pytest.mark.parametrize("given_id", ["0123456789abcdef", "a.b-c_d8", "x" * 64])
async def test_a_well_formed_request_id_is_kept(http: httpx.AsyncClient, running: Running, given_id: str) -> None:
    answer = await http.post("/v1/entries", json=ENTRY, headers={"X-Request-Id": given_id})
    assert answer.headers["x-request-id"] == given_id
    assert running.fakes.audit.rows[-1].event.request_id == given_id


@pytest.mark.parametrize("given_id", ["short", "x" * 65, "has space in it", "a;b<script>", "ünïcödé-ïd", ""])
async def test_any_other_request_id_is_replaced(http: httpx.AsyncClient, given_id: str) -> None:
    answer = await http.get("/v1/entries", headers={"X-Request-Id": given_id.encode()})
    made = answer.headers["x-request-id"]
    assert len(made) == 32
    assert made != given_id


async def test_two_request_ids_are_none(http: httpx.AsyncClient) -> None:
    headers = [("X-Request-Id", "0123456789"), ("X-Request-Id", "9876543210")]
    answer = await http.get("/v1/entries", headers=headers)
    assert len(answer.headers["x-request-id"]) == 32


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /v1/entries HTTP/1.1\r\nHost: x\r\nX-A: a\r\n b\r\n\r\n",
        b"GET /v1/../v1/entries HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/entries HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /v1/entries HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/entries HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/entries HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 6\r\n\r\nhello",
        b"GET /v1/ent\xff\xferies HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://evil.example/v1/entries HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/entries HTTP/1.1\r\nHost: x\r\nX-Request-Id: a\x00bcdefgh\r\n\r\n",
    ],
    ids=range(10),
)
async def test_raw_bytes_leave_the_server_well(http: httpx.AsyncClient, running: Running, request_bytes: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(5)
        raw.connect(str(running.socket))
        raw.sendall(request_bytes)
        raw.shutdown(socket.SHUT_WR)
        answer = b""
        while part := raw.recv(65536):
            answer += part
    assert b"HTTP/1.1 5" not in answer
    assert running.fakes.entries.rows == {}
    assert (await http.get("/v1/entries")).status_code == 200


async def test_a_client_that_resets_in_the_middle_of_its_body(http: httpx.AsyncClient, running: Running) -> None:
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(str(running.socket))
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raw.sendall(
            b"POST /v1/entries HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
        )
    assert (await http.get("/v1/entries")).status_code == 200
    assert running.fakes.entries.rows == {}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
fields = st.sampled_from(
    ["spiffe_id", "parent_id", "selectors", "x509_ttl", "dns_names", "hint", "owner", "labels", "expires_at", "id"]
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(changes=st.dictionaries(fields, json_values, max_size=4))
def test_any_json_gets_an_answer_of_ours(running: Running, changes: dict[str, Any]) -> None:
    transport = httpx.HTTPTransport(uds=str(running.socket))
    with httpx.Client(transport=transport, base_url="http://sds") as client:
        body = json.dumps({**ENTRY, **changes}).encode()
        for method, path in (("POST", "/v1/entries"), ("PUT", "/v1/entries/none")):
            answer = client.request(method, path, content=body, headers=JSON)
            assert answer.status_code in (200, 201, 400, 404, 409, 422), answer.text
        wrapped = client.post("/v1/entries:apply", json={"entries": [1], "dry_run": True})
        assert wrapped.status_code == 422
