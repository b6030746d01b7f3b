"""Grants over a real Unix socket: who gets which secret, and why one does not."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.fakes.admin_server import Running
from tests.unit.admin.secrets.conftest import KV, ONE, WEB
from tests.unit.admin.test_hostile import ENTRY, check_problem


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
