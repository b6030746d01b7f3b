"""Certificates rotate under constant traffic and no request fails."""

from __future__ import annotations

import asyncio

import pytest

from sds.demo.envoy_config import SdsProtocol
from sds.demo.traffic import Tally
from tests.e2e.harness.wait import eventually
from tests.e2e.harness.world import Pair, World, traffic

pytestmark = pytest.mark.e2e


async def unharmed(pair: Pair, *tallies: Tally) -> None:
    """No request failed, Envoy took every push, and no Envoy was restarted."""
    for tally in tallies:
        assert tally.requests > 0
        assert tally.failed == 0, list(tally.failures)
    for envoy in (pair.front, pair.back):
        envoy.child.check()
        assert await envoy.admin.restart_epoch() == 0
        assert sum((await envoy.admin.stats("sds[.].*[.]update_rejected")).values()) == 0


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_20_rotations_by_lifetime_under_http1_and_http2_traffic(world: World) -> None:
    """Nobody asks for a rotation: the certificates live 10 s and are renewed at half of that."""
    rotations = 20
    await world.entry("front", "--x509-ttl", "10s")
    await world.entry("back", "--x509-ttl", "10s")
    pair = await world.pair()
    async with traffic(pair.url) as http1, traffic(pair.url, http2=True) as http2:

        async def rotated() -> bool:
            counts = [len(s) for t in (http1, http2) for s in (t.client_serials, t.server_serials)]
            return min(counts) > rotations

        await eventually(rotated, within=200, every=0.5)
    await unharmed(pair, http1, http2)
    assert await pair.back.admin.stat("listener.back.ssl.handshake") > 2 * rotations


@pytest.mark.parametrize("protocol", SdsProtocol)
async def test_rotations_by_change_of_entry(world: World, protocol: SdsProtocol) -> None:
    """Each way of asking gets each push; a changed entry is a new certificate well under a second later."""
    entries = [await world.entry("front"), await world.entry("back")]
    pair = await world.pair(protocol)
    async with traffic(pair.url) as http1, traffic(pair.url, http2=True) as http2:
        held: list[set[str]] = []

        async def pushed() -> bool:
            now = [await envoy.admin.serials() for envoy in (pair.front, pair.back)]
            return all(new and not new & old for new, old in zip(now, held, strict=True))

        async def used() -> bool:
            front, back = [await envoy.admin.serials() for envoy in (pair.front, pair.back)]
            return all(front <= set(t.client_serials) and back <= set(t.server_serials) for t in (http1, http2))

        await eventually(used)  # the first ones count, too
        for number in range(1, 6):
            held = [await envoy.admin.serials() for envoy in (pair.front, pair.back)]
            for entry in entries:
                await world.rotate(entry, number)
            await eventually(pushed, within=1.0, every=0.02)
            await eventually(used)
    await unharmed(pair, http1, http2)
    assert len(http1.client_serials) == len(http1.server_serials) == 6
    assert len(http2.client_serials) == len(http2.server_serials) == 6


@pytest.mark.slow
@pytest.mark.timeout(3600)
async def test_1000_rotations(world: World, long_share: float) -> None:
    """A thousand new certificates for each of two Envoys under traffic; CI runs a share of them."""
    rounds = max(round(1000 * long_share), 20)
    entries = [await world.entry("front"), await world.entry("back")]
    pair = await world.pair()
    before: list[set[str]] = [set(), set()]

    async def pushed() -> bool:
        now = [await envoy.admin.serials() for envoy in (pair.front, pair.back)]
        return all(new and not new & old for new, old in zip(now, before, strict=True))

    async with traffic(pair.url, rate=40) as http1, traffic(pair.url, http2=True, rate=40) as http2:
        for number in range(1, rounds + 1):
            before = [await envoy.admin.serials() for envoy in (pair.front, pair.back)]
            for entry in entries:
                await world.rotate(entry, number)
            await eventually(pushed, within=10.0, every=0.05)
            await asyncio.sleep(0.25)
    await unharmed(pair, http1, http2)
    for tally in (http1, http2):  # a connection may outlive a certificate here, but most are seen in use
        assert len(tally.client_serials) > rounds / 3
        assert len(tally.server_serials) > rounds / 3
