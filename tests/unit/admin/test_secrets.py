"""Secrets and grants over a real Unix socket: what is defined and granted, and values that go in and never come out."""

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
from sds.secrets.secret import KvSource, SecretKind, SecretState, VersionInfo
from tests.fakes.admin_server import Running
from tests.fakes.clock import EPOCH
from tests.unit.admin.test_hostile import ENTRY, JSON, check_problem

CANARY = b"CANARY-of-a-value"
SECRET: dict[str, Any] = {
    "name": "orders/api-token",
    "kind": "generic",
    "owner": "team-orders",
    "labels": {"env": "prod"},
}
KV: dict[str, Any] = {
    "name": "from-vault",
    "kind": "generic",
    "source": {"backend": "kv", "mount": "secret", "path": "apps/orders", "fields": {"": "token"}},
}
ONE = "/v1/secrets/orders/api-token"
WEB = "spiffe://example.org/web"


def value(raw: bytes = CANARY, name: str = "", **more: Any) -> dict[str, Any]:
    return {"fields": {name: base64.b64encode(raw).decode()}, **more}


@pytest.fixture
async def made(http: httpx.AsyncClient) -> dict[str, Any]:
    answer = await http.post("/v1/secrets", json=SECRET)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_create_show_and_list(http: httpx.AsyncClient, running: Running, made: dict[str, Any]) -> None:
    assert (made["revision"], made["source"], made["pinned"]) == (1, {"backend": "embedded"}, None)
    again = await http.post("/v1/secrets", json=SECRET)
    assert (again.status_code, again.json()) == (200, made)
    assert again.headers["location"] == ONE
    running.fakes.secrets.watchers["orders/api-token"] = 3
    shown = await http.get(ONE)
    assert shown.headers["etag"] == '"1"'
    assert shown.json() == {**made, "watchers": 3, "granted": []}
    await http.post("/v1/secrets", json=KV)
    listed = (await http.get("/v1/secrets", params={"limit": 1})).json()
    assert [each["name"] for each in listed["secrets"]] == ["from-vault"]
    rest = (await http.get("/v1/secrets", params={"limit": 1, "cursor": listed["next_cursor"]})).json()
    assert ([each["name"] for each in rest["secrets"]], rest["next_cursor"]) == (["orders/api-token"], None)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"prefix": "orders/"}, 1),
        ({"prefix": "order/"}, 0),
        ({"kind": "generic"}, 2),
        ({"kind": "map"}, 0),
        ({"backend": "kv"}, 1),
        ({"owner": "team-orders"}, 1),
        ({"label": "env=prod"}, 1),
        ({"label": ["env=prod", "a=b"]}, 0),
        ({"problem": "true"}, 1),
        ({"problem": "false"}, 1),
    ],
)
async def test_filters(
    http: httpx.AsyncClient, running: Running, made: dict[str, Any], query: dict[str, Any], found: int
) -> None:
    await http.post("/v1/secrets", json=KV)
    running.fakes.secrets.states["from-vault"] = SecretState(problem="no such path", problem_code="missing")
    assert len((await http.get("/v1/secrets", params=query)).json()["secrets"]) == found


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": ...}, "name"),
        ({"name": "default"}, "name"),
        ({"name": "spiffe://example.org/web"}, "name"),
        ({"name": "a:b"}, "name"),
        ({"name": "a//b"}, "name"),
        ({"name": "x" * 129}, "name"),
        ({"kind": "password"}, "kind"),
        ({"source": {"backend": "kv", "mount": "secret"}}, "source.path"),
        ({"source": {"backend": "embedded", "path": "x"}}, "source.path"),
        ({"source": {"backend": "database", "mount": "d", "role": "r", "ttl": "1h"}}, "source.ttl"),
        ({"source": {"backend": "kv", "mount": "sys", "path": "x"}}, "source.mount"),
        ({"source": {"backend": "kv", "mount": "secret", "path": "../x"}}, "source.path"),
        ({"source": {"backend": "aws"}}, "source.backend"),
        ({"refresh": "0s"}, "refresh"),
        ({"rotation": {"every": "1s"}}, "rotation.every"),
        ({"rotation": {"generate": 3}}, "rotation.generate"),
        ({"value": "x"}, "value"),
    ],
)
async def test_what_cannot_be_defined(
    http: httpx.AsyncClient, running: Running, changes: dict[str, Any], field: str
) -> None:
    body = {key: each for key, each in {**SECRET, **changes}.items() if each is not ...}
    answer = await http.post("/v1/secrets", json=body)
    check_problem(answer, 422, "invalid")
    assert field in [each["field"] for each in answer.json()["problems"]]
    assert running.fakes.secrets.rows == {}
    event = running.fakes.audit.rows[-1].event
    assert (event.action, event.outcome.value) == ("secret.create", "refused")


