"""The connection to a real gRPC server: followed, lost, resumed, moved to new credentials; and what is served meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import grpc
import pytest

from sds import __version__
from sds._pb.sds.node.v1 import node_pb2
from sds.agent.cache import Cache
from sds.agent.dial import NodeLink
from sds.agent.distrust import URGENT
from sds.agent.errors import ServerUnreachable
from sds.agent.renew import OwnSvid
from sds.agent.upstream import Upstream
from tests.contract.agent.conftest import BACKOFF, LOG, OPTIONS, Node
from tests.fakes.ca import make_crl, make_svid
from tests.fakes.node_server import AGENT_ID
from tests.fakes.wait import until


@asynccontextmanager
async def running(upstream: Upstream) -> AsyncIterator[Upstream]:
    task = asyncio.create_task(upstream.run())
    try:
        yield upstream
    finally:
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled(), task.exception()


@pytest.fixture
async def upstream(node: Node) -> AsyncIterator[Upstream]:
    await node.server.put("e1", "/web", "unix:uid:1")
    async with running(node.upstream(await node.identity())) as made:
        await made.connected()
        yield made


def cache_of(upstream: Upstream) -> Cache:
    return upstream._cache


async def test_it_learns_everything_and_then_what_changes(node: Node, upstream: Upstream) -> None:
    cache = cache_of(upstream)
    assert cache.synced
    assert [str(entry.spiffe_id) for entry in cache.entries.values()] == ["spiffe://example.org/web"]
    await node.server.put("e2", "/db", "unix:uid:2")
    await until(lambda: len(cache.entries) == 2)
    await node.server.put("e1", "/web", "unix:uid:1", dns=("a.example",))
    await until(lambda: cache.entries["e1"].spec.dns_names)
    await node.server.delete("e1")
    await until(lambda: list(cache.entries) == ["e2"])
    assert len(node.server.seen.watches) == 1, "all over one stream"


async def test_it_resumes_after_an_outage_and_keeps_what_it_knew_meanwhile(node: Node, upstream: Upstream) -> None:
    cache = cache_of(upstream)
    known = node.server.revision
    await node.server.stop()
    await until(lambda: not upstream.status.connected)
    assert upstream.link is None
    assert list(cache.entries) == ["e1"]
    assert cache.synced
    await node.server.put("e2", "/db", "unix:uid:2")
    await node.server.start()
    await until(lambda: len(cache.entries) == 2)
    assert upstream.status.connected
    last = node.server.seen.watches[-1]
    assert (last.resume_revision, last.resume_epoch) == (known, "epoch-1")
    assert last.agent_version == __version__
    assert node.told.connections[0] is True
    assert False in node.told.connections
    assert node.told.connections[-1] is True


async def test_another_epoch_gives_a_snapshot_that_replaces_everything(node: Node, upstream: Upstream) -> None:
    known = node.server.revision
    await node.server.stop()
    await until(lambda: not upstream.status.connected)
    assert list(cache_of(upstream).entries) == ["e1"]
    node.server.epoch = "restored from a backup"
    node.server._entries.clear()
    await node.server.put("other", "/other", "unix:uid:3")
    await node.server.start()
    await until(lambda: list(cache_of(upstream).entries) == ["other"])
    asked = node.server.seen.watches[-1]
    assert (asked.resume_revision, asked.resume_epoch) == (known, "epoch-1"), "the agent does not know it beforehand"
    await node.server.stop()
    await node.server.start()
    await until(lambda: len(node.server.seen.watches) > 2 and upstream.status.connected)
    assert node.server.seen.watches[-1].resume_epoch == "restored from a backup"
    assert list(cache_of(upstream).entries) == ["other"]


async def test_a_ban_takes_everything_away_and_ends_with_the_ban(node: Node, upstream: Upstream) -> None:
    cache = cache_of(upstream)
    await node.server.cut_watches(grpc.StatusCode.PERMISSION_DENIED, "this agent is banned")
    await until(lambda: upstream.status.refused)
    assert upstream.status.problem == "this agent is banned"
    assert not cache.entries
    assert upstream.link is None
    node.server.mishaps.watch = None
    await until(lambda: list(cache.entries) == ["e1"])
    assert not upstream.status.refused
    assert node.server.seen.watches[-1].resume_revision == 0, "what was forgotten has to be told again"


@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.INVALID_ARGUMENT,
    ],
)
async def test_every_other_failure_leaves_what_is_known(node: Node, upstream: Upstream, code: grpc.StatusCode) -> None:
    await node.server.cut_watches(code, "not now")
    await until(lambda: upstream.status.problem)
    assert "not now" in upstream.status.problem
    assert list(cache_of(upstream).entries) == ["e1"]
    node.server.mishaps.watch = None
    await until(lambda: upstream.status.connected)


async def test_it_never_storms(node: Node, upstream: Upstream) -> None:
    upstream._backoff = replace(BACKOFF, shortest=timedelta(milliseconds=100), longest=timedelta(milliseconds=400))
    before = len(node.server.seen.watches)
    await node.server.cut_watches(grpc.StatusCode.UNAVAILABLE, "not now")
    started = time.monotonic()
    await asyncio.sleep(0.6)
    # Each of the pauses is at least half of 0.1 s, then 0.2 s, then 0.4 s for good.
    assert 1 <= len(node.server.seen.watches) - before <= 3 + (time.monotonic() - started) / 0.2


def own_svid(node: Node, upstream: Upstream) -> OwnSvid:
    return OwnSvid(upstream, node.reader, BACKOFF, timedelta(minutes=5), node.told, node.clock, LOG)


async def test_the_bundle_rolls_over_while_connected(node: Node, upstream: Upstream) -> None:
    """The new root is announced, the server itself moves to it, the old one goes: nobody is locked out."""
    first = node.server.authorities[0]
    await node.server.add_authority()
    await until(lambda: cache_of(upstream).bundle == node.server.bundle)
    assert node.saved[-1].bundle == node.server.bundle
    await node.server.stop()
    await node.server.start()  # shakes hands under the second authority now
    await until(lambda: len(node.server.seen.watches) == 2 and upstream.status.connected)  # it is anew, not still
    own = own_svid(node, upstream)
    node.server.authorities.remove(first)
    await node.server.announce_bundle()
    await until(lambda: len(upstream.identity.bundle.x509_authorities) == 1)
    assert upstream.status.connected, "our own SVID is under the old root, and we are still here"
    await own.judge()
    assert own.due() <= node.clock.now() + URGENT
    renewing = asyncio.create_task(own.run())
    await until(lambda: upstream.identity.trusted(node.clock.now()))
    await until(lambda: node.server.seen.serials[-1] == upstream.identity.svid.serial)
    renewing.cancel()
    assert own.due() > node.clock.now()
    assert cache_of(upstream).bundle == node.server.bundle


async def test_our_own_svid_is_renewed_before_its_time_when_it_is_revoked_or_its_authority_is_tainted(
    node: Node, upstream: Upstream
) -> None:
    own, serial = own_svid(node, upstream), upstream.identity.svid.serial
    regular = own.due()
    first = node.server.authorities[0]
    node.server.tainted = frozenset({first.authority.id})
    await node.server.announce_bundle()
    await until(lambda: upstream.identity.bundle.tainted)
    await own.judge()
    tainted = own.due()
    assert node.clock.now() < tainted <= node.clock.now() + timedelta(minutes=5) < regular
    await node.server.announce_bundle()
    await until(lambda: upstream.bundle_sequence == node.server.sequence)
    await own.judge()
    assert own.due() == tainted, "what the next bundle says again puts nothing off"
    node.server.crls = (make_crl(first, serial),)
    await node.server.announce_bundle()
    await until(lambda: upstream.identity.bundle.crls)
    await own.judge()
    assert own.due() <= node.clock.now() + URGENT
    renewing = asyncio.create_task(own.run())
    await until(lambda: upstream.identity.svid.serial != serial)
    renewing.cancel()
    assert own.due() > node.clock.now() + URGENT


async def test_a_connection_that_was_closed_meanwhile_is_an_unreachable_server(node: Node) -> None:
    link = NodeLink(node.server.address, await node.identity(), OPTIONS)
    await link.close()
    with pytest.raises(ServerUnreachable, match="closed"):
        await link.sign(node_pb2.SignX509SvidsRequest())


async def test_a_connection_that_is_closed_under_a_call_is_an_unreachable_server(node: Node) -> None:
    """gRPC calls that a cancellation; taken for one of our own it would end the agent."""
    node.server.mishaps.report_waits = asyncio.Event()
    identity = await node.identity()
    ends = []
    for number, end in enumerate(("closed", "cancelled"), start=1):
        link = NodeLink(node.server.address, identity, OPTIONS)
        report = node_pb2.ReportDeliveryRequest(run_id="run", sequence=number)
        call = asyncio.create_task(link.report(report))
        await until(lambda: len(node.server.seen.reports) == number)  # noqa: B023 - awaited here
        if end == "cancelled":
            call.cancel()
        else:
            await link.close()
        (ended,) = await asyncio.gather(call, return_exceptions=True)
        ends.append((type(ended), call.cancelled()))
        await link.close()
    assert ends == [(ServerUnreachable, False), (asyncio.CancelledError, True)]


async def test_a_new_bundle_moves_the_connection_only_if_it_was_verified_by_what_is_gone(
    node: Node, upstream: Upstream
) -> None:
    told: list[int] = []
    upstream.on_bundle(lambda: told.append(upstream.bundle_sequence))
    first = node.server.authorities[0]
    added = await node.server.add_authority()
    node.server.crls = (make_crl(first), make_crl(added))
    await node.server.announce_bundle()
    await until(lambda: upstream.bundle_sequence == 3)
    await asyncio.sleep(0.1)
    assert len(node.server.seen.watches) == 1 and node.saved[-1].bundle.sequence == 3
    node.server.authorities.remove(added)
    await node.server.announce_bundle()
    await until(lambda: len(node.server.seen.watches) == 2)
    assert told[-2:] == [3, 4]
    assert upstream.status.connected


@pytest.mark.parametrize(
    "changes", [{"x509_authorities": []}, {"x509_authorities": [b"rubbish"]}, {"trust_domain": "other.org"}]
)
async def test_bundles_that_are_no_use_are_ignored(node: Node, upstream: Upstream, changes: dict[str, object]) -> None:
    before = cache_of(upstream).bundle

    def spoil(good: node_pb2.Bundle) -> node_pb2.Bundle:
        parts = {"trust_domain": good.trust_domain, "x509_authorities": list(good.x509_authorities)}
        return node_pb2.Bundle(**(parts | changes))  # type: ignore[arg-type]

    node.server.mishaps.bundle = spoil
    await node.server.announce_bundle()
    await node.server.put("e3", "/c", "unix:uid:3")
    await until(lambda: "e3" in cache_of(upstream).entries)
    assert cache_of(upstream).bundle == before
    assert upstream.status.connected


async def test_renewal_moves_to_the_new_certificate_without_an_interruption(node: Node) -> None:
    node.server.agent_ttl = timedelta(seconds=6)
    identity = await node.identity()
    upstream = node.upstream(identity)
    own = own_svid(node, upstream)
    async with running(upstream):
        await upstream.connected()
        renewing = asyncio.create_task(own.run())
        await until(lambda: len(set(node.server.seen.serials)) >= 2)
        node.server.agent_ttl = timedelta(hours=1)
        await until(lambda: upstream.identity.svid.not_after - node.clock.now() > timedelta(minutes=30))
        await until(lambda: node.server.seen.serials[-1] == upstream.identity.svid.serial)
        renewing.cancel()
    assert node.saved[-1].svid.serial == upstream.identity.svid.serial
    assert str(upstream.identity.svid.spiffe_id) == AGENT_ID
    assert upstream.identity.svid.key_hash != identity.svid.key_hash, "a new key each time"
    assert set(node.told.connections) == {True}, "never lost the connection"
    assert set(node.told.renewals) == {"success"}


async def test_a_renewal_that_fails_is_tried_again_and_the_old_certificate_used_meanwhile(node: Node) -> None:
    node.server.agent_ttl = timedelta(seconds=8)
    node.server.mishaps.renew = (grpc.StatusCode.UNAVAILABLE, "the database is locked")
    upstream = node.upstream(await node.identity())
    own = own_svid(node, upstream)
    async with running(upstream):
        await upstream.connected()
        renewing = asyncio.create_task(own.run())
        await until(lambda: node.told.renewals.count("failure") >= 2)
        assert upstream.status.connected
        node.server.mishaps.renew = None
        await until(lambda: "success" in node.told.renewals)
        renewing.cancel()


async def test_what_the_server_renews_must_be_for_us(node: Node) -> None:
    node.server.agent_ttl = timedelta(seconds=6)
    upstream = node.upstream(await node.identity())
    own = own_svid(node, upstream)
    node.server.mishaps.renew_as = "spiffe://example.org/sds/agent/other"
    async with running(upstream):
        await upstream.connected()
        renewing = asyncio.create_task(own.run())
        await until(lambda: "failure" in node.told.renewals)
        renewing.cancel()
    assert str(upstream.identity.svid.spiffe_id) == AGENT_ID


async def test_when_the_svid_has_expired_a_new_token_brings_it_back(node: Node) -> None:
    node.server.agent_ttl = timedelta(seconds=2)
    identity = await node.identity()
    await node.server.put("e1", "/web", "unix:uid:1")
    await asyncio.sleep(2)
    assert identity.expired(node.clock.now())
    node.server.agent_ttl = None
    async with running(node.upstream(identity)) as upstream:
        await until(lambda: "expired" in upstream.status.problem)
        assert not node.server.seen.watches, "an expired certificate is not tried"
        other = "spiffe://example.org/sds/agent/join_token/2"
        node.server.tokens["new"] = other
        node.write_token("new")
        await until(lambda: upstream.status.connected)
        assert str(upstream.identity.svid.spiffe_id) == other
    assert str(node.saved[-1].svid.spiffe_id) == other


@pytest.mark.parametrize("offset", [-3600.0, 0.0, 3600.0])
async def test_the_clocks_are_compared(node: Node, offset: float) -> None:
    node.server.mishaps.clock_offset = timedelta(seconds=offset)
    async with running(node.upstream(await node.identity())) as upstream:
        await until(lambda: node.told.skews)
        assert upstream.status.skew_seconds == pytest.approx(offset, abs=0.5)


async def test_whoever_has_a_workloads_certificate_is_not_taken_for_the_server(node: Node) -> None:
    """Right trust domain, right authority, but not the server's reserved name."""
    identity = await node.identity()
    await node.server.stop()
    node.server.mishaps.impostor = make_svid(
        "spiffe://example.org/web",
        node.server.authorities[0],
        dns_names=("server.sds-internal.example.org", "localhost"),
        now=node.clock.now(),
    )
    await node.server.start()
    async with running(node.upstream(identity)) as upstream:
        await until(lambda: "does not verify" in upstream.status.problem)
        assert not node.server.seen.watches
        await node.server.stop()
        node.server.mishaps.impostor = None
        await node.server.start()
        await until(lambda: upstream.status.connected)
