"""Four eyes: what was chosen waits for somebody else, and is then done once, exactly as it was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from tests.contract.access.world import World, serving, svid

VICTIM = "spiffe://example.org/sds/agent/test/2"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with serving(tmp_path, admin__four_eyes="revocation.mass,authority.revoke") as made:
        await made.node.attest(VICTIM)
        yield made


def mass(**more: object) -> dict[str, object]:
    return {"kind": "agent", "value": VICTIM, "dry_run": False, **more}


async def ask(client: httpx.AsyncClient, **more: object) -> dict[str, object]:
    answer = await client.post("/v1/revocations", json=mass(**more))
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/v1/approvals/{answer.json()['id']}"
    return dict(answer.json())


async def banned(world: World) -> bool:
    agents = {each["spiffe_id"]: each for each in (await world.node.admin.get("/v1/agents")).json()["agents"]}
    return agents[VICTIM]["banned_at"] is not None


async def test_somebody_else_approves_and_it_is_done_as_who_asked(world: World) -> None:
    await world.bind("oidc:https://idp.example#ann", "admin")
    asker = world.client(await world.token("operator"))
    approval = await ask(asker, incident="INC-7")
    assert (approval["state"], approval["operation"]) == ("pending", "revocation.create")
    assert not await banned(world)
    assert (await ask(asker, incident="INC-7"))["id"] == approval["id"]  # the same request waits once
    # The same person by another way in: the token was made by the local socket's user, whom it counts as.
    assert (await asker.post(f"/v1/approvals/{approval['id']}:approve")).status_code == 403
    assert (await world.node.admin.post(f"/v1/approvals/{approval['id']}:approve")).status_code == 403
    other = await other_person(world)
    done = await other.post(f"/v1/approvals/{approval['id']}:approve")
    assert (done.status_code, done.json()["status"]) == (200, 200), done.text
    assert done.json()["approval"]["state"] == "performed"
    assert done.json()["result"]["block"]["incident"] == "INC-7"
    assert await banned(world)
    again = await other.post(f"/v1/approvals/{approval['id']}:approve")
    assert again.status_code == 412
    (revoked,) = await world.node.events("revocation.create")
    assert revoked["actor"] == {
        "kind": "admin", "id": f"{approval['requested_by']}", "address": f"approval:{approval['id']}",
    }  # fmt: skip
    for name in ("request", "approve", "perform"):
        found = [each for each in await world.node.events(f"approval.{name}") if each["outcome"] == "success"]
        assert [each["details"]["digest"] for each in found] == [approval["digest"]]


async def other_person(world: World, role: str = "admin") -> httpx.AsyncClient:
    """Somebody whom nothing ties to the local socket's user: an SVID of their own."""
    identity = await svid(world, f"/people/{role}")
    await world.bind(f"spiffe://example.org/people/{role}", role)
    return world.client(identity=identity)


async def test_what_asks_only_or_hits_one_needs_nobody(world: World) -> None:
    client = world.client(await world.token())
    assert (await client.post("/v1/revocations", json=mass(dry_run=True))).status_code == 200
    assert (await client.post("/v1/revocations", json={"kind": "agent", "value": VICTIM})).status_code == 200
    one = {"kind": "spiffe_id", "value": "spiffe://example.org/web", "dry_run": False}
    assert (await client.post("/v1/revocations", json=one)).status_code == 200
    assert (await client.post("/v1/revocations", content=b"{")).status_code in {400, 415}
    assert not (await client.get("/v1/approvals")).json()["approvals"]


async def test_rights_count_when_it_is_done(world: World) -> None:
    """Who asked has lost their token meanwhile; who may not do it themselves approves nothing."""
    token = await world.node.api("POST", "/v1/access/tokens", {"name": "t", "role": "operator"})
    approval = await ask(world.client(token["token"]))
    viewer = await other_person(world, "viewer")
    assert (await viewer.post(f"/v1/approvals/{approval['id']}:approve")).status_code == 403
    await world.node.api("DELETE", f"/v1/access/tokens/{token['id']}")
    done = (await (await other_person(world)).post(f"/v1/approvals/{approval['id']}:approve")).json()
    assert (done["status"], done["approval"]["state"]) == (403, "failed")
    assert not await banned(world)


async def test_it_is_rejected_taken_back_or_too_late(world: World) -> None:
    asker, other = world.client(await world.token("operator")), await other_person(world)
    first = await ask(asker)
    rejected = await other.post(f"/v1/approvals/{first['id']}:reject", json={"reason": "not today"})
    assert (rejected.json()["state"], rejected.json()["reason"]) == ("rejected", "not today")
    second = await ask(asker)
    assert second["id"] != first["id"]
    assert (await asker.post(f"/v1/approvals/{second['id']}:reject")).json()["state"] == "rejected"
    third = await ask(asker)
    world.node.clock.offset = timedelta(hours=25)
    late = await world.node.admin.post(f"/v1/approvals/{third['id']}:approve")
    assert late.status_code == 412
    shown = (await world.node.admin.get(f"/v1/approvals/{third['id']}")).json()
    assert shown["state"] == "expired"
    await world.node.server._parts.housekeeping.end_approvals()
    assert [each["target"]["id"] for each in await world.node.events("approval.expire")] == [third["id"]]


async def test_of_two_who_approve_at_once_one_succeeds(world: World) -> None:
    approval = await ask(world.client(await world.token("operator")))
    other = await other_person(world)
    path = f"/v1/approvals/{approval['id']}:approve"
    answers = await asyncio.gather(*(other.post(path) for _ in range(4)))
    assert sorted(each.status_code for each in answers) == [200, 412, 412, 412]
    assert len(await world.node.events("revocation.create")) == 1
