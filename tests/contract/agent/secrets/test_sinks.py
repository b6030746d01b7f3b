"""Files of secrets, through the whole agent: they follow the secrets, and stay when those cannot be had."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sds.agent.errors import CannotStart
from tests.contract.agent.test_agent import ME, World

CANARY = b"canary-of-a-sink"


@pytest.fixture
def memory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="sds-sink-") as folder:
        yield Path(folder)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)


def holds(path: Path, content: bytes) -> bool:
    return path.exists() and path.read_bytes() == content


def sink(path: Path, **more: object) -> dict[str, object]:
    given = {"path": str(path), "selectors": [ME], "secrets": ["password"], "field": "", **more}
    return {f"sinks.one.{key}": value for key, value in given.items() if value is not None}


async def metric(world: World, line: str) -> float:
    text = (await world.ask("/metrics")).text
    return float(next(one for one in text.splitlines() if one.startswith(line)).split()[-1])


async def until_metric(world: World, line: str, value: float) -> None:
    async with asyncio.timeout(60):
        while await metric(world, line) != value:
            await asyncio.sleep(0.02)


async def test_a_file_follows_its_secret_and_a_program_is_told(world: World, memory: Path) -> None:
    secrets, file, told = world.server.secrets, memory / "password", memory / "told"
    secrets.put("password", "1", CANARY, "e1")
    command = [sys.executable, "-c", f"open({str(told)!r}, 'a').write('x')"]
    async with world.running(**sink(file, command=command)):
        await until(lambda: holds(file, CANARY) and holds(told, b"x"))
        secrets.put("password", "2", b"newer")
        await until(lambda: holds(file, b"newer") and holds(told, b"xx"))
        assert file.stat().st_mode & 0o777 == 0o600
    assert holds(file, b"newer"), "the file outlives the agent, as its readers do"
    async with world.running(**sink(file, command=command)):
        await until(lambda: ("e1", "password") in secrets.wanted)
        secrets.put("password", "3", b"again")
        await until(lambda: holds(file, b"again"))
        await until(lambda: holds(told, b"xxx"))
    assert holds(told, b"xxx"), "what was there already after a restart was no change"


async def test_a_template_over_two_secrets(world: World, memory: Path) -> None:
    template, file = world.folder / "template", memory / "config"
    template.write_text('[db]\nuser={{ secrets["login"].user }}\nkey={{ secrets["password"].value }}\n')
    world.server.secrets.put("login", "1", {"user": b"u"}, "e1", kind="map")
    more = {"secrets": ["login", "password"], "template": str(template), "field": None}
    async with world.running(**sink(file, **more)):
        await until(lambda: ("e1", "login") in world.server.secrets.wanted)
        assert not file.exists(), "half of it would be worse than nothing"
        world.server.secrets.put("password", "1", CANARY, "e1")
        await until(lambda: holds(file, b"[db]\nuser=u\nkey=" + CANARY + b"\n"))


async def test_a_grant_that_goes_takes_the_file_with_it(world: World, memory: Path) -> None:
    secrets, file = world.server.secrets, memory / "password"
    secrets.put("password", "1", CANARY, "e1")
    async with world.running(**sink(file)):
        await until(lambda: holds(file, CANARY))
        secrets.revoke("password", "e1")
        await until(lambda: not file.exists())
        assert await metric(world, "sds_agent_sinks_waiting") == 1
        secrets.put("password", "2", b"again", "e1")
        await until(lambda: holds(file, b"again"))


async def test_a_file_that_is_to_stay_stays(world: World, memory: Path) -> None:
    secrets, file = world.server.secrets, memory / "password"
    secrets.put("password", "1", CANARY, "e1")
    async with world.running(**sink(file, remove=False)):
        await until(lambda: holds(file, CANARY))
        assert await metric(world, "sds_agent_sinks_waiting") == 0
        secrets.revoke("password", "e1")
        await until_metric(world, "sds_agent_sinks_waiting", 1)
        assert holds(file, CANARY)
        secrets.put("password", "2", b"again", "e1")
        await until(lambda: holds(file, b"again"))


async def test_a_server_that_is_away_takes_nothing(world: World, memory: Path) -> None:
    secrets, file = world.server.secrets, memory / "password"
    secrets.put("password", "1", CANARY, "e1")
    async with world.running(**sink(file)):
        await until(lambda: holds(file, CANARY))
        written = file.stat().st_ino
        await world.server.stop()
        await until_metric(world, "sds_agent_upstream_connected", 0)
        assert holds(file, CANARY)
        await world.server.start()
        await until_metric(world, "sds_agent_upstream_connected", 1)
        await until(lambda: ("e1", "password") in secrets.wanted)
        assert file.stat().st_ino == written, "neither taken away nor written anew meanwhile"
        assert holds(file, CANARY)
        secrets.put("password", "2", b"newer")
        await until(lambda: holds(file, b"newer"))


async def test_a_command_that_fails_is_tried_again(world: World, memory: Path) -> None:
    file, count = memory / "password", memory / "count"
    world.server.secrets.put("password", "1", CANARY, "e1")
    program = (
        f"p = {str(count)!r}; f = open(p, 'a'); f.write('x'); f.close(); raise SystemExit(len(open(p).read()) < 3)"
    )
    async with world.running(**sink(file, command=[sys.executable, "-c", program])):
        await until(lambda: holds(count, b"xxx"))
        await until_metric(world, "sds_agent_sinks_waiting", 0)
        assert await metric(world, 'sds_agent_sink_writes_total{outcome="failed"}') == 2
        assert holds(file, CANARY)
    assert holds(count, b"xxx")


async def test_a_folder_that_others_may_write_is_no_place(world: World, memory: Path) -> None:
    world.server.secrets.put("password", "1", CANARY, "e1")
    memory.chmod(0o777)
    async with world.running(**sink(memory / "password")):
        async with asyncio.timeout(60):
            while not await metric(world, 'sds_agent_sink_writes_total{outcome="failed"}'):
                await asyncio.sleep(0.02)
        assert not (memory / "password").exists()
        memory.chmod(0o700)
        await until(lambda: holds(memory / "password", CANARY))


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"owner": "nobody-of-this-name"}, "there is no 'nobody-of-this-name'"),
        ({"template": "/nowhere", "field": None}, "No such file"),
        ({"template": os.devnull + "/x", "field": None}, "Not a directory"),
    ],
)
async def test_what_is_wrong_is_told_at_start(
    world: World, memory: Path, more: dict[str, object], problem: str
) -> None:
    with pytest.raises(CannotStart, match=problem):
        async with world.running(**sink(memory / "password", **more)):
            pytest.fail("it started")
