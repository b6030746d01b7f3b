"""Agents, streams, tokens, bundle, key-encryption key and audit over a real Unix socket."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import httpx
import pytest

from attestation.selector import parse_selectors
from attestation.spiffe_id import SpiffeId
from ca.bundle import parse_pem, parse_spiffe_json
from sds.admin.services import AgentInfo, ProcessInfo, StreamInfo
from sds.store.records import ResourceRecord
from tests.fakes.admin_entries import TD
from tests.fakes.admin_server import AUTHORITY, Running
from tests.fakes.clock import EPOCH
from tests.fakes.wait import PATIENCE

AGENT = SpiffeId.parse("spiffe://example.org/sds/agent/one")
ENCODED = "spiffe%3A%2F%2Fexample.org%2Fsds%2Fagent%2Fone"


def agent(spiffe_id: SpiffeId = AGENT, **more: Any) -> AgentInfo:
    return AgentInfo(
        spiffe_id=spiffe_id,
        attestation_type="join_token",
        selectors=parse_selectors(["join_token:x"]),
        serial="0a",
        not_after=EPOCH + timedelta(days=1),
        attested_at=EPOCH,
        **more,
    )


def stream(number: int, agent_id: SpiffeId = AGENT, spiffe_id: str = "spiffe://example.org/web") -> StreamInfo:
    return StreamInfo(
        id=f"s{number}",
        agent_id=agent_id,
        protocol="delta",
        process=ProcessInfo(100 + number, 1000, "/usr/bin/envoy"),
        spiffe_ids=(spiffe_id,),
        node_id="node",
        opened_at=EPOCH,
        resources=(ResourceRecord("default", "v1", "v1", sent_at=EPOCH, acked_at=EPOCH, acked_serial="0b"),),
    )


@pytest.mark.parametrize("path", [ENCODED, "spiffe://example.org/sds/agent/one"])
async def test_agents_by_encoded_or_plain_id(http: httpx.AsyncClient, running: Running, path: str) -> None:
    running.fakes.agents.rows[AGENT] = agent(connected=True, entries=3)
    shown = (await http.get(f"/v1/agents/{path}")).json()
    assert shown["spiffe_id"] == str(AGENT)
    assert (shown["connected"], shown["entries"], shown["banned"], shown["banned_at"]) == (True, 3, False, None)

    banned = (await http.post(f"/v1/agents/{path}/ban", json={"reason": "stolen"})).json()
    assert (banned["banned"], banned["banned_reason"], banned["banned_at"]) == (True, "stolen", "2026-01-01T00:00:00Z")

    gone = await http.delete(f"/v1/agents/{path}")
    assert gone.json()["banned"] is True
    assert (await http.get(f"/v1/agents/{path}")).status_code == 404
    assert [row.event.action for row in running.fakes.audit.rows] == ["agent.ban", "agent.delete"]
    assert running.fakes.audit.rows[0].event.reason == "stolen"


async def test_an_agent_whose_id_ends_in_ban(http: httpx.AsyncClient, running: Running) -> None:
    name = SpiffeId.parse("spiffe://example.org/agents/ban")
    running.fakes.agents.rows[name] = agent(name)
    assert (await http.get(f"/v1/agents/{name}")).json()["spiffe_id"] == str(name)
    assert (await http.post(f"/v1/agents/{name}/ban")).json()["banned"] is True
    assert (await http.delete(f"/v1/agents/{name}")).status_code == 200


async def test_agent_list(http: httpx.AsyncClient, running: Running) -> None:
    other = SpiffeId.parse("spiffe://example.org/sds/agent/two")
    running.fakes.agents.rows = {AGENT: agent(), other: agent(other, banned_at=EPOCH)}
    answer = (await http.get("/v1/agents")).json()
    assert [each["spiffe_id"] for each in answer["agents"]] == [str(AGENT), str(other)]
    only = (await http.get("/v1/agents", params={"banned": "true"})).json()
    assert [each["spiffe_id"] for each in only["agents"]] == [str(other)]
    assert (await http.get("/v1/agents", params={"banned": "CANARY"})).status_code == 422


@pytest.mark.parametrize("body", [{"reason": 1}, {"reason": "x" * 256}, {"reason": "a\u001b[2J"}, {"why": "x"}])
async def test_a_bad_ban(http: httpx.AsyncClient, running: Running, body: Any) -> None:
    running.fakes.agents.rows[AGENT] = agent()
    assert (await http.post(f"/v1/agents/{ENCODED}/ban", json=body)).status_code == 422
    assert running.fakes.agents.rows[AGENT].banned_at is None


async def test_streams(http: httpx.AsyncClient, running: Running) -> None:
    other = SpiffeId.parse("spiffe://example.org/sds/agent/two")
    running.fakes.streams.rows = [stream(1), stream(2, other), stream(3, spiffe_id="spiffe://example.org/db")]
    answer = (await http.get("/v1/streams")).json()
    assert answer["streams"][0] == {
        "id": "s1",
        "agent_id": str(AGENT),
        "protocol": "delta",
        "process": {"pid": 101, "uid": 1000, "path": "/usr/bin/envoy"},
        "spiffe_ids": ["spiffe://example.org/web"],
        "node_id": "node",
        "opened_at": "2026-01-01T00:00:00Z",
        "nacked": False,
        "behind": False,
        "lag_seconds": 0.0,
        "resources": [
            {
                "name": "default",
                "sent_version": "v1",
                "acked_version": "v1",
                "nacked_version": "",
                "nack_detail": "",
                "sent_at": "2026-01-01T00:00:00Z",
                "acked_at": "2026-01-01T00:00:00Z",
                "sent_serial": "",
                "acked_serial": "0b",
                "sent_sequence": 0,
                "acked_sequence": 0,
                "lag_seconds": 0.0,
            }
        ],
    }

    async def found(**query: str) -> list[str]:
        return [each["id"] for each in (await http.get("/v1/streams", params=query)).json()["streams"]]

    assert await found(agent_id=str(other)) == ["s2"]
    assert await found(spiffe_id="spiffe://example.org/db") == ["s3"]
    assert await found(limit="1") == ["s1"]


async def test_token(http: httpx.AsyncClient, running: Running) -> None:
    answer = await http.post("/v1/tokens", json={"ttl_seconds": 60, "spiffe_id": "spiffe://example.org/agents/a"})
    assert answer.status_code == 201
    assert answer.json() == {
        "token": "the-secret-token-1",
        "spiffe_id": "spiffe://example.org/agents/a",
        "expires_at": "2026-01-01T00:01:00Z",
    }
    without = await http.post("/v1/tokens")
    assert without.json()["expires_at"] == "2026-01-01T00:10:00Z"
    assert "the-secret-token" not in repr(running.fakes.audit.rows)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"ttl_seconds": "CANARY"}, "ttl_seconds"),
        ({"ttl_seconds": 0}, "ttl_seconds"),
        ({"ttl_seconds": 86401}, "ttl_seconds"),
        ({"spiffe_id": "CANARY"}, "spiffe_id"),
        ({"ttl": 60}, "ttl"),
    ],
)
async def test_a_bad_token_request(http: httpx.AsyncClient, body: Any, field: str) -> None:
    answer = await http.post("/v1/tokens", json=body)
    assert answer.status_code == 422
    assert [each["field"] for each in answer.json()["problems"]] == [field]
    assert "CANARY" not in answer.text


async def test_bundle(http: httpx.AsyncClient) -> None:
    pem = await http.get("/v1/bundle")
    assert pem.headers["content-type"] == "application/x-pem-file"
    assert parse_pem(TD, pem.content).x509_authorities == (AUTHORITY,)
    spiffe = await http.get("/v1/bundle", params={"format": "spiffe"})
    assert spiffe.headers["content-type"] == "application/json"
    assert parse_spiffe_json(TD, spiffe.content).x509_authorities == (AUTHORITY,)
    assert json.loads(spiffe.content)["spiffe_sequence"] == 7
    assert (await http.get("/v1/bundle", params={"format": "CANARY"})).status_code == 422


async def test_kek_rotation(http: httpx.AsyncClient, running: Running) -> None:
    answer = await http.post("/v1/kek:rotate")
    told = {"old_id": "00000001", "new_id": "00000002", "rewrapped": 3, "shared": False, "dry_run": False}
    assert answer.json() == told
    assert (await http.post("/v1/kek:rotate", params={"force": "1"})).status_code == 422
    assert running.fakes.kek.number == 2


async def test_audit_newest_and_after(http: httpx.AsyncClient) -> None:
    for _ in range(5):
        await http.post("/v1/kek:rotate", headers={"X-Request-Id": "0123456789"})
    newest = (await http.get("/v1/audit", params={"limit": 2})).json()
    assert [each["sequence"] for each in newest["events"]] == [4, 5]
    assert newest["last_sequence"] == 5
    event = newest["events"][0]
    assert (event["action"], event["outcome"], event["request_id"]) == ("kek.rotate", "success", "0123456789")
    assert event["target"] == {"kind": "kek", "id": ""}

    after = (await http.get("/v1/audit", params={"after": 1, "limit": 2})).json()
    assert [each["sequence"] for each in after["events"]] == [2, 3]
    assert (await http.get("/v1/audit", params={"after": 5})).json() == {"events": [], "last_sequence": 5}
    assert (await http.get("/v1/audit", params={"after": 0, "action": "token.create"})).json()["events"] == []


async def test_audit_follows(http: httpx.AsyncClient) -> None:
    waiting = asyncio.ensure_future(http.get("/v1/audit", params={"after": 0, "wait": 30}))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await http.post("/v1/kek:rotate")
    answer = await asyncio.wait_for(waiting, 25)
    assert [each["action"] for each in answer.json()["events"]] == ["kek.rotate"]


async def test_a_follower_that_leaves_is_let_go(http: httpx.AsyncClient, running: Running) -> None:
    """64 long polls fit; if leaving did not free them, the 65th would be refused."""
    for _ in range(70):
        with pytest.raises(httpx.ReadTimeout):
            await http.get("/v1/audit", params={"after": 99, "wait": 60}, timeout=httpx.Timeout(60, read=0.02))
    answer = await http.get("/v1/audit", params={"after": 99, "wait": 1}, timeout=PATIENCE)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "query",
    [{"after": "-1"}, {"after": "CANARY"}, {"wait": "61"}, {"limit": "0"}, {"after": "9" * 30}, {"follow": "1"}],
)
async def test_a_bad_audit_query(http: httpx.AsyncClient, query: dict[str, str]) -> None:
    answer = await http.get("/v1/audit", params=query)
    assert answer.status_code == 422
    assert "CANARY" not in answer.text