async def test_every_source_comes_back_as_it_was_given(http: httpx.AsyncClient) -> None:
    sources = [
        ("generic", {"backend": "embedded"}),
        ("generic", KV["source"]),
        ("map", {"backend": "database", "mount": "database", "role": "readonly"}),
        (
            "certificate",
            {
                "backend": "pki",
                "mount": "pki/gw",
                "role": "gateway",
                "common_name": "gw.example.org",
                "dns_names": ["a.example.org"],
                "ttl": 3600,
            },
        ),
    ]
    for number, (kind, source) in enumerate(sources):
        answer = await http.post("/v1/secrets", json={"name": f"s{number}", "kind": kind, "source": source})
        assert (answer.status_code, answer.json()["source"]) == (201, source)
        # What was given out may be given back.
        shown = (await http.get(f"/v1/secrets/s{number}")).json()
        assert (await http.put(f"/v1/secrets/s{number}", json=shown)).json() == shown


async def test_update_compares_revisions(http: httpx.AsyncClient, made: dict[str, Any]) -> None:
    changed = {**SECRET, "owner": "others"}
    stale = await http.put(ONE, json=changed, headers={"If-Match": '"7"'})
    check_problem(stale, 412, "conflict")
    assert stale.json()["current_revision"] == 1
    done = await http.put(ONE, json=changed, headers={"If-Match": '"1"'})
    assert (done.json()["owner"], done.json()["revision"], done.headers["etag"]) == ("others", 2, '"2"')
    check_problem(await http.put(ONE, json={**changed, "revision": 1}), 412, "conflict")
    check_problem(
        await http.put(ONE, json={**changed, "revision": 1}, headers={"If-Match": '"2"'}), 400, "bad-precondition"
    )
    check_problem(await http.put(ONE, json={**changed, "id": "another"}), 422, "invalid")
    renamed = await http.put(ONE, json={**changed, "name": "renamed"})
    assert renamed.json()["id"] == made["id"]
    check_problem(await http.get(ONE), 404, "not-found")


async def test_a_name_stands_for_one_secret(http: httpx.AsyncClient, made: dict[str, Any]) -> None:
    check_problem(await http.post("/v1/secrets", json={**SECRET, "kind": "map"}), 409, "already-exists")
    await http.post("/v1/secrets", json=KV)
    check_problem(await http.put("/v1/secrets/from-vault", json=SECRET), 409, "already-exists")


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


async def test_delete_says_who_loses_it(http: httpx.AsyncClient, running: Running, made: dict[str, Any]) -> None:
    await http.post("/v1/entries", json=ENTRY)
    await http.post("/v1/grants", json={"secret": "orders/api-token", "spiffe_id": WEB})
    planned = (await http.delete(ONE, params={"dry_run": "true"})).json()
    assert planned["dry_run"] is True
    assert [each["spiffe_id"] for each in planned["entries"]] == [WEB]
    assert (planned["entries_total"], planned["versions"]) == (1, 0)
    check_problem(await http.delete(ONE, params={"dry_run": "perhaps"}), 422, "invalid")
    check_problem(await http.delete(ONE, headers={"If-Match": '"9"'}), 412, "conflict")
    assert (await http.delete(ONE)).json() == {**planned, "dry_run": False}
    check_problem(await http.delete(ONE), 404, "not-found")
    assert (await http.get("/v1/grants")).json()["grants"] == []


