"""The clock of a whole host jumps, ahead and back, under a real server and agent. What sidecars hold is always good."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from tests.e2e.harness.sds_client import mosn, svid_of
from tests.e2e.harness.wait import eventually
from tests.e2e.harness.world import World
from tests.e2e.harness.world import world as new_world
from tests.fakes.sds_clients import Mosn

pytestmark = pytest.mark.e2e

HOUR = 3600
LIBRARY = "faketime/libfaketime.so.1"


class HostClock:
    """What every process that is started from here on takes for the time of day. Monotonic clocks go on."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._ahead = 0
        self.set(0)

    def set(self, ahead: int) -> None:
        """`ahead`: seconds before the real time."""
        self._ahead = ahead
        self._file.write_text(f"{ahead:+d}\n")

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self._ahead)


@pytest.fixture
def host_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HostClock:
    library = next(Path("/usr/lib").glob(f"*/{LIBRARY}"), None)
    if library is None:
        pytest.skip("the Debian package faketime is missing")
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("FAKETIME_TIMESTAMP_FILE", str(tmp_path / "clock"))
    monkeypatch.setenv("FAKETIME_NO_CACHE", "1")
    monkeypatch.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    return HostClock(tmp_path / "clock")


@pytest.fixture
async def jumping(host_clock: HostClock) -> AsyncIterator[World]:
    del host_clock  # must be there first
    async with new_world() as made:
        await made.start()
        yield made


def leaf(client: Mosn) -> x509.Certificate:
    return svid_of(client.secrets["default"]).chain[0]


async def replaced(client: Mosn, clock: HostClock, former: x509.Certificate) -> x509.Certificate:
    """Another certificate, valid by the host's clock as it is now."""

    async def good() -> bool:
        now, held = clock.now(), leaf(client)
        return held != former and held.not_valid_before_utc <= now <= held.not_valid_after_utc

    await eventually(good, within=60.0)
    return leaf(client)


async def issued(world: World) -> int:
    ran = await world.cli("audit", "tail", "--action", "certificate.issue", "--lines", "1000")
    return len(ran.json_lines)


@pytest.mark.timeout(300)
async def test_the_hosts_clock_jumps_ahead_and_back(jumping: World, host_clock: HostClock) -> None:
    """To past the renewals, to past every workload's expiry, and back to before all that is held was made."""
    await jumping.own_entry()
    async with mosn(jumping.stack.sds_socket, "default") as client:
        await client.until_holds("default")
        held, before = leaf(client), await issued(jumping)
        jumps = (2400, 5 * HOUR, 0)
        for ahead in jumps:
            host_clock.set(ahead)
            held = await replaced(client, host_clock, held)
        await asyncio.sleep(3.0)
        assert leaf(client) == held
        # The workload's, the agent's and the server's own, each once a jump; and the first jump back may need two.
        assert await issued(jumping) - before <= 4 * len(jumps)
    agents = (await jumping.cli("agent", "list")).json["agents"]
    assert [agent["spiffe_id"] for agent in agents] == [jumping.stack.agent_id]
