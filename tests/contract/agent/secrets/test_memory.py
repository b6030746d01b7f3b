"""Values are in memory while somebody wants them, each once, and no longer."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator

import grpc

from sds.agent.secrets.shelf import Shelf
from sds.delivery.encode import Encoded
from sds.delivery.resource import Resource
from sds.delivery.view import View
from tests.contract.agent.test_agent import World
from tests.fakes.sds_clients import EnvoyDelta, EnvoySotw, Mosn

CANARY = b"canary-that-must-leave-memory"


def holders() -> Iterator[object]:
    """Everything alive that shows the secret's name or holds its value."""
    gc.collect()
    for thing in gc.get_objects():
        match thing:
            case Resource():
                found = thing.name == "password"
            case View():
                found = "password" in thing.names
            case _:
                found = any(_is(value) for value in gc.get_referents(thing))
        if found:
            yield thing


def _is(value: object) -> bool:
    return isinstance(value, bytes | bytearray) and CANARY in value and value is not CANARY


def resources() -> set[Resource]:
    return {thing for thing in gc.get_objects() if isinstance(thing, Resource) and thing.name == "password"}


async def _gone(*but: type) -> list[object]:
    """What still has it after a while, except for these; what is on its way out of gRPC needs a moment."""
    found: list[object] = []
    for _ in range(30):
        found = [thing for thing in holders() if not isinstance(thing, but)]
        if not found:
            return []
        await asyncio.sleep(0.05)
    return found


async def test_the_last_stream_takes_the_value_along(world: World, channel: grpc.aio.Channel) -> None:
    secrets = world.server.secrets
    secrets.put("password", "1", CANARY, "e1")
    async with world.running(), EnvoySotw(channel, ("default",)) as bystander:
        await bystander.until_holds("default")
        async with EnvoySotw(channel, ("password",)) as sotw, EnvoyDelta(channel, ("password",), ads=True) as delta:
            await sotw.until_holds("password")
            await delta.until_holds("password")
            assert (await Mosn(channel).fetch("password")).name == "password"
            (resource,) = resources()
            assert resource.version == sotw.versions["password"] == delta.versions["password"]
            del resource
            sotw.secrets.clear()
            delta.secrets.clear()
        await bystander.until(lambda: not secrets.wanted)
        secrets._values.clear()  # the fake server has it, too
        assert [type(thing) for thing in await _gone()] == []
        (shelf,) = {thing for thing in gc.get_objects() if isinstance(thing, Shelf)}
        assert (shelf.size, len(shelf._resources)) == (0, 0)
        assert [name for name, _ in bystander.received] == ["default"]


async def test_a_replaced_value_leaves_as_well(world: World, channel: grpc.aio.Channel) -> None:
    secrets = world.server.secrets
    secrets.put("password", "1", CANARY, "e1")
    async with world.running(), EnvoySotw(channel, ("password",)) as envoy:
        await envoy.until_holds("password")
        secrets.put("password", "2", b"newer")
        await envoy.until(lambda: envoy.secrets["password"].generic_secret.secret.inline_bytes == b"newer")
        assert [type(thing) for thing in await _gone(Resource, View)] == []
        assert len(resources()) == 1


async def test_many_streams_share_one_resource(world: World, channel: grpc.aio.Channel) -> None:
    secrets = world.server.secrets
    secrets.put("password", "1", CANARY, "e1")
    async with world.running():
        clients = [EnvoySotw(channel, ("password",)) for _ in range(50)]
        for client in clients:
            await client.connect()
        for client in clients:
            await client.until_holds("password")
        assert secrets.sent == [("e1", "password", "1")]
        (encoded,) = {thing for thing in gc.get_objects() if isinstance(thing, Encoded) and CANARY in thing._sotw}
        del encoded
        secrets.put("password", "2", b"newer")
        for client in clients:
            await client.until(lambda c=client: c.secrets["password"].generic_secret.secret.inline_bytes == b"newer")  # type: ignore[misc]
        for client in clients:
            assert len(client.received) == 2
            await client.close()
