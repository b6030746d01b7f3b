"""Two real servers of one trust domain, one below the other, over real TLS."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from google.protobuf.duration_pb2 import Duration

from ca.bundle import parse_pem
from ca.errors import AuthorityUnavailable
from ca.svid import parse_svid
from ca.verify import verify_svid
from sds._pb.sds.node.v1 import node_pb2
from sds.clock import SystemClock
from tests.contract.node.harness import AGENT, DEADLINE, TD, Node, agent_path, csr, running, status_of
from tests.contract.upstream.nested_kit import (
    BELOW,
    below,
    down,
    downstream_token,
    eventually,
    gate_open,
    issued,
    lower_pem,
    prepared,
    roots_of,
    up,
    vouched,
)


@pytest.fixture
def folder() -> Any:
    with tempfile.TemporaryDirectory(prefix="sds-u-") as made:
        yield Path(made)


@pytest.fixture
async def upstream() -> AsyncIterator[Node]:
    async with running() as started:
        yield started


async def test_workloads_of_both_servers_verify_by_either_bundle(upstream: Node, folder: Path) -> None:
    async with below(upstream, folder, await downstream_token(upstream)) as lower:
        assert lower.roots == upstream.roots  # one root for both
        theirs, ours = await issued(upstream), await issued(lower)
        assert (len(theirs.chain), len(ours.chain)) == (1, 2)
        bundle, now = parse_pem(TD, upstream.roots), SystemClock().now()
        for svid in (theirs, ours):
            verify_svid(svid, bundle, now)
        intermediate = x509.load_der_x509_certificate(ours.chain[1])
        assert intermediate.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
        (event,) = [e for e in await upstream.events("certificate.issue") if e["details"]["profile"] == "intermediate"]
        assert event["actor"]["id"] == BELOW
        assert int(event["target"]["id"], 16) == intermediate.serial_number
        assert await upstream.metric("sds_server_issued_total", profile="intermediate", outcome="success") == 1
        assert await up(lower)


async def test_the_server_below_is_shown_as_what_it_is(upstream: Node, folder: Path) -> None:
    async with below(upstream, folder, await downstream_token(upstream)):
        agents = (await upstream.api("GET", "/v1/agents"))["agents"]
        assert [(one["spiffe_id"], one["downstream"]) for one in agents] == [(BELOW, True)]
        (event,) = await upstream.events("agent.attest")
        assert event["details"]["downstream"] is True


async def test_it_enrols_once_and_starts_again_without_a_token(upstream: Node, folder: Path) -> None:
    async with below(upstream, folder, await downstream_token(upstream)) as lower:
        roots = lower.roots
    (folder / "token").unlink()
    async with below(upstream, folder) as lower:
        assert lower.roots == roots
        await eventually(lambda: up(lower))
    assert len(await upstream.events("agent.attest")) == 1
    intermediates = [e for e in await upstream.events("certificate.issue") if e["details"]["profile"] == "intermediate"]
    assert len(intermediates) == 1


async def test_an_ordinary_agent_is_refused_and_audited(upstream: Node) -> None:
    agent = await upstream.attest(AGENT)
    ttl = Duration()
    ttl.FromSeconds(3600)
    request = node_pb2.SignIntermediateRequest(csr=csr(), ttl=ttl)
    code, details = await status_of(upstream.node(agent).SignIntermediate(request, timeout=DEADLINE))
    assert code is grpc.StatusCode.PERMISSION_DENIED
    assert "--downstream" in details
    refused = [e for e in await upstream.events("certificate.issue") if e["outcome"] == "refused"]
    assert [(e["actor"]["id"], e["target"]) for e in refused] == [(AGENT, {"kind": "profile", "id": "intermediate"})]


async def test_a_server_enrolled_as_an_agent_does_not_start(upstream: Node, folder: Path) -> None:
    with pytest.raises(Exception, match="--downstream"):
        async with below(upstream, folder, await downstream_token(upstream, downstream=False)):
            pass


async def test_serving_goes_on_while_the_upstream_is_away_and_it_comes_back_by_itself(folder: Path) -> None:
    above = folder / "above"
    above.mkdir()
    ports: dict[str, str] = {}
    async with running(above) as upstream:
        token = await downstream_token(upstream)
        ports = {"listen": upstream.target("main"), "attest_listen": upstream.target("attest")}
        lower_context = below(upstream, folder, token)
        lower = await lower_context.__aenter__()
    try:

        async def down() -> bool:
            return not await up(lower)

        await eventually(down)
        ready = await lower.admin.get("/ready")
        assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
        assert "upstream server" in ready.json()["checks"]["upstream"]["reason"]
        svid = await issued(lower)  # everything but a new authority
        verify_svid(svid, parse_pem(TD, lower.roots), SystemClock().now())
        async with running(above, **ports):
            await eventually(lambda: up(lower))
            assert (await lower.admin.get("/ready")).json()["status"] == "ok"
    finally:
        await lower_context.__aexit__(None, None, None)


async def test_a_first_start_waits_for_the_upstream(folder: Path) -> None:
    above = folder / "above"
    above.mkdir()
    async with running(above) as upstream:
        token = await downstream_token(upstream)
        ports = {"listen": upstream.target("main"), "attest_listen": upstream.target("attest")}
        gone = upstream
    starting = below(gone, folder, token)
    start = asyncio.ensure_future(starting.__aenter__())
    await asyncio.sleep(1)
    assert not start.done()
    async with running(above, **ports):
        lower = await asyncio.wait_for(start, DEADLINE)
        assert lower.roots == gone.roots
        await starting.__aexit__(None, None, None)


async def test_a_banned_server_gets_nothing_more_and_says_so(upstream: Node, folder: Path) -> None:
    async with below(upstream, folder, await downstream_token(upstream)) as lower:
        await upstream.api("POST", f"{agent_path(BELOW)}/ban", {})

        async def banned() -> Any:
            reason = (await lower.admin.get("/ready")).json()["checks"]["upstream"]["reason"]
            return reason if "banned" in reason else ""

        await eventually(banned)
        await issued(lower)


async def test_a_new_root_is_in_every_bundle_before_the_upstream_signs_with_it(upstream: Node, folder: Path) -> None:
    """The upstream's gate waits for the server below, and that one for its own fleet."""
    async with below(upstream, folder, await downstream_token(upstream)) as lower:
        slow = await lower.attest(AGENT)  # it is of the fleet, and says nothing of the bundle yet
        (first,) = await roots_of(upstream)
        coming = await prepared(upstream)

        async def both() -> bool:
            return len(await roots_of(lower)) == 2

        await eventually(both)
        assert (await roots_of(lower))[0] == first
        await asyncio.sleep(3)  # time enough to say something wrong
        gate = (await upstream.api("GET", f"/v1/authorities/{coming['id']}"))["gate"]
        assert [one["agent_id"] for one in gate["stragglers"]] == [BELOW]
        report = node_pb2.ReportDeliveryRequest(run_id="r", sequence=1, snapshot=True, bundle_sequence=10_000)
        await lower.node(slow).ReportDelivery(report, timeout=DEADLINE)
        await eventually(lambda: gate_open(upstream, coming["id"]))
        await upstream.api("POST", f"/v1/authorities/{coming['id']}:activate", {})

        (event,) = await lower.events("authority.roots")
        assert (len(event["details"]["added"]), event["details"]["removed"]) == (1, [])
        second = (set(await roots_of(upstream)) - {first}).pop()
        theirs = await issued(upstream)
        assert x509.load_der_x509_certificate(theirs.chain[0]).issuer == x509.load_der_x509_certificate(second).subject
        pem = (await lower.admin.get("/v1/bundle", params={"format": "pem"})).content
        verify_svid(theirs, parse_pem(TD, pem), SystemClock().now())

        # The next authority below is below the new root, which everybody has: its gate is open at once.
        ours = await prepared(lower)
        assert await gate_open(lower, ours["id"])
        await lower.api("POST", f"/v1/authorities/{ours['id']}:activate", {})
        lower.roots = pem
        item = node_pb2.SignItem(entry_id=(await lower.entry("/api"))["id"], csr=csr())
        request = node_pb2.SignX509SvidsRequest(items=[item])
        answer = await lower.node(slow).SignX509Svids(request, timeout=DEADLINE)
        svid = parse_svid(tuple(answer.results[0].svid.certificate_chain))
        intermediate = x509.load_der_x509_certificate(svid.chain[1])
        assert intermediate.issuer == x509.load_der_x509_certificate(second).subject


