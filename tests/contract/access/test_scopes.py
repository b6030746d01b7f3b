"""A role that holds for a part of the trust domain: nothing beyond it is seen or changed, and no way leads out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.contract.access.world import AGENT, World, serving, svid

BELOW = "spiffe://example.org/payments"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with serving(tmp_path) as made:
        yield made


def entry(path: str, **more: Any) -> dict[str, Any]:
    return {"spiffe_id": f"spiffe://example.org{path}", "parent_id": AGENT, "selectors": ["unix:uid:1000"], **more}


async def statuses(client: httpx.AsyncClient, *calls: tuple[str, str, Any]) -> list[int]:
    return [(await client.request(method, path, json=body)).status_code for method, path, body in calls]


async def test_entries_below_a_spiffe_id(world: World) -> None:
    mine, other = await world.node.entry("/payments/api"), await world.node.entry("/payments-test")
    client = world.client(await world.token("operator", below=BELOW))
    listed = (await client.get("/v1/entries")).json()["entries"]
    assert [each["id"] for each in listed] == [mine["id"]]
    inside = entry("/payments/api", hint="x")
    assert await statuses(
        client,
        ("GET", f"/v1/entries/{mine['id']}", None),
        ("POST", "/v1/entries", entry("/payments/new")),
        ("PUT", f"/v1/entries/{mine['id']}", inside),
    ) == [200, 201, 200]  # fmt: skip
    assert await statuses(
        client,
        ("GET", f"/v1/entries/{other['id']}", None),
        ("POST", "/v1/entries", entry("/web")),
        ("POST", "/v1/entries", entry("/paymentsx")),
        ("PUT", f"/v1/entries/{mine['id']}", entry("/web")),
        ("PUT", f"/v1/entries/{other['id']}", inside),
        ("DELETE", f"/v1/entries/{other['id']}", None),
        ("POST", "/v1/entries:apply", {"entries": [entry("/web")]}),
        ("POST", "/v1/tokens", {}),
        ("GET", "/v1/secrets", None),
        ("POST", "/v1/grants", {"secret": "db-root", "spiffe_id": f"{BELOW}/api"}),
        ("GET", "/v1/audit", None),
        ("GET", "/v1/access/tokens", None),
        ("GET", "/metrics", None),
    ) == [403] * 13  # fmt: skip
    assert (await client.delete(f"/v1/entries/{mine['id']}")).status_code == 200
    left = (await world.node.admin.get("/v1/entries")).json()["entries"]
    assert {each["spiffe_id"] for each in left} == {f"{BELOW}-test", f"{BELOW}/new"}


async def test_agents_certificates_streams_tokens_and_revocations(world: World) -> None:
    mine, other = await svid(world, "/payments/api"), await svid(world, "/web")
    client = world.client(await world.token("operator", below=BELOW))
    found = (await client.get("/v1/certificates")).json()["certificates"]
    assert [each["serial"] for each in found] == [mine.svid.serial]
    assert (await client.get("/v1/agents")).json()["agents"] == []
    assert (await client.get("/v1/streams")).json()["streams"] == []
    agent = f"/v1/agents/{quote(AGENT, safe='')}"

    def revoke(kind: str, value: str) -> tuple[str, str, Any]:
        return "POST", "/v1/revocations", {"kind": kind, "value": value}

    def mint(spiffe_id: str) -> tuple[str, str, Any]:
        return "POST", "/v1/jwt:mint", {"audience": ["a"], "spiffe_id": spiffe_id}

    assert await statuses(
        client, revoke("serial", mine.svid.serial), revoke("spiffe_id", f"{BELOW}/api"), mint(f"{BELOW}/api")
    ) == [200, 200, 201]
    assert (
        await statuses(
            client,
            revoke("serial", other.svid.serial),
            revoke("spiffe_id", "spiffe://example.org/web"),
            revoke("key", mine.svid.key_hash),
            revoke("agent", AGENT),
            mint("spiffe://example.org/web"),
            ("GET", agent, None),
            ("POST", f"{agent}/ban", {}),
            ("DELETE", agent, None),
            ("GET", "/v1/revocations", None),
        )
        == [403] * 9
    )
    assert (await client.get(f"/v1/certificates/{other.svid.serial}")).status_code in {403, 404}


async def test_labels_take_no_new_names(world: World) -> None:
    mine = await world.node.entry("/web", labels={"team": "payments"})
    other = await world.node.entry("/api", labels={"team": "web"})
    client = world.client(await world.token("operator", labels={"team": "payments"}))
    assert [each["id"] for each in (await client.get("/v1/entries")).json()["entries"]] == [mine["id"]]
    labelled = {"team": "payments"}
    assert await statuses(
        client,
        ("PUT", f"/v1/entries/{mine['id']}", entry("/web", hint="x", labels=labelled)),
        ("PUT", f"/v1/entries/{mine['id']}", entry("/web", hint="x", labels={"team": "web"})),
        ("PUT", f"/v1/entries/{mine['id']}", entry("/admin", labels=labelled)),
        ("POST", "/v1/entries", entry("/admin", labels=labelled)),
        ("DELETE", f"/v1/entries/{other['id']}", None),
    ) == [200, 403, 403, 403, 403]


async def test_no_operator_makes_themselves_an_admin(world: World) -> None:
    """By an entry for an identity that is admin, by another's token, or by a server below this one."""
    await world.node.entry("/admin/ci")
    await world.bind("spiffe://example.org/admin/ci", "admin")
    (made,) = (await world.node.admin.get("/v1/entries")).json()["entries"]
    client = world.client(await world.token("operator"))
    assert (
        await statuses(
            client,
            ("POST", "/v1/entries", entry("/admin/ci", selectors=["unix:uid:4242"])),
            ("PUT", f"/v1/entries/{made['id']}", entry("/admin/ci", selectors=["unix:uid:4242"])),
            ("PUT", f"/v1/entries/{made['id']}", entry("/harmless")),
            ("POST", "/v1/entries:apply", {"entries": [entry("/admin/ci", selectors=["unix:uid:4242"])]}),
            ("POST", "/v1/tokens", {"downstream": True}),
            ("POST", "/v1/access/tokens", {"name": "x", "role": "admin"}),
            ("POST", "/v1/access/bindings", {"subject": "uid:1000", "role": "viewer"}),
            ("POST", "/v1/revocations", {"kind": "authority", "value": "00" * 20}),
        )
        == [403] * 8
    )
    assert (await client.post("/v1/tokens", json={})).status_code == 201
    limited = world.client(await world.token("admin", below=BELOW))
    assert await statuses(
        limited,
        ("POST", "/v1/access/tokens", {"name": "x", "role": "admin"}),
        ("POST", "/v1/access/tokens", {"name": "x", "role": "viewer", "below": "spiffe://example.org/web"}),
        ("POST", "/v1/access/bindings", {"subject": "group:x", "role": "operator", "labels": {"a": "b"}}),
        ("POST", "/v1/access/tokens", {"name": "x", "role": "operator", "below": f"{BELOW}/api"}),
    ) == [403, 403, 403, 201]
