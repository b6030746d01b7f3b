"""Ways round: a word in the wrong place, a key too many, an agent under another's name. Each was thought of once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sds.admin.once import SECRET_ANSWERS
from tests.contract.access.world import AGENT, World, serving, svid


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with serving(tmp_path, admin__four_eyes="revocation.mass,authority.revoke,audit.retention") as made:
        yield made


OLD = "2001-01-01T00:00:00Z"


async def _signing(world: World) -> str:
    found = (await world.node.admin.get("/v1/authorities")).json()["authorities"]
    return str(next(each["id"] for each in found if each["state"] == "active"))


async def test_no_dry_run_that_the_operation_does_not_hear_goes_past_four_eyes(world: World) -> None:
    admin, authority = world.client(await world.token()), await _signing(world)
    prune: dict[str, Any] = {"before": OLD, "dry_run": False}
    revoke: dict[str, Any] = {"kind": "authority", "value": authority, "dry_run": False}
    for path, body in (
        ("/v1/audit:prune?dry_run=true", prune),
        ("/v1/audit:prune?dry_run=false&dry_run=true", prune),
        ("/v1/revocations?dry_run=true", revoke),
        (f"/v1/authorities/{authority}:revoke", {"dry_run": True}),
        (f"/v1/authorities/{authority}:revoke", []),
        (f"/v1/authorities/{authority}:revoke?dry_run=true&dry_run=false", {}),
        (f"/v1/authorities/{authority}:revoke?dry_run=false&dry_run=true", {}),
        (f"/v1/authorities/{authority}:revoke?DRY_RUN=true", {}),
        (f"/v1/authorities/{authority}:revoke?dry_run=false", {"force": True}),
        (f"/v1/authorities/{authority}:revoke", None),
    ):
        answer = await admin.post(path, json=body)
        assert answer.status_code in {202, 422}, (path, answer.text)
    assert (await admin.post("/v1/audit:prune", json={**prune, "dry_run": True})).status_code == 200
    dry = await admin.post(f"/v1/authorities/{authority}:revoke?dry_run=true", json={})
    assert dry.status_code == 200
    assert not [each for each in await world.node.events("audit.prune") if each["outcome"] == "success"]
    assert not [each for each in await world.node.events("authority.revoke") if each["outcome"] == "success"]
    assert (await world.node.admin.get(f"/v1/authorities/{authority}")).json()["revoked"] is False


async def test_a_join_token_for_an_administrators_agent_is_for_administrators(world: World) -> None:
    """Whoever attests as that agent gets the identity of each entry below it."""
    await world.node.entry("/web")
    client = world.client(await world.token("operator"))
    agent = {"spiffe_id": AGENT}
    assert (await client.post("/v1/tokens", json=agent)).status_code == 201
    await world.node.entry("/admin/ci")
    await world.bind("spiffe://example.org/admin/ci", "admin")
    refused = await client.post("/v1/tokens", json=agent)
    assert (refused.status_code, refused.json()["type"]) == (403, "urn:sds:problem:forbidden"), refused.text
    assert [each["outcome"] for each in await world.node.events("token.create")] == ["success", "refused"]
    assert (await client.post("/v1/tokens", json={})).status_code == 201
    assert (await world.client(await world.token()).post("/v1/tokens", json=agent)).status_code == 201


async def test_nor_for_an_agent_that_is_one_itself(world: World) -> None:
    node = "spiffe://example.org/sds/agent/test/9"
    await world.bind(node, "auditor")
    client = world.client(await world.token("operator"))
    assert (await client.post("/v1/tokens", json={"spiffe_id": node})).status_code == 403


async def test_no_token_is_kept_with_the_answer_that_shows_it(world: World) -> None:
    """Not in the database, and not for a second time: whichever operation makes it."""
    admin = world.node.admin
    for path, body in (
        ("/v1/access/tokens:bootstrap", None),
        ("/v1/access/tokens", {"name": "t", "role": "viewer"}),
        ("/v1/tokens", {}),
        ("/v1/jwt:mint", {"audience": ["a"], "spiffe_id": "spiffe://example.org/web"}),
    ):
        headers = {"Idempotency-Key": path}
        made = await admin.post(path, json=body, headers=headers)
        assert made.status_code == 201, made.text
        again = await admin.post(path, json=body, headers=headers)
        assert (again.status_code, again.json()["type"]) == (409, "urn:sds:problem:idempotency-spent"), path
        secret = made.json()["token"]
        assert len(secret) > 20
        written = [file for file in world.node.folder.rglob("*") if file.is_file()]
        assert not [file for file in written if secret.encode() in file.read_bytes()]


async def test_whatever_answers_with_a_token_is_among_those_that_are_not_kept(world: World) -> None:
    described = (await world.node.admin.get("/v1/openapi.json")).json()
    schemas = described["components"]["schemas"]
    showing = set[str]()
    for operation in (each["post"] for each in described["paths"].values() if "post" in each):
        for answer in operation["responses"].values():
            named = answer.get("content", {}).get("application/json", {}).get("schema", {}).get("$ref", "")
            if "token" in schemas.get(named.rpartition("/")[2], {}).get("properties", {}):
                showing.add(operation["operationId"])
    assert showing == SECRET_ANSWERS


async def test_who_is_turned_away_does_not_fill_the_audit_log(world: World) -> None:
    """By requests that need no credentials at all, and by an identity without a role."""
    world.node.clock.stop()
    without, nobody = await svid(world, "/stranger"), world.client(**{"Sec-Fetch-Site": "cross-site"})
    for _ in range(30):
        assert (await nobody.post("/v1/entries", json={})).status_code == 403
    stranger = world.client(identity=without)
    for _ in range(5):
        assert (await stranger.get("/v1/entries")).status_code == 403
    told = [each for each in await world.node.events("admin.access") if each["outcome"] == "refused"]
    assert len(told) == 10
    assert await world.node.metric("sds_server_admin_turned_away_total", reason="origin") == 30
    assert await world.node.metric("sds_server_admin_turned_away_total", reason="role") == 5
    assert world.node.clock.stopped_at is not None
    world.node.clock.stopped_at += 6
    assert (await stranger.get("/v1/entries")).status_code == 403
    (last,) = (await world.node.events("admin.access"))[10:]
    assert (last["reason"], last["actor"]["id"]) == ("has no role", "spiffe://example.org/stranger")
