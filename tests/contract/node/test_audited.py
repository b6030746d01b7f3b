"""What a real server's audit log has of each call: changes their own event and no other, all else one of reading."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.contract.node.harness import AGENT, Node
from tests.fakes.wait import PATIENCE


class Calls:
    """Requests, each with an id of its own by which its events are found."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.ids: dict[str, str] = {}

    async def __call__(self, method: str, path: str, body: Any = None, **params: str) -> dict[str, Any]:
        request_id = f"audited-{len(self.ids):04}"
        answer = await self.node.admin.request(
            method, path, json=body, params=params, headers={"X-Request-Id": request_id}
        )
        assert answer.status_code < 300, (path, answer.text)
        self.ids[request_id] = f"{method} {path}"
        return dict(answer.json())

    async def events(self) -> dict[str, list[dict[str, Any]]]:
        """By request."""
        answer = await self.node.admin.get("/v1/audit", params={"limit": 1000})
        found: dict[str, list[dict[str, Any]]] = {request_id: [] for request_id in self.ids}
        for event in answer.json()["events"]:
            found.get(event["request_id"], []).append(event)
        return found


async def test_changes_have_their_own_events_and_no_other(node: Node) -> None:
    """Of every service that changes something, whichever way it writes."""
    do = Calls(node)
    await node.attest()
    entry = await do("POST", "/v1/entries", {
        "spiffe_id": "spiffe://example.org/web", "parent_id": AGENT, "selectors": ["unix:uid:1000"],
    })  # fmt: skip
    await do("POST", "/v1/tokens", {"ttl_seconds": 60})
    await do("POST", "/v1/kek:rotate")
    await do("POST", "/v1/jwt:mint", {"spiffe_id": "spiffe://example.org/web", "audience": ["a"]})
    await do("POST", "/v1/authorities:prepare", {"kind": "jwt"})
    await do("POST", "/v1/secrets", {"name": "db", "kind": "generic", "source": {"backend": "embedded"}})
    await do("PUT", "/v1/secrets/db:value", {"fields": {"value": "aGVsbG8="}})
    grant = await do("POST", "/v1/grants", {"secret": "db", "spiffe_id": "spiffe://example.org/web"})
    await do("DELETE", f"/v1/grants/{grant['id']}")
    await do("DELETE", "/v1/secrets/db")
    await do("POST", "/v1/revocations", {"kind": "spiffe_id", "value": "spiffe://example.org/web", "dry_run": False})
    token = await do("POST", "/v1/access/tokens", {"name": "t", "role": "viewer"})
    await do("DELETE", f"/v1/access/tokens/{token['id']}")
    binding = await do("POST", "/v1/access/bindings", {"subject": "uid:4242", "role": "viewer"})
    await do("DELETE", f"/v1/access/bindings/{binding['id']}")
    await do("POST", "/v1/audit:verify", {})
    await do("POST", "/v1/audit/keys:rotate")
    before = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    await do("POST", "/v1/audit:prune", {"before": before, "dry_run": False})
    await do("DELETE", f"/v1/entries/{entry['id']}")
    await do("DELETE", f"/v1/agents/{AGENT}")
    events = await do.events()
    own = {do.ids[request_id]: [event["action"] for event in found] for request_id, found in events.items()}
    assert all(own.values()), own
    reads = {what for what, actions in own.items() if "admin.read" in actions}
    assert reads <= {"POST /v1/audit:prune"}, own


async def test_what_an_event_of_reading_says(node: Node) -> None:
    entry = await node.entry()
    do = Calls(node)
    await do("GET", f"/v1/entries/{entry['id']}")
    await do("GET", "/v1/entries", spiffe_id="spiffe://example.org/web", limit="7")
    await do("GET", "/v1/entries", spiffe_id="spiffe://example.org/web", limit="8")
    await do("DELETE", f"/v1/entries/{entry['id']}", dry_run="true")
    shown, listed, again, dry = (await do.events()).values()
    assert [(each["action"], each["outcome"], each["target"], each["details"]) for each in (*shown, *listed, *dry)] == [
        (
            "admin.read", "success", {"kind": "entry", "id": entry["id"]},
            {"user": shown[0]["details"]["user"], "operation": "entry.show", "asked": ""},
        ),
        (
            "admin.read", "success", {"kind": "operation", "id": "entry.list"},
            {
                "user": shown[0]["details"]["user"], "operation": "entry.list",
                "asked": "spiffe_id=spiffe://example.org/web",
            },
        ),
        (
            "admin.read", "success", {"kind": "entry", "id": entry["id"]},
            {"user": shown[0]["details"]["user"], "operation": "entry.delete", "asked": "dry_run=true"},
        ),
    ]  # fmt: skip
    assert again == []
    assert shown[0]["actor"]["kind"] == "admin"


async def test_what_can_be_seen_while_nothing_can_be_written(node: Node) -> None:
    """Lists are shown, the log is not, and the metric says so."""
    await node.entry()
    with closing(sqlite3.connect(node.folder / "s" / "sds.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        shown = await node.admin.get("/v1/entries", params={"owner": ""})
        assert shown.status_code == 200
        assert len(shown.json()["entries"]) == 1
        assert (await node.admin.get("/v1/audit", params={"actor": "nobody"})).status_code == 503
        async with asyncio.timeout(PATIENCE):  # the read may not have waited for its note to fail
            while not await node.metric("sds_server_admin_reads_unnoted_total"):
                await asyncio.sleep(0.05)
        other.execute("ROLLBACK")
