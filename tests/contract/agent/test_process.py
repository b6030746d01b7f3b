"""`sds agent run` as a process: start, signals, systemd's word, death and return, and what it says when it cannot start."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.contract.agent.test_agent import ME, Sidecar
from tests.fakes.node_server import TOKEN, FakeNodeServer
from tests.fakes.wait import PATIENCE


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="p-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


class AgentProcess:
    def __init__(self, server: FakeNodeServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.socket = folder / "sds.sock"
        self.process: asyncio.subprocess.Process | None = None
        self.notified: list[bytes] = []
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.setblocking(False)
        self._notify.bind(str(folder / "notify"))
        (folder / "bundle").write_bytes(server.bundle.pem())
        (folder / "token").write_text(TOKEN)
        self.config = folder / "agent.toml"
        self.config.write_text('drain_timeout = "200ms"\n[log]\nlevel = "info"\n')

    async def start(self, *more: str) -> None:
        log = (self.folder / "log").open("ab")
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sds.cli.main", "agent", "run", "--config", str(self.config)),
            *("--server", self.server.address, "--attest-server", self.server.attest_address),
            *("--trust-bundle", str(self.folder / "bundle"), "--data-dir", str(self.folder / "data")),
            *("--socket", str(self.socket), *(more or ("--join-token-file", str(self.folder / "token")))),
            env=os.environ | {"NOTIFY_SOCKET": str(self.folder / "notify")},
            stdout=log,
            stderr=log,
        )
        log.close()

    async def told(self, word: bytes) -> None:
        """Until systemd would have heard this."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(PATIENCE):
            while not any(word in message for message in self.notified):
                self.notified.append(await loop.sock_recv(self._notify, 4096))

    async def ended(self) -> int:
        assert self.process is not None
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    async def logged(self, text: str) -> None:
        async with asyncio.timeout(PATIENCE):
            while text not in self.log:
                await asyncio.sleep(0.01)

    async def close(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        self._notify.close()


@pytest.fixture
async def agent(server: FakeNodeServer, folder: Path) -> AsyncIterator[AgentProcess]:
    await server.put("e1", "/web", ME)
    made = AgentProcess(server, folder)
    yield made
    await made.close()


_LISTENING = {"0A", "07"}
"""States in /proc/net: LISTEN of TCP, and that of a UDP socket without a peer."""


async def serve_once(agent: AgentProcess) -> None:
    sidecar = Sidecar(agent.socket)
    await sidecar.ask("default")
    await sidecar.get("default")
    await sidecar.close()


async def test_from_start_to_stop(agent: AgentProcess) -> None:
    await agent.start()
    await agent.told(b"READY=1")
    await serve_once(agent)
    agent.signal(signal.SIGTERM)
    await agent.told(b"STOPPING=1")
    assert await agent.ended() == 0
    assert not agent.socket.exists()
    lines = [json.loads(line) for line in agent.log.splitlines()]
    assert [line["event"] for line in lines][-1] == "stopped"


async def test_it_listens_on_unix_sockets_alone(agent: AgentProcess) -> None:
    """Workload Endpoint 3: over TCP nobody could be told by the kernel who is calling."""
    await agent.start()
    await agent.told(b"READY=1")
    await serve_once(agent)
    assert agent.process is not None
    process = Path(f"/proc/{agent.process.pid}")
    inodes = {str(held.readlink()).removeprefix("socket:[").rstrip("]") for held in (process / "fd").iterdir()}
    for family in ("tcp", "tcp6", "udp", "udp6"):
        rows = [line.split() for line in (process / "net" / family).read_text().splitlines()[1:]]
        found = [row[1] for row in rows if row[9] in inodes and row[3] in _LISTENING]
        assert found == [], family
    unix = [line.split() for line in (process / "net" / "unix").read_text().splitlines()[1:]]
    assert any(str(agent.folder) in row[7] for row in unix if len(row) > 7 and row[6] in inodes)


async def test_nothing_secret_is_logged(agent: AgentProcess) -> None:
    agent.config.write_text('[log]\nlevel = "debug"\n')
    await agent.start()
    await agent.told(b"READY=1")
    await serve_once(agent)
    identity = json.loads((agent.folder / "data" / "identity.json").read_text())
    agent.signal(signal.SIGTERM)
    await agent.ended()
    assert TOKEN not in agent.log
    assert "PRIVATE KEY" not in agent.log
    assert identity["private_key"].splitlines()[1] not in agent.log


async def test_after_kill_9_it_comes_back_without_a_token_and_in_its_own_place(agent: AgentProcess) -> None:
    await agent.start()
    await agent.told(b"READY=1")
    await serve_once(agent)
    agent.signal(signal.SIGKILL)
    assert await agent.ended() == -9
    assert agent.socket.exists(), "a stale socket is left behind"
    agent.notified.clear()
    await agent.start("--log-level", "info")
    await agent.told(b"READY=1")
    await serve_once(agent)
    assert len(agent.server.seen.attests) == 1
    assert len(list((agent.folder / "data").glob("grpc-*"))) == 1, "what the dead one left is cleaned up"


async def test_sighup_re_reads_what_can_be_and_says_what_cannot(agent: AgentProcess) -> None:
    await agent.start()
    await agent.told(b"READY=1")
    agent.config.write_text('drain_timeout = "1s"\n[log]\nlevel = "debug"\n')
    agent.notified.clear()
    agent.signal(signal.SIGHUP)
    await agent.told(b"READY=1")
    assert any(b"RELOADING=1" in message for message in agent.notified)
    await agent.logged("these keys have changed but need a restart")
    (line,) = [json.loads(one) for one in agent.log.splitlines() if "need a restart" in one]
    assert line["keys"] == ["drain_timeout"]
    agent.config.write_text("nonsense = 1\n")
    agent.signal(signal.SIGHUP)
    await agent.logged("the configuration stays as it was")
    await serve_once(agent)


async def test_a_used_token_ends_it_with_what_to_do(agent: AgentProcess) -> None:
    agent.server.tokens.clear()
    await agent.start()
    assert await agent.ended() == 1
    (line,) = [json.loads(one) for one in agent.log.splitlines() if "cannot start" in one]
    assert "sds token create" in line["reason"]
    assert not agent.socket.exists()


async def test_an_expired_identity_ends_it_with_what_to_do(agent: AgentProcess) -> None:
    agent.server.agent_ttl = timedelta(seconds=2)
    await agent.start()
    await agent.told(b"READY=1")
    await agent.server.stop()
    agent.signal(signal.SIGKILL)
    await agent.ended()
    await asyncio.sleep(2)
    await agent.start("--log-level", "info")
    assert await agent.ended() == 1
    assert re.search(r"no valid SVID and no join token.*sds token create", agent.log)


async def test_it_can_be_stopped_while_it_waits_for_its_server(agent: AgentProcess) -> None:
    await agent.server.stop()
    await agent.start()
    await agent.logged("cannot be reached to attest")
    agent.signal(signal.SIGTERM)
    assert await agent.ended() == 0
    assert not agent.socket.exists()


async def test_a_second_agent_in_the_same_folder_is_refused(agent: AgentProcess) -> None:
    await agent.start()
    await agent.told(b"READY=1")
    first = agent.process
    await agent.start()
    assert await agent.ended() == 1
    assert "another agent uses the data folder" in agent.log
    agent.process = first
    await serve_once(agent)


async def test_its_memory_is_its_own(agent: AgentProcess) -> None:
    """Not dumpable (prctl(2)): no core file, no ptrace by other processes of the same user."""
    await agent.start()
    await agent.told(b"READY=1")
    assert agent.process is not None
    limits = Path(f"/proc/{agent.process.pid}/limits").read_text()
    assert re.search(r"Max core file size +0 +0", limits)
