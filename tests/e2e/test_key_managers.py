"""A server whose authority's key is in a real PKCS #11 token: taken away under traffic, brought back, moved to."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ca.key_manager import manager_of
from sds.demo.errors import DemoError
from sds.demo.stack import call
from tests.e2e.harness.wait import eventually
from tests.e2e.harness.world import World, traffic
from tests.e2e.harness.world import world as new_world
from tests.fakes.softhsm import PIN, SoftHsm, SoftHsmMissing

pytestmark = pytest.mark.e2e

TOKEN = "sds e2e"
PREFIX = "SDS_SERVER_CA__KEY_MANAGER__"


@pytest.fixture
def softhsm(tmp_path: Path) -> SoftHsm:
    try:
        hsm = SoftHsm(tmp_path / "softhsm")
    except SoftHsmMissing as missing:
        pytest.skip(str(missing))
    hsm.create(TOKEN)
    return hsm


def token_env(hsm: SoftHsm, folder: Path) -> dict[str, str]:
    """What configures the token, without choosing it."""
    pin = folder / "pin"
    pin.touch(mode=0o600)
    pin.write_text(f"{PIN}\n")
    return hsm.environ | {
        f"{PREFIX}PKCS11__MODULE": hsm.module,
        f"{PREFIX}PKCS11__TOKEN": TOKEN,
        f"{PREFIX}PKCS11__PIN_FILE": str(pin),
    }


def chosen(plugin: str) -> dict[str, str]:
    return {f"{PREFIX}PLUGIN": plugin}


@pytest.fixture
async def token_world(softhsm: SoftHsm, tmp_path: Path) -> AsyncIterator[World]:
    async with new_world(server_env=token_env(softhsm, tmp_path) | chosen("pkcs11")) as made:
        await made.start()
        yield made


async def readiness(world: World) -> dict[str, Any]:
    answer: dict[str, Any] = (await call(world.stack.admin_socket, "GET", "/ready")).json()
    return answer


async def is_now(world: World, status: str) -> bool:
    return bool((await readiness(world))["status"] == status)


async def up(world: World) -> float:
    text = (await call(world.stack.admin_socket, "GET", "/metrics")).text
    wanted = 'sds_server_key_manager_up{key_manager="pkcs11"} '
    return float(next(line.removeprefix(wanted) for line in text.splitlines() if line.startswith(wanted)))


async def test_a_lost_token_stops_new_signatures_and_nothing_else(token_world: World, softhsm: SoftHsm) -> None:
    """Traffic flows, /ready turns nobody away but tells, and what had to wait is signed by itself."""
    world = token_world
    front, _ = await world.entry("front"), await world.entry("back")
    pair = await world.pair()
    before = await pair.front.admin.serials()
    assert (await readiness(world))["status"] == "ok"
    async with traffic(pair.url) as tally:
        softhsm.unplug()
        await eventually(lambda: is_now(world, "degraded"), within=30)
        check = (await readiness(world))["checks"]["key_manager"]
        assert not check["ok"]
        assert TOKEN in check["reason"]
        assert await up(world) == 0
        await world.rotate(front, 1)  # the changed entry wants another certificate
        await asyncio.sleep(3)
        assert await pair.front.admin.serials() == before
        softhsm.plug_in()
        await eventually(lambda: is_now(world, "ok"), within=30)
        assert await up(world) == 1

        async def renewed() -> bool:
            return not await pair.front.admin.serials() & before

        await eventually(renewed, within=60)
    assert tally.requests > 0
    assert tally.failed == 0, list(tally.failures)
    log = world.stack.server.log.read_text() if world.stack.server else ""
    assert log.count("authority keys cannot be used") == 1
    assert log.count("the key manager can be used again") == 1
    assert PIN not in log
    assert b"PRIVATE KEY" not in b"".join(file.read_bytes() for file in world.folder.glob("server/*") if file.is_file())


async def test_a_server_does_not_start_without_its_token(token_world: World, softhsm: SoftHsm) -> None:
    """It says why; with the token it starts over the same authority."""
    world = token_world
    bundle = (await world.stack.call("GET", "/v1/bundle?format=pem")).text
    assert world.stack.server is not None
    await world.stack.server.stop()
    assert world.stack.server.returncode == 0
    softhsm.unplug()
    with pytest.raises(DemoError, match=f"the PKCS #11 token '{TOKEN}'"):
        await world.stack.start_server()
    softhsm.plug_in()
    await world.stack.start_server()
    assert (await world.stack.call("GET", "/v1/bundle?format=pem")).text == bundle


async def test_a_running_fleet_moves_into_a_token(softhsm: SoftHsm, tmp_path: Path) -> None:
    """The documented way, under traffic: configure the token, restart, rotate. No request fails."""
    async with new_world() as world:
        await world.start()
        await world.entry("front")
        await world.entry("back")
        pair = await world.pair()
        async with traffic(pair.url) as tally:
            assert world.stack.server is not None
            await world.stack.server.stop()
            world.stack.server_env = token_env(softhsm, tmp_path) | chosen("pkcs11")
            await world.stack.start_server()
            old = await active(world)
            assert {name for _, name in old} == {"wrapped"}
            await world.cli("ca", "rotate", "--yes", "--timeout", "40s")  # as soon as both Envoys have the bundle
            await world.cli("ca", "rotate", "--kind", "jwt", "--yes", "--timeout", "1s", "--force")  # nobody has tokens
            new = await active(world)
            assert {name for _, name in new} == {"pkcs11"}
            held = [await envoy.admin.serials() for envoy in (pair.front, pair.back)]

            async def moved() -> bool:
                now = [await envoy.admin.serials() for envoy in (pair.front, pair.back)]
                return all(not a & b for a, b in zip(held, now, strict=True))

            entries = (await world.stack.call("GET", "/v1/entries")).json()["entries"]
            for number, entry in enumerate(entries):
                await world.rotate(entry, number)
            await eventually(moved)
        assert tally.requests > 0
        assert tally.failed == 0, list(tally.failures)


async def active(world: World) -> set[tuple[str, str]]:
    """Each active authority and the key manager that has its key, from the database itself."""
    path = world.folder / "server" / "sds.sqlite3"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        rows = database.execute("SELECT id, key_ref FROM authorities WHERE state = 'active'").fetchall()
    return {(str(row[0]), manager_of(str(row[1]))) for row in rows}
