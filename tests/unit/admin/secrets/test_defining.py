"""Secrets over a real Unix socket: how they are defined, changed, found and deleted."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from sds.secrets.secret import SecretKind, SecretState
from tests.fakes.admin_server import Running
from tests.unit.admin.secrets.conftest import KV, ONE, SECRET, WEB
from tests.unit.admin.test_hostile import ENTRY, check_problem


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


@pytest.mark.parametrize(
    "name", ["CANARY none", "CANARY%00", "..%2fCANARY", "CANARY:x", "-CANARY", "CANARY%0a", "C" * 200]
)
async def test_what_is_no_secrets_name(http: httpx.AsyncClient, name: str) -> None:
    for method, action in (("GET", ""), ("DELETE", ""), ("POST", ":refresh"), ("GET", ":versions")):
        check_problem(await http.request(method, f"/v1/secrets/{name}{action}"), 404, "not-found")


async def test_the_description_of_the_api_has_all_of_it(http: httpx.AsyncClient) -> None:
    document = (await http.get("/v1/openapi.json")).json()
    assert "/v1/secrets/{name}:value" in document["paths"]
    assert {"SecretIn", "ValueIn", "GrantIn", "CheckIn", "RollbackIn"} <= document["components"]["schemas"].keys()
    assert {kind.value for kind in SecretKind} == set(
        document["components"]["schemas"]["SecretIn"]["properties"]["kind"]["enum"]
    )