async def test_a_root_that_the_upstream_takes_back_is_gone_below_at_once(upstream: Node, folder: Path) -> None:
    """What was below it is revoked, and rotation has another authority sign."""
    quick = {"rotation.interval": "200ms"}
    async with below(upstream, folder, await downstream_token(upstream), **quick) as lower:
        (first,) = await roots_of(upstream)
        former = (await lower.api("GET", "/v1/authorities?kind=x509"))["authorities"][0]
        coming = await prepared(upstream)
        await upstream.api("POST", f"/v1/authorities/{coming['id']}:activate", {"force": True})
        (old,) = [
            one
            for one in (await upstream.api("GET", "/v1/authorities?kind=x509"))["authorities"]
            if one["state"] == "old"
        ]
        await upstream.api("POST", f"/v1/authorities/{old['id']}:revoke", {})

        async def moved() -> bool:
            slots = (await lower.api("GET", "/v1/authorities?kind=x509"))["authorities"]
            return any(one["state"] == "active" and one["id"] != former["id"] for one in slots)

        await eventually(moved)
        assert first not in await roots_of(lower)
        await eventually(lambda: vouched(lower))  # its own certificate follows a moment later
        assert await roots_of(lower) == await roots_of(upstream)
        verify_svid(await issued(lower), parse_pem(TD, lower_pem(await roots_of(lower))), SystemClock().now())
        (event,) = await lower.events("authority.revoke")
        assert event["target"]["id"] == former["id"]
        assert "taken back" in event["reason"]


