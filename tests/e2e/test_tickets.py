"""Session tickets over a rotation of their keys: two real Envoys of one identity go on resuming each other's sessions."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sds.demo.envoy import Envoy
from sds.demo.ports import LOOPBACK, free_ports
from tests.e2e.harness.secret_envoys import gateway
from tests.e2e.harness.wait import eventually
from tests.e2e.harness.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]
EVERY = 12  # seconds between rotations


class Turns:
    """Counts the rotations that two Envoys have taken in: equal keys have equal versions."""

    def __init__(self, *envoys: Envoy) -> None:
        self._envoys = envoys
        self._versions: list[str] = []

    async def now(self) -> int | None:
        """None while one of them is behind, or has none yet."""
        one, *others = [(await envoy.admin.secrets()).get("tickets", "") for envoy in self._envoys]
        if not one or {one, *others} != {one}:
            return None
        if one not in self._versions:
            self._versions.append(one)
        return self._versions.index(one)

    async def reached(self, turn: int) -> None:
        async def there() -> bool:
            now = await self.now()
            return now is not None and now >= turn

        await eventually(there, within=120, every=0.2)


async def s_client(port: int, *more: str) -> bool:
    """Whether the session was resumed. TLS 1.2 gives the ticket with the handshake."""
    process = await asyncio.create_subprocess_exec(
        *("openssl", "s_client", "-connect", f"{LOOPBACK}:{port}", "-servername", "a.test", "-tls1_2", *more),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    assert b"Reused, TLS" in out or b"New, TLS" in out, out.decode(errors="replace")
    return b"Reused, TLS" in out


async def resumed_after(number: int, turns: Turns, ports: list[int], session: Path) -> bool | None:
    """Whether a session with the first Envoy is resumed by the second so many rotations later; None: time ran away."""
    began = await turns.now()
    assert not await s_client(ports[0], "-sess_out", str(session))
    if began is None or await turns.now() != began:
        return None
    await turns.reached(began + number)
    resumed = await s_client(ports[1], "-sess_in", str(session))
    return resumed if await turns.now() == began + number else None


@pytest.mark.slow
async def test_two_envoys_resume_across_a_rotation_and_not_for_ever(empty_world: World) -> None:
    world, ports = empty_world, free_ports(2)
    world.stack.server_env = {"SDS_SERVER_SECRETS__TICKETS__ROTATE_EVERY": f"{EVERY}s"}
    await world.start()
    await world.entry("gateway")
    envoys = []
    for name, port in zip(("one", "two"), ports, strict=True):
        admin = str(world.folder / f"{name}.sock")
        config = gateway(name, admin, port, world.source(), {"a.test": "default"}, tickets=True)
        envoys.append(await world.envoy(name, config, identity="gateway"))
    turns = Turns(*envoys)
    await turns.reached(0)
    for number, expected in ((0, True), (1, True), (3, False)):
        answer = None
        for _ in range(8):
            answer = await resumed_after(number, turns, ports, world.folder / f"session-{number}.pem")
            if answer is not None:
                break
        assert answer is expected, f"after {number} rotations"
    events = (await world.stack.call("GET", "/v1/audit?action=tickets.rotate")).json()["events"]
    assert len(events) >= 4
