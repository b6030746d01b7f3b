"""The SPIFFE Workload API of the whole agent, over its public socket and against a small real server."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest

from attestation.spiffe_id import SpiffeId
from ca.svid import parse_svid
from ca.verify import verify_svid
from tests.contract.agent.test_agent import ME, Sidecar, World
from tests.fakes.node_server import FakeNodeServer
from tests.fakes.wait import PATIENCE
from tests.fakes.workload_api import BUNDLES, SVIDS, Stream

WEB = "spiffe://example.org/web"
DB = "spiffe://example.org/db"
DENIED = grpc.StatusCode.PERMISSION_DENIED
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
BOTH = pytest.mark.parametrize("method", [SVIDS, BUNDLES])


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short enough for sockets."""
    path = Path(tempfile.mkdtemp(prefix="a-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
async def world(server: FakeNodeServer, folder: Path) -> World:
    await server.put("e1", "/web", ME)
    return World(server, folder)


@asynccontextmanager
async def channel(world: World) -> AsyncIterator[grpc.aio.Channel]:
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"unix:{world.socket}", options=options) as opened:
        yield opened


async def test_an_svid_is_served_verified_and_rotated(world: World) -> None:
    async with world.running(), channel(world) as opened:
        await world.ready()
        async with Stream(opened) as stream:
            first = (await stream.get()).svids[0]
            await world.server.put("e1", "/web", ME, dns=("a.example",))
            second = (await stream.get()).svids[0]
    for one in (first, second):
        svid = parse_svid([one.x509_svid])
        verify_svid(svid, world.server.bundle, datetime.now(UTC))
        assert svid.spiffe_id == SpiffeId.parse(WEB)
        assert one.bundle == world.server.bundle.x509_authorities[0]
    assert first.x509_svid_key != second.x509_svid_key


async def test_a_new_authority_reaches_both_streams(world: World) -> None:
    async with world.running(), channel(world) as opened:
        await world.ready()
        async with Stream(opened) as svids, Stream(opened, BUNDLES) as bundles:
            await svids.get()
            await bundles.get()
            await world.server.add_authority()
            both = b"".join(world.server.bundle.x509_authorities)
            assert (await svids.get()).svids[0].bundle == both
            assert (await bundles.get()).bundles["spiffe://example.org"] == both
            await world.server.heartbeat()
            await svids.silent()
            await bundles.silent()


async def test_several_identities_come_default_first_and_hints_follow_their_entries(world: World) -> None:
    await world.server.put("e2", "/db", ME, hint="default")
    async with world.running(), channel(world) as opened:
        await world.ready()
        async with Stream(opened) as stream:
            seen = await stream.get()
            while len(seen.svids) < 2:
                seen = await stream.get()
            assert [(s.spiffe_id, s.hint) for s in seen.svids] == [(DB, "default"), (WEB, "")]
            await world.server.put("e1", "/web", ME, hint="public")
            assert [(s.spiffe_id, s.hint) for s in (await stream.get()).svids] == [(DB, "default"), (WEB, "public")]
            await world.server.put("e2", "/db", ME, hint="public")
            assert [(s.spiffe_id, s.hint) for s in (await stream.get()).svids] == [(WEB, "public"), (DB, "")]


@BOTH
async def test_an_identity_goes_and_comes_back(world: World, method: str) -> None:
    async with world.running(), channel(world) as opened:
        await world.ready()
        async with Stream(opened, method) as stream:
            await stream.get()
            await world.server.delete("e1")
            assert (await stream.ending())[0] is DENIED
        assert (await Stream(opened, method).ending())[0] is DENIED
        await world.server.put("e1", "/web", ME)
        async with asyncio.timeout(PATIENCE):
            while True:
                async with Stream(opened, method) as again:
                    try:
                        await again.get()
                        break
                    except grpc.aio.AioRpcError as refused:
                        assert refused.code() is DENIED
                await asyncio.sleep(0.02)


@BOTH
async def test_before_the_first_word_of_the_server_it_is_unavailable(world: World, method: str) -> None:
    async with world.running():
        pass
    await world.server.stop()
    async with world.running(), channel(world) as opened:
        assert (await Stream(opened, method).ending())[0] is UNAVAILABLE
        assert (await Stream(opened, method, ()).ending())[0] is grpc.StatusCode.INVALID_ARGUMENT
        await world.server.start()
        await world.ready()
        async with Stream(opened, method) as stream:
            await stream.get()


@BOTH
async def test_a_server_that_cannot_sign_makes_it_unavailable_but_not_denied(world: World, method: str) -> None:
    world.server.mishaps.sign = (grpc.StatusCode.INTERNAL, "out of order")
    async with world.running(), channel(world) as opened:
        await world.ready()
        assert (await Stream(opened, method).ending())[0] is UNAVAILABLE


async def test_a_ban_of_the_agent_ends_every_stream(world: World) -> None:
    async with world.running(), channel(world) as opened:
        await world.ready()
        async with Stream(opened) as stream:
            await stream.get()
            await world.server.cut_watches(DENIED, "this agent is banned")
            assert (await stream.ending())[0] is DENIED


@BOTH
async def test_a_stop_ends_streams_as_unavailable_and_waits_for_no_answer(world: World, method: str) -> None:
    async with channel(world) as opened:
        async with world.running(drain_timeout="60s"):
            await world.ready()
            stream = Stream(opened, method)
            await stream.get()
            leaving = asyncio.get_running_loop().time()
        assert await stream.ending() == (UNAVAILABLE, "the agent is stopping, try again")
        assert asyncio.get_running_loop().time() - leaving < 20


async def test_it_can_be_switched_off(world: World) -> None:
    async with world.running(**{"workload_api.enabled": "false"}), channel(world) as opened:
        await world.ready()
        assert (await Stream(opened).ending())[0] is grpc.StatusCode.UNIMPLEMENTED
        sidecar = Sidecar(world.socket)
        await sidecar.ask("default")
        await sidecar.get("default")
        await sidecar.close()


async def test_operators_and_the_server_see_these_streams(world: World) -> None:
    async with world.running(), channel(world) as opened:
        await world.ready()
        async with Stream(opened) as stream:
            message = await stream.get()
            (shown,) = (await world.ask("/v1/streams")).json()["streams"]
            assert (shown["protocol"], shown["spiffe_ids"]) == ("workload-api", [WEB])
            assert [r["name"] for r in shown["resources"]] == [WEB, "spiffe://example.org"]
            assert shown["resources"][0]["sent_serial"] == parse_svid([message.svids[0].x509_svid]).serial
            metrics = (await world.ask("/metrics")).text
            assert 'sds_agent_streams{protocol="workload-api"} 1.0' in metrics
            assert "sds_agent_pushes_total 2.0" in metrics
            async with asyncio.timeout(PATIENCE):
                while not any(
                    resource.sent_serial and reported.protocol == "workload-api"
                    for report in world.server.seen.reports
                    for reported in report.streams
                    for resource in reported.resources
                ):
                    await asyncio.sleep(0.01)


async def test_a_user_with_too_many_streams_is_told_to_come_back(world: World) -> None:
    async with world.running(**{"limits.max_streams_per_uid": 2}), channel(world) as opened:
        await world.ready()
        async with Stream(opened) as one, Stream(opened) as two:
            await one.get()
            await two.get()
            assert (await Stream(opened).ending())[0] is UNAVAILABLE