async def test_what_the_upstream_taints_is_tainted_below(upstream: Node, folder: Path) -> None:
    quick = {"rotation.interval": "200ms"}
    async with below(upstream, folder, await downstream_token(upstream), **quick) as lower:
        former = (await lower.api("GET", "/v1/authorities?kind=x509"))["authorities"][0]
        coming = await prepared(upstream)
        await eventually(lambda: gate_open(upstream, coming["id"]))
        active = next(
            one
            for one in (await upstream.api("GET", "/v1/authorities?kind=x509"))["authorities"]
            if one["state"] == "active"
        )
        await upstream.api("POST", f"/v1/authorities/{active['id']}:taint")

        async def replaced() -> bool:
            slots = {o["id"]: o for o in (await lower.api("GET", "/v1/authorities?kind=x509"))["authorities"]}
            active_now = [one["id"] for one in slots.values() if one["state"] == "active" and not one["tainted"]]
            return slots[former["id"]]["tainted"] and bool(active_now) and active_now != [former["id"]]

        await upstream.api("POST", f"/v1/authorities/{coming['id']}:activate", {})
        await eventually(replaced, 20)


async def test_no_keys_are_made_while_there_is_nobody_to_certify_them(folder: Path) -> None:
    above = folder / "above"
    above.mkdir()
    async with running(above) as upstream:
        token = await downstream_token(upstream)
        starting = below(upstream, folder, token)
        lower = await starting.__aenter__()
    try:
        await eventually(lambda: down(lower))
        made = len(await lower.events("key.create"))
        response = await lower.admin.post("/v1/authorities:prepare", json={"kind": "x509"})
        assert response.status_code == 503
        assert "upstream server" in response.json()["detail"]
        assert len(await lower.events("key.create")) == made
    finally:
        await starting.__aexit__(None, None, None)


async def test_it_renews_its_svid_above_and_stays_connected(folder: Path) -> None:
    async with (
        running(**{"ca.agent_ttl": "5s"}) as upstream,
        below(upstream, folder, await downstream_token(upstream)) as lower,
    ):

        async def renewed() -> bool:
            return len(await upstream.events("agent.renew")) >= 3

        await eventually(renewed)
        await eventually(lambda: up(lower))
        await prepared(lower)
        assert len(await upstream.events("agent.attest")) == 1


async def test_an_svid_that_expired_meanwhile_needs_a_new_token_and_says_so(folder: Path) -> None:
    above = folder / "above"
    above.mkdir()
    async with running(above, **{"ca.agent_ttl": "5s"}) as upstream:
        token = await downstream_token(upstream)
        ports = {"listen": upstream.target("main"), "attest_listen": upstream.target("attest")}
        starting = below(upstream, folder, token)
        lower = await starting.__aenter__()
    try:
        await asyncio.sleep(6)
        async with running(above, **ports) as upstream:

            async def refused() -> bool:
                reason = (await lower.admin.get("/ready")).json()["checks"]["upstream"]["reason"]
                return "token" in reason

            await eventually(refused)
            (folder / "token").write_text(await downstream_token(upstream))
            await eventually(lambda: up(lower))
    finally:
        await starting.__aexit__(None, None, None)


async def test_three_levels(upstream: Node, folder: Path) -> None:
    """A server below a server below a server, where the first one allows it."""
    (folder / "middle").mkdir()
    (folder / "bottom").mkdir()
    async with (
        running(**{"downstream.path_length": "1"}) as top,
        below(top, folder / "middle", await downstream_token(top)) as middle,
        below(middle, folder / "bottom", await downstream_token(middle)) as bottom,
    ):
        assert top.roots == middle.roots == bottom.roots
        svid = await issued(bottom)
        assert len(svid.chain) == 3
        verify_svid(svid, parse_pem(TD, top.roots), SystemClock().now())


async def test_a_level_too_many_is_refused(upstream: Node, folder: Path) -> None:
    (folder / "middle").mkdir()
    (folder / "bottom").mkdir()
    async with below(upstream, folder / "middle", await downstream_token(upstream)) as middle:
        with pytest.raises(AuthorityUnavailable, match="path length"):
            async with below(middle, folder / "bottom", await downstream_token(middle)):
                pass
