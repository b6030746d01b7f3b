"""A server whose keys, key-encryption keys and upstream are in a real Vault: rotated under traffic, sealed, moved."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from ca.key_manager import manager_of
from sds.demo.errors import DemoError
from tests.e2e.harness.vault_ca import VaultCa
from tests.e2e.harness.wait import eventually
from tests.e2e.harness.world import Pair, World, traffic
from tests.e2e.harness.world import world as new_world
from tests.fakes.vault_pki import PkiEngines
from tests.fakes.vault_server import VaultServer

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


@pytest.fixture
def ca(vault_on_disk: VaultServer, tmp_path: Path) -> VaultCa:
    return VaultCa.set_up(vault_on_disk, tmp_path)


@pytest.fixture
async def vault_world(ca: VaultCa) -> AsyncIterator[World]:
    async with new_world(server_env=ca.everything) as made:
        await made.start()
        yield made


def rows(world: World, query: str) -> list[tuple[str, ...]]:
    path = world.folder / "server" / "sds.sqlite3"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return [tuple(map(str, row)) for row in database.execute(query).fetchall()]


async def custodians(world: World) -> set[str]:
    return {manager_of(ref) for (ref,) in rows(world, "SELECT key_ref FROM authorities WHERE state = 'active'")}


async def status(world: World, *checks: str) -> bool:
    """Whether /ready says that exactly these have something against them."""
    answer = (await world.stack.call("GET", "/ready")).json()
    return {name for name, check in answer["checks"].items() if not check["ok"]} == set(checks)


async def metric(world: World, name: str) -> float:
    text = (await world.stack.call("GET", "/metrics")).text
    return float(next(line.rsplit(" ", 1)[1] for line in text.splitlines() if line.startswith(name)))


async def serials(pair: Pair) -> list[set[str]]:
    return [await envoy.admin.serials() for envoy in (pair.front, pair.back)]


async def moved_from(pair: Pair, held: list[set[str]], within: float = 60) -> None:
    async def moved() -> bool:
        return all(not before & now for before, now in zip(held, await serials(pair), strict=True))

    await eventually(moved, within=within)


async def restart(world: World, environment: dict[str, str]) -> None:
    assert world.stack.server is not None
    await world.stack.server.stop()
    world.stack.server_env = environment
    await world.stack.start_server()


async def test_sealed_in_the_middle_of_it_nothing_that_is_there_is_lost(
    vault_world: World, ca: VaultCa, vault_on_disk: VaultServer
) -> None:
    """Keys in Transit, the upstream in PKI, with the documented policies: rotated, sealed, unsealed, under traffic."""
    world = vault_world
    front, back = await world.entry("front"), await world.entry("back")
    pair = await world.pair()
    assert await custodians(world) == {"vault_transit"}
    assert await eventually_ok(world)
    root = (await world.stack.call("GET", "/v1/bundle?format=pem")).text
    assert root.strip() == PkiEngines(vault_on_disk).certificate(ca.pki).strip()
    async with traffic(pair.url) as tally:
        first = await serials(pair)
        await world.cli("ca", "rotate", "--yes", "--timeout", "60s")
        for number, entry in enumerate((front, back)):
            await world.rotate(entry, number)
        await moved_from(pair, first)
        assert (await world.stack.call("GET", "/v1/bundle?format=pem")).text == root  # the upstream's stays

        held = await serials(pair)
        await asyncio.to_thread(vault_on_disk.seal)
        await eventually(lambda: status(world, "key_manager", "upstream", "vault"), within=60)
        assert await metric(world, 'sds_server_key_manager_up{key_manager="vault_transit"}') == 0
        assert await metric(world, 'sds_server_upstream_up{upstream="vault_pki"}') == 0
        entries = (await world.stack.call("GET", "/v1/entries")).json()["entries"]
        for number, entry in enumerate(entries, start=10):
            await world.rotate(entry, number)
        await asyncio.sleep(3)
        assert await serials(pair) == held
        await asyncio.to_thread(vault_on_disk.unseal)
        await eventually(lambda: status(world), within=90)
        await moved_from(pair, held)
    assert tally.requests > 0
    assert tally.failed == 0, list(tally.failures)
    log = world.stack.server.log.read_text() if world.stack.server else ""
    assert log.count("the key manager can be used again") == 2  # vault_transit, and the ring of wrapped
    assert ca.token_file.read_text() not in log
    files = [file for file in world.folder.glob("server/*") if file.is_file()]
    assert b"PRIVATE KEY" not in b"".join(file.read_bytes() for file in files)
    assert not (world.folder / "server" / "kek").exists()


async def eventually_ok(world: World) -> bool:
    await eventually(lambda: status(world), within=30)
    return True


async def test_a_server_does_not_start_while_vault_is_sealed_and_says_why(
    vault_world: World, vault_on_disk: VaultServer
) -> None:
    world = vault_world
    bundle = (await world.stack.call("GET", "/v1/bundle?format=pem")).text
    assert world.stack.server is not None
    await world.stack.server.stop()
    await asyncio.to_thread(vault_on_disk.seal)
    with pytest.raises(DemoError, match=r"ended with status 1(.|\n)*does not decrypt the key-encryption keys"):
        await world.stack.start_server()
    await asyncio.to_thread(vault_on_disk.unseal)
    await world.stack.start_server()
    assert (await world.stack.call("GET", "/v1/bundle?format=pem")).text == bundle


async def test_a_running_fleet_moves_into_vault_and_back(ca: VaultCa) -> None:
    """The documented way, under traffic: configure, restart, rotate; keys, key-encryption keys, upstream. No request
    fails.
    """
    async with new_world() as world:
        await world.start()
        await world.entry("front")
        await world.entry("back")
        pair = await world.pair()
        kek_file = world.folder / "server" / "kek"
        async with traffic(pair.url) as tally:
            await restart(world, ca.everything)
            await moved(world, "wrapped", "vault_transit")
            (kept,) = rows(world, "SELECT value FROM settings WHERE key = 'kek_ring'")
            assert kek_file.read_text().split()[-1] not in kept[0]
            turned = await world.cli("kek", "rotate")
            assert turned.json["old_id"] in kek_file.read_text()
            kek_file.unlink()

            await restart(world, ca.reach | ca.keys(chosen=False) | ca.kek("file"))
            assert turned.json["new_id"] in kek_file.read_text()
            assert rows(world, "SELECT value FROM settings WHERE key = 'kek_ring'") == [("",)]
            await moved(world, "vault_transit", "wrapped")
            await world.cli("kek", "rotate")
        assert tally.requests > 0
        assert tally.failed == 0, list(tally.failures)
        actions = [action for (action,) in rows(world, "SELECT action FROM audit_events")]
        assert actions.count("kek.move") == 2


async def moved(world: World, before: str, after: str) -> None:
    """Rotate both kinds of authority, and see whose keys sign."""
    assert await custodians(world) == {before}
    await world.cli("ca", "rotate", "--yes", "--timeout", "60s")
    await world.cli("ca", "rotate", "--kind", "jwt", "--yes", "--timeout", "1s", "--force")
    assert await custodians(world) == {after}
