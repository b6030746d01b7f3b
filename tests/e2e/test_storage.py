"""The whole path on PostgreSQL; and a database that is locked, full or gone: issuance refuses, serving goes on."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from sds.demo.envoy_config import SdsProtocol
from tests.e2e.harness.cli import sds
from tests.e2e.harness.wait import eventually
from tests.e2e.harness.world import Pair, World, traffic
from tests.e2e.harness.world import world as new_world
from tests.fakes.postgres import Cluster, PostgresMissing, running_cluster
from tests.fakes.small_disk import MountRefused, small_disk

pytestmark = pytest.mark.e2e
IMPATIENT = {"SDS_SERVER_DATABASE__BUSY_TIMEOUT": "300ms"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    try:
        with running_cluster() as running:
            yield running
    except PostgresMissing as missing:
        pytest.skip(str(missing))


async def refused(world: World, path: str) -> bool:
    """Whether a change is refused as what can be tried again, and not for its own sake."""
    ran = await sds(
        *("entry", "create", "--spiffe-id", world.id(path), "--parent-id", world.stack.agent_id),
        *("--selector", "unix:uid:12345", "--admin-socket", str(world.stack.admin_socket)),
    )
    if ran.status == 0:
        return False
    assert ran.status == 1, ran.err
    assert "Traceback" not in ran.err
    return True


async def rotates(world: World, pair: Pair, entry: dict[str, object], number: int) -> None:
    """A change reaches Envoy, so everything works again."""
    held = await pair.front.admin.serials()
    await world.rotate(entry, number)

    async def new() -> bool:
        return not held & await pair.front.admin.serials()

    await eventually(new)


async def test_the_whole_path_on_postgresql(cluster: Cluster) -> None:
    """First load, rotation, the server killed and back, the database killed and back."""
    async with new_world(server_env={"SDS_SERVER_DATABASE__URL": cluster.new_database()}) as world:
        await world.start()
        entry = await world.entry("front")
        await world.entry("back")
        pair = await world.pair(SdsProtocol.DELTA)
        async with traffic(pair.url) as tally:
            await rotates(world, pair, entry, 1)
            await world.stack.server.kill()
            await world.stack.start_server()
            await rotates(world, pair, entry, 2)
            cluster.stop(immediately=True)
            assert await refused(world, "while-it-is-away")
            cluster.ensure_running()

            async def accepts() -> bool:
                return not await refused(world, "afterwards")

            await eventually(accepts, every=0.2)
            await rotates(world, pair, entry, 3)
        assert tally.failed == 0, list(tally.failures)


async def test_a_locked_database_stops_issuance_and_nothing_else() -> None:
    async with new_world(server_env=IMPATIENT) as world:
        await world.start()
        entry = await world.entry("front")
        await world.entry("back")
        pair = await world.pair()
        async with traffic(pair.url) as tally:
            lock = sqlite3.connect(world.folder / "server/sds.sqlite3", isolation_level=None)
            lock.execute("BEGIN IMMEDIATE")
            assert await refused(world, "while-locked")
            assert (await world.cli("entry", "list")).json["entries"]
            lock.execute("ROLLBACK")
            lock.close()
            await rotates(world, pair, entry, 1)
        assert tally.failed == 0, list(tally.failures)
        listed = (await world.cli("entry", "list")).json["entries"]
        assert world.id("while-locked") not in {e["spiffe_id"] for e in listed}


async def test_a_full_disk_stops_issuance_and_nothing_else() -> None:
    try:
        with small_disk("4m") as disk:
            url = f"sqlite:///{disk.folder}/db/sds.sqlite3"
            (disk.folder / "db").mkdir(mode=0o700)
            async with new_world(server_env=IMPATIENT | {"SDS_SERVER_DATABASE__URL": url}) as world:
                await world.start()
                entry = await world.entry("front")
                await world.entry("back")
                pair = await world.pair()
                async with traffic(pair.url) as tally:
                    disk.fill()
                    assert await refused(world, "while-full")
                    assert (await world.cli("entry", "list")).json["entries"]
                    disk.relieve()

                    async def accepts() -> bool:
                        return not await refused(world, "afterwards")

                    await eventually(accepts, every=0.2)
                    await rotates(world, pair, entry, 1)
                assert tally.failed == 0, list(tally.failures)
    except MountRefused as refusal:
        pytest.skip(f"kernel: {refusal}")
