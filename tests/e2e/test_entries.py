"""Entries come, change and go while Envoys wait and work."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import grpc
import pytest

from sds.demo.envoy_config import SdsProtocol
from sds.demo.ports import free_ports
from sds.demo.traffic import Tally
from tests.e2e.harness import sds_client
from tests.e2e.harness.http import one_request
from tests.e2e.harness.wait import eventually, stays
from tests.e2e.harness.world import World, traffic

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("protocol", SdsProtocol)
async def test_an_entry_is_added_while_envoy_waits(world: World, protocol: SdsProtocol) -> None:
    """Envoy asked for something that it was not entitled to; it gets it the moment it is."""
    ports = free_ports(2)
    await world.entry("back")
    source = world.source(protocol, initial_fetch_timeout=0.5)
    await world.envoy("back", world.back_config("back", ports[1], ["front"], source))
    front = await world.envoy("front", world.front_config("front", ports[0], ports[1], ["back"], source))
    url = f"http://127.0.0.1:{ports[0]}/"
    assert (await one_request(url, Tally())).failed == 1
    await world.entry("front")

    async def served() -> bool:
        return bool((await front.admin.secrets()).get("default"))

    await eventually(served)

    async def talks() -> bool:
        return (await one_request(url, Tally())).failed == 0

    await eventually(talks)


async def test_an_entry_is_deleted(world: World) -> None:
    """Envoy keeps what it has until that expires, and the command says when; nothing is renewed, new streams get nothing."""
    entry = await world.entry("front", "--x509-ttl", "10s")
    await world.entry("back")
    pair = await world.pair()
    deleted = (await world.cli("entry", "delete", entry["id"])).json
    until = datetime.fromisoformat(deleted["last_certificate_expires_at"])
    assert 0 < (until - datetime.now(UTC)).total_seconds() <= 10
    held = await pair.front.admin.serials()
    updates = await pair.front.admin.stats("sds[.].*[.]update_success")

    async def not_renewed() -> bool:
        return await pair.front.admin.serials() == held

    await stays(not_renewed, during=8.0, every=0.5)
    assert await pair.front.admin.stats("sds[.].*[.]update_success") == updates

    async def expired() -> bool:
        return (await one_request(pair.url, Tally())).failed == 1

    await eventually(expired)


async def test_a_new_stream_after_the_deletion_gets_nothing(world: World) -> None:
    entry = await world.own_entry()
    assert sds_client.svid_of(await sds_client.fetch(world.stack.sds_socket, "default")).chain
    await world.cli("entry", "delete", entry["id"])

    async def refused() -> bool:
        try:
            await sds_client.fetch(world.stack.sds_socket, "default")
        except grpc.aio.AioRpcError as error:
            return error.code() in {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.PERMISSION_DENIED}
        return False

    await eventually(refused)


async def test_an_entry_changed_by_the_command_line_is_a_new_certificate_under_traffic(world: World) -> None:
    await world.entry("front")
    entry = await world.entry("back", "--dns", "old.test")
    pair = await world.pair()
    held = await pair.back.admin.serials()
    async with traffic(pair.url) as tally:
        updated = await world.cli("entry", "update", entry["id"], "--dns", "new.test")
        assert updated.json["revision"] == entry["revision"] + 1

        async def changed() -> bool:
            return not held & await pair.back.admin.serials()

        await eventually(changed)
        names = json.dumps(await pair.back.admin.json("/certs"))
        assert "new.test" in names
        assert "old.test" not in names
    assert tally.failed == 0, list(tally.failures)