async def test_grants(http: httpx.AsyncClient, running: Running, made: dict[str, Any]) -> None:
    await http.post("/v1/entries", json={**ENTRY, "labels": {"env": "prod"}})
    subjects: list[dict[str, Any]] = [
        {"spiffe_id": WEB},
        {"spiffe_id_prefix": "spiffe://example.org/web"},
        {"labels": {"env": "prod"}},
        {"spiffe_id": "spiffe://example.org/nobody"},
    ]
    ids = []
    for subject, reached in zip(subjects, (1, 1, 1, 0), strict=True):
        answer = await http.post("/v1/grants", json={"secret": "orders/api-token", **subject})
        assert answer.status_code == 201, answer.text
        grant = answer.json()
        expected = {"spiffe_id": None, "spiffe_id_prefix": None, "labels": {}, **subject}
        assert {name: grant[name] for name in expected} == expected
        assert grant["entries"] == reached
        assert (await http.post("/v1/grants", json={"secret": "orders/api-token", **subject})).status_code == 200
        ids.append(grant["id"])
    assert [each["id"] for each in (await http.get("/v1/grants")).json()["grants"]] == ids
    of_web = (await http.get("/v1/grants", params={"spiffe_id": WEB})).json()["grants"]
    assert [each["id"] for each in of_web] == ids[:3]
    of_secret = (await http.get("/v1/grants", params={"secret": "orders/api-token", "limit": 3})).json()
    assert len(of_secret["grants"]) == 3
    assert of_secret["next_cursor"]
    shown = (await http.get(ONE)).json()
    assert (shown["grants"], [each["id"] for each in shown["granted"]]) == (4, ids)
    for grant_id in ids:
        assert (await http.delete(f"/v1/grants/{grant_id}")).json()["id"] == grant_id
        check_problem(await http.delete(f"/v1/grants/{grant_id}"), 404, "not-found")
    actions = [row.event.action for row in running.fakes.audit.rows if row.event.outcome.value == "success"]
    assert actions.count("grant.create") == actions.count("grant.delete") == 4


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({}, "spiffe_id"),
        ({"spiffe_id": WEB, "labels": {"a": "b"}}, "spiffe_id"),
        ({"spiffe_id": "web"}, "spiffe_id"),
        ({"spiffe_id": "spiffe://other.example/web"}, "spiffe_id"),
        ({"spiffe_id_prefix": "spiffe://example.org/sds/agent"}, "spiffe_id_prefix"),
        ({"spiffe_id_prefix": "spiffe://example.org/web/"}, "spiffe_id_prefix"),
        ({"labels": {}}, "spiffe_id"),
        ({"labels": {"": "x"}}, "labels"),
        ({"labels": {"a": 1}}, "labels.a"),
        ({"labels": {f"k{n}": "v" for n in range(100)}}, "labels"),
        ({"to": WEB}, "to"),
    ],
)
async def test_what_cannot_be_granted(
    http: httpx.AsyncClient, running: Running, made: dict[str, Any], changes: dict[str, Any], field: str
) -> None:
    answer = await http.post("/v1/grants", json={"secret": "orders/api-token", **changes})
    check_problem(answer, 422, "invalid")
    assert field in [each["field"] for each in answer.json()["problems"]]
    assert running.fakes.secrets.grants == {}


async def test_check(http: httpx.AsyncClient, made: dict[str, Any]) -> None:
    entry = (await http.post("/v1/entries", json=ENTRY)).json()
    await http.post("/v1/secrets", json=KV)
    await http.post("/v1/grants", json={"secret": "orders/api-token", "spiffe_id_prefix": WEB})

    async def check(**order: Any) -> list[tuple[str, str, str | None]]:
        answer = (await http.post("/v1/grants:check", json=order)).json()
        assert answer["total"] == len(answer["allowed"])
        return [(each["secret"], each["spiffe_id"], each["entry_id"]) for each in answer["allowed"]]

    may = [("orders/api-token", WEB, entry["id"])]
    assert await check(secret="orders/api-token") == may
    assert await check(spiffe_id=WEB) == may
    assert await check(entry_id=entry["id"]) == may
    assert await check(secret="orders/api-token", spiffe_id=WEB) == may
    assert await check(secret="from-vault") == []
    assert await check(spiffe_id=WEB + "site") == [], "a prefix has whole segments"
    assert await check(spiffe_id=WEB + "/admin") == [("orders/api-token", WEB + "/admin", None)]
    check_problem(await http.post("/v1/grants:check", json={}), 422, "invalid")
    check_problem(await http.post("/v1/grants:check", json={"spiffe_id": WEB, "entry_id": "x"}), 422, "invalid")
    check_problem(await http.post("/v1/grants:check", json={"entry_id": "none"}), 404, "not-found")


@pytest.mark.parametrize(
    "name", ["CANARY none", "CANARY%00", "..%2fCANARY", "CANARY:x", "-CANARY", "CANARY%0a", "C" * 200]
)
async def test_what_is_no_secrets_name(http: httpx.AsyncClient, name: str) -> None:
    for method, action in (("GET", ""), ("DELETE", ""), ("POST", ":refresh"), ("GET", ":versions")):
        check_problem(await http.request(method, f"/v1/secrets/{name}{action}"), 404, "not-found")


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


async def test_the_description_of_the_api_has_all_of_it(http: httpx.AsyncClient) -> None:
    document = (await http.get("/v1/openapi.json")).json()
    assert "/v1/secrets/{name}:value" in document["paths"]
    assert {"SecretIn", "ValueIn", "GrantIn", "CheckIn", "RollbackIn"} <= document["components"]["schemas"].keys()
    assert {kind.value for kind in SecretKind} == set(
        document["components"]["schemas"]["SecretIn"]["properties"]["kind"]["enum"]
    )
