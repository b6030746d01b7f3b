"""Values go in over a real Unix socket and never come out."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sds.admin.gate import Limits
from sds.secrets.secret import KvSource, SecretState, VersionInfo
from tests.fakes.admin_server import Running
from tests.fakes.clock import EPOCH
from tests.unit.admin.secrets.conftest import CANARY, KV, ONE, SECRET, WEB, value
from tests.unit.admin.test_hostile import JSON, check_problem


async def test_a_value_goes_in_and_never_comes_out(
    http: httpx.AsyncClient, running: Running, made: dict[str, Any], logs: list[Any]
) -> None:
    answers = [
        await http.put(f"{ONE}:value", json=value()),
        await http.put(f"{ONE}:value", json=value(CANARY + b"-2")),
        await http.get(ONE),
        await http.get("/v1/secrets"),
        await http.get(f"{ONE}:versions"),
        await http.post(f"{ONE}:refresh"),
        await http.post(f"{ONE}:rollback", json={"version": 1}),
        await http.request("DELETE", ONE, params={"dry_run": "true"}),
        await http.delete(ONE),
    ]
    assert [each.status_code for each in answers] == [200] * len(answers)
    assert (answers[0].json()["version"], answers[1].json()["version"]) == ("1", "2")
    stored = running.fakes.secrets.values["orders/api-token"]
    assert [fields[""].reveal() for fields in stored] == [CANARY, CANARY + b"-2"]
    seen = "".join(each.text for each in answers) + repr(logs) + repr(running.fakes.audit.rows) + repr(stored)
    for form in (CANARY, base64.b64encode(CANARY)[:-2], CANARY.hex().encode()):
        assert form.decode() not in seen


BAD_VALUES: list[Any] = [
    None,
    [],
    "CANARY",
    {},
    {"fields": {}},
    {"fields": "CANARY"},
    {"fields": ["CANARY"]},
    {"fields": {"": "CANARY-no-base64"}},
    {"fields": {"": 7, "CANARY": 8}},
    {"fields": {"": None}},
    {"fields": {"": "Q0FOQVJZ=Q0FOQVJZ"}},
    {"fields": {"": ""}},
    {"fields": {"CANARY-as-a-name": "eA==", "CANARY2": "eA=="}},
    {"fields": {"": "AA=="}},  # a NUL
    {"fields": {"CANARY\x1b[31m": "eA==", "": "eA=="}},
    {"CANARY": "eA=="},
    {"value": "CANARY"},
    {"fields": {"": "eA=="}, "CANARY": 1},
    {"fields": {"": "eA=="}, "if_version": "CANARY"},
    {"fields": {"": "eA=="}, "if_version": True},
    {"fields": {"": "eA=="}, "if_version": -1},
    {"fields": {"": "eA=="}, "if_version": 2**64},
]


@pytest.mark.parametrize("body", BAD_VALUES, ids=range(len(BAD_VALUES)))
async def test_nothing_of_a_refused_value_is_repeated(
    http: httpx.AsyncClient, running: Running, made: dict[str, Any], logs: list[Any], body: Any
) -> None:
    """Not even a key: whoever writes the value where the name belongs would find it in the audit log."""
    answer = await http.put(f"{ONE}:value", content=json.dumps(body).encode(), headers=JSON)
    check_problem(answer, 422, "invalid")
    event = running.fakes.audit.rows[-1].event
    assert (event.action, event.outcome.value, event.target.id) == ("secret.put", "refused", "orders/api-token")
    assert "CANARY" not in repr(event) + repr(logs)
    assert running.fakes.secrets.values == {}


@pytest.mark.parametrize(
    "content", [b"CANARY", b'{"fields": {"": "CANARY', b"\xffCANARY", b'{"fields": {"CANARY": "", "CANARY": ""}}']
)
async def test_what_is_no_json_is_not_repeated(
    http: httpx.AsyncClient, running: Running, made: dict[str, Any], content: bytes
) -> None:
    check_problem(await http.put(f"{ONE}:value", content=content, headers=JSON), 400, "malformed-body")
    check_problem(await http.put(f"{ONE}:value", content=content), 415, "unsupported-media-type")
    assert "CANARY" not in repr(running.fakes.audit.rows)


async def test_a_value_that_is_too_large_is_refused_before_it_is_read(
    http: httpx.AsyncClient, running: Running, made: dict[str, Any]
) -> None:
    most = running.fakes.secrets.most_bytes
    assert most + 200_000 < Limits().body_bytes, "what every body may have is more"
    body = json.dumps(value(b"x" * (most + 200_000))).encode()
    check_problem(await http.put(f"{ONE}:value", content=body, headers=JSON), 413, "too-large")

    async def pieces() -> Any:
        for at in range(0, len(body), 4096):
            yield body[at : at + 4096]

    check_problem(await http.put(f"{ONE}:value", content=pieces(), headers=JSON), 413, "too-large")
    assert running.fakes.secrets.values == {}
    assert (await http.put(f"{ONE}:value", json=value(b"x" * most))).status_code == 200


async def test_put_compares_versions(http: httpx.AsyncClient, made: dict[str, Any]) -> None:
    assert (await http.put(f"{ONE}:value", json=value(if_version=0))).status_code == 200
    answer = await http.put(f"{ONE}:value", json=value(if_version=0))
    check_problem(answer, 412, "conflict")
    assert answer.json()["current_revision"] == 1
    assert (await http.put(f"{ONE}:value", json=value(if_version=1))).json()["version"] == "2"


async def test_what_lies_in_vault_is_written_there(http: httpx.AsyncClient, running: Running) -> None:
    await http.post("/v1/secrets", json=KV)
    answer = await http.put("/v1/secrets/from-vault:value", json=value())
    check_problem(answer, 422, "invalid")
    assert [each["field"] for each in answer.json()["problems"]] == ["source"]
    assert "Vault" in answer.json()["problems"][0]["problem"]


async def test_versions_and_rollback(http: httpx.AsyncClient, running: Running, made: dict[str, Any]) -> None:
    for number in range(3):
        await http.put(f"{ONE}:value", json=value(b"x%d" % number))
    versions = (await http.get(f"{ONE}:versions")).json()["versions"]
    assert [each["version"] for each in versions] == ["3", "2", "1"]
    assert {each["state"] for each in versions} == {"live"}
    back = await http.post(f"{ONE}:rollback", json={"version": 1})
    assert (back.json()["pinned"], back.json()["revision"]) == (1, 2)
    assert (await http.post(f"{ONE}:rollback", json={"version": None})).json()["pinned"] is None
    for bad in ({}, {"version": 9}, {"version": "1"}, {"version": 0}, {"version": 1.5}, {"version": 2**63}):
        check_problem(await http.post(f"{ONE}:rollback", json=bad), 422, "invalid")


async def test_a_destroyed_version_is_none_to_go_back_to(http: httpx.AsyncClient, running: Running) -> None:
    await http.post("/v1/secrets", json=KV)
    assert isinstance(running.fakes.secrets.named("from-vault").spec.source, KvSource)
    running.fakes.secrets.sources["from-vault"] = (VersionInfo("2"), VersionInfo("1", state="destroyed"))
    answer = await http.post("/v1/secrets/from-vault:rollback", json={"version": 1})
    check_problem(answer, 422, "invalid")
    assert "destroyed" in answer.json()["problems"][0]["problem"]


async def test_refresh_says_what_came_of_it(http: httpx.AsyncClient, running: Running, made: dict[str, Any]) -> None:
    since = EPOCH - timedelta(hours=1)
    running.fakes.secrets.answers["orders/api-token"] = SecretState(
        "4", EPOCH, EPOCH, None, "permission denied", "denied", since
    )
    state = (await http.post(f"{ONE}:refresh")).json()["state"]
    assert (state["version"], state["problem_code"], state["problem"]) == ("4", "denied", "permission denied")
    assert state["problem_since"] == "2025-12-31T23:00:00Z"
    assert running.fakes.audit.rows[-1].event.action == "secret.refresh"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
PARTS = [
    "name",
    "kind",
    "source",
    "owner",
    "labels",
    "refresh",
    "rotation",
    "fields",
    "if_version",
    "version",
    "secret",
]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(changes=st.dictionaries(st.sampled_from(PARTS), json_values, max_size=4))
def test_any_json_gets_an_answer_of_ours(running: Running, changes: dict[str, Any]) -> None:
    transport = httpx.HTTPTransport(uds=str(running.socket))
    with httpx.Client(transport=transport, base_url="http://sds") as client:
        client.post("/v1/secrets", json=SECRET)
        for method, path, base in (
            ("POST", "/v1/secrets", SECRET),
            ("PUT", ONE, SECRET),
            ("PUT", f"{ONE}:value", {}),
            ("POST", f"{ONE}:rollback", {}),
            ("POST", "/v1/grants", {"secret": "orders/api-token", "spiffe_id": WEB}),
            ("POST", "/v1/grants:check", {}),
        ):
            answer = client.request(method, path, content=json.dumps({**base, **changes}).encode(), headers=JSON)
            assert answer.status_code in (200, 201, 400, 404, 409, 422), answer.text
