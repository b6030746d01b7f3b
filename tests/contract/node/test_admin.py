"""The admin services over the real store, through the real socket: what is stored, audited, refused, and told to agents."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ca.keys import KeyType, generate
from ca.svid import parse_svid
from sds._pb.sds.node.v1 import node_pb2
from tests.contract.node.harness import AGENT, OTHER_AGENT, Identity, Node, agent_path, csr, next_message, running


def body(path: str = "/web", **more: Any) -> dict[str, Any]:
    return {
        "spiffe_id": f"spiffe://example.org{path}",
        "parent_id": AGENT,
        "selectors": ["unix:uid:1000"],
        **more,
    }


async def issue(node: Node, agent: Identity, entry_id: str) -> Any:
    key = generate(KeyType.ECDSA_P256)
    request = node_pb2.SignX509SvidsRequest(items=[node_pb2.SignItem(entry_id=entry_id, csr=csr(key))])
    (result,) = (await node.node(agent).SignX509Svids(request)).results
    return parse_svid(tuple(result.svid.certificate_chain))


async def test_creating_twice_is_once(node: Node) -> None:
    first = await node.admin.post("/v1/entries", json=body())
    second = await node.admin.post("/v1/entries", json=body(selectors=["unix:uid:1000"]))
    other = await node.admin.post("/v1/entries", json=body(hint="another"))
    assert [first.status_code, second.status_code, other.status_code] == [201, 200, 409]
    assert first.json() == second.json()
    events = await node.events("entry.create")
    assert [event["outcome"] for event in events] == ["success", "refused"]
    assert events[0]["target"]["id"] == first.json()["id"]
    assert events[0]["actor"]["kind"] == "admin"
    assert events[0]["actor"]["id"].startswith("uid:")
    assert events[0]["details"]["after"]["spiffe_id"] == "spiffe://example.org/web"


async def test_an_update_compares_and_tells_before_and_after(node: Node) -> None:
    made = await node.entry("/web")
    changed = await node.api("PUT", f"/v1/entries/{made['id']}", body(x509_ttl=60, hint="new", revision=1))
    assert changed["revision"] == 2
    stale = await node.admin.put(f"/v1/entries/{made['id']}", json=body(hint="newer", revision=1))
    assert stale.status_code == 412
    same = await node.api("PUT", f"/v1/entries/{made['id']}", body(x509_ttl=60, hint="new", revision=2))
    assert same["revision"] == 2
    events = [event for event in await node.events("entry.update") if event["outcome"] == "success"]
    assert len(events) == 1
    assert events[0]["details"]["changed"] == {
        "hint": {"before": "", "after": "new"},
        "x509_ttl": {"before": None, "after": 60},
    }


async def test_deleting_says_when_the_last_certificate_ends(node: Node) -> None:
    agent = await node.attest()
    unused, used = await node.entry("/unused"), await node.entry("/used", x509_ttl=300)
    await issue(node, agent, used["id"])
    last = await issue(node, agent, used["id"])
    assert (await node.api("DELETE", f"/v1/entries/{unused['id']}"))["last_certificate_expires_at"] is None
    gone = await node.api("DELETE", f"/v1/entries/{used['id']}")
    assert datetime.fromisoformat(gone["last_certificate_expires_at"]) == last.not_after
    assert (await node.admin.delete(f"/v1/entries/{used['id']}")).status_code == 404


async def test_policy_narrows_the_rules() -> None:
    async with running(ca__max_x509_ttl="2h", ca__min_x509_ttl="1m") as node:
        for ttl, allowed in ((59, False), (60, True), (7200, True), (7201, False)):
            answer = await node.admin.post("/v1/entries", json=body(f"/t{ttl}", x509_ttl=ttl))
            assert (answer.status_code == 201) is allowed
            if not allowed:
                assert answer.json()["problems"] == [{"field": "x509_ttl", "problem": "this server allows 1m to 2h"}]


async def test_an_agent_shows_the_version_that_it_says_it_is(folder: Path) -> None:
    async with running(folder) as node:
        agent, other = await node.attest(), await node.attest(OTHER_AGENT)
        for identity, version in ((agent, "1.2.3"), (other, "\x1b[31m" * 1000)):
            request = node_pb2.WatchAuthorizedRequest(agent_version=version)
            await next_message(node.node(identity).WatchAuthorized(request))
    async with running(folder) as node:  # written now and then, and at the end
        assert (await node.api("GET", agent_path(AGENT)))["version"] == "1.2.3"
        shown = (await node.api("GET", agent_path(OTHER_AGENT)))["version"]
        assert len(shown) == 64
        assert shown.isprintable()


async def test_apply_is_all_or_nothing_and_its_dry_run_tells_the_truth(node: Node) -> None:
    agent = await node.attest()
    stays, changes = await node.entry("/stays"), await node.entry("/changes")
    goes = await node.entry("/goes", owner="team")
    await issue(node, agent, goes["id"])
    wanted = {
        "entries": [body("/new"), body("/changes", hint="h", owner="team"), body("/stays")],
        "prune": {"owner": "team"},
    }
    dry = await node.api("POST", "/v1/entries:apply", {**wanted, "dry_run": True})
    assert (await node.api("GET", "/v1/entries"))["entries"] == [stays, changes, goes]
    stream = node.node(agent).WatchAuthorized(node_pb2.WatchAuthorizedRequest())
    await next_message(stream)
    done = await node.api("POST", "/v1/entries:apply", {**wanted, "dry_run": False})

    def told(answer: Any) -> list[Any]:
        return [(c["action"], c.get("changes"), c.get("last_certificate_expires_at")) for c in answer["changes"]]

    assert told(dry) == told(done)
    assert [change["action"] for change in done["changes"]] == ["create", "update", "unchanged", "delete"]
    update = await next_message(stream)  # one transaction, one message
    assert {e.spiffe_id.rpartition("/")[2] for e in update.upserted} == {"new", "changes"}
    assert list(update.removed_entry_ids) == [goes["id"]]

    before = (await node.api("GET", "/v1/entries"))["entries"]
    bad = await node.admin.post("/v1/entries:apply", json={"entries": [body("/fine"), body("/sds/server")]})
    assert bad.status_code == 422
    assert {problem["field"] for problem in bad.json()["problems"]} == {"entries[1].spiffe_id"}
    assert (await node.api("GET", "/v1/entries"))["entries"] == before


async def test_tokens_have_bounds(node: Node) -> None:
    made = await node.api("POST", "/v1/tokens", {"ttl_seconds": 60})
    assert made["spiffe_id"].startswith("spiffe://example.org/sds/agent/join_token/")
    left = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)
    assert timedelta(seconds=55) < left <= timedelta(seconds=60)
    default = await node.api("POST", "/v1/tokens", {})
    assert timedelta(minutes=9) < datetime.fromisoformat(default["expires_at"]) - datetime.now(UTC)
    for wrong in (
        {"ttl_seconds": 86_401},
        {"spiffe_id": "spiffe://example.org/sds/server"},
        {"spiffe_id": "spiffe://example.org/sds/agent"},
        {"spiffe_id": "spiffe://other.org/agent"},
        {"spiffe_id": "spiffe://example.org"},
    ):
        assert (await node.admin.post("/v1/tokens", json=wrong)).status_code == 422, wrong
    assert (await node.api("POST", "/v1/tokens", {"spiffe_id": "spiffe://example.org/any/path"}))["token"]


async def test_agents_as_they_are(node: Node) -> None:
    agent = await node.attest()
    await node.attest(OTHER_AGENT)
    await node.entry("/one")
    stream = node.node(agent).WatchAuthorized(node_pb2.WatchAuthorizedRequest())
    await next_message(stream)
    agents = {each["spiffe_id"]: each for each in (await node.api("GET", "/v1/agents"))["agents"]}
    mine, other = agents[AGENT], agents[OTHER_AGENT]
    assert (mine["connected"], mine["entries"], mine["address"]) == (True, 1, "127.0.0.1")
    assert (other["connected"], other["entries"]) == (False, 0)
    assert mine["attestation_type"] == "join_token"
    assert mine["serial"] == agent.svid.serial

    banned = await node.api("POST", f"{agent_path(OTHER_AGENT)}/ban", {"reason": "first"})
    again = await node.api("POST", f"{agent_path(OTHER_AGENT)}/ban", {"reason": "second"})
    assert (banned["banned_reason"], again["banned_reason"]) == ("first", "first")
    assert len(await node.events("agent.ban")) == 1
    listed = (await node.admin.get("/v1/agents", params={"banned": "true"})).json()["agents"]
    assert [each["spiffe_id"] for each in listed] == [OTHER_AGENT]
    refused = await node.admin.post("/v1/tokens", json={"spiffe_id": OTHER_AGENT})
    assert refused.status_code == 422
    assert (await node.admin.get(agent_path("spiffe://example.org/no"))).status_code == 404


async def test_the_kek_rotates_under_load(node: Node) -> None:
    agent = await node.attest()
    entry = await node.entry()
    first = await node.api("POST", "/v1/kek:rotate")
    second = await node.api("POST", "/v1/kek:rotate")
    assert first["new_id"] == second["old_id"] != second["new_id"]
    assert first["rewrapped"] == second["rewrapped"] >= 2  # an authority of each kind, and masters of ticket keys
    await issue(node, agent, entry["id"])
    assert len(await node.events("kek.rotate")) == 2


async def test_the_log_can_be_followed(node: Node) -> None:
    start = (await node.api("GET", "/v1/audit"))["last_sequence"]
    empty = await node.admin.get("/v1/audit", params={"after": start})
    assert empty.json()["events"] == []

    made = await node.entry()
    page = (await node.admin.get("/v1/audit", params={"after": start, "wait": 5})).json()
    assert [event["action"] for event in page["events"]] == ["entry.create"]
    assert page["events"][0]["target"]["id"] == made["id"]
    await node.entry("/two")
    prefixed = await node.events("entry.")
    assert len(prefixed) == 2


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
async def test_the_whole_way_on_each_database(request: pytest.FixtureRequest, backend: str) -> None:
    """Attest, watch, change, sign, renew, ban: the same on both."""
    settings = {}
    if backend == "postgresql":
        settings["database__url"] = str(request.getfixturevalue("postgresql_url"))
    async with running(**settings) as node:
        agent = await node.attest()
        stream = node.node(agent).WatchAuthorized(node_pb2.WatchAuthorizedRequest())
        assert (await next_message(stream)).snapshot
        entry = await node.entry()
        assert [e.id for e in (await next_message(stream)).upserted] == [entry["id"]]
        svid = await issue(node, agent, entry["id"])
        assert str(svid.spiffe_id) == "spiffe://example.org/web"
        await node.node(agent).Renew(node_pb2.RenewRequest(csr=csr()))
        assert (await node.api("DELETE", f"/v1/entries/{entry['id']}"))["last_certificate_expires_at"]
        assert list((await next_message(stream)).removed_entry_ids) == [entry["id"]]
        await node.api("POST", f"{agent_path(AGENT)}/ban", {"reason": "x"})
        with pytest.raises(Exception, match="banned"):
            await next_message(stream)


async def test_two_replicas_on_one_postgresql(postgresql_url: str) -> None:
    """What happens at one is in force at the other: attestation, entries, renewals, bans."""
    async with running(database__url=postgresql_url) as one:
        (one.folder / "two/s").mkdir(parents=True, mode=0o700)
        kek = one.folder / "s/kek"
        async with running(one.folder / "two", database__url=postgresql_url, kek__file=str(kek)) as two:
            assert one.roots == two.roots
            agent = await one.attest()
            stream = two.node(agent).WatchAuthorized(node_pb2.WatchAuthorizedRequest())
            assert (await next_message(stream)).snapshot
            entry = await one.entry()
            assert [e.id for e in (await next_message(stream)).upserted] == [entry["id"]]
            await issue(two, agent, entry["id"])
            key = generate(KeyType.ECDSA_P256)
            answer = await two.node(agent).Renew(node_pb2.RenewRequest(csr=csr(key)))
            renewed = Identity(key, parse_svid(tuple(answer.svid.certificate_chain)))
            await issue(one, renewed, entry["id"])
            await one.api("POST", f"{agent_path(AGENT)}/ban", {"reason": "x"})
            with pytest.raises(Exception, match="banned"):
                await next_message(stream)
