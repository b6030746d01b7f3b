"""`sds server run` as a process: what it says, how it ends, what it re-reads, and why it refuses to start."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes.pki import make

pytestmark = pytest.mark.e2e


@dataclass
class Running:
    process: asyncio.subprocess.Process
    lines: list[dict[str, Any]] = field(default_factory=list)

    async def said(self, event: str, seconds: float = 60) -> dict[str, Any]:
        """The next line with this event."""
        assert self.process.stderr is not None
        async with asyncio.timeout(seconds):
            while raw := await self.process.stderr.readline():
                line = json.loads(raw)
                self.lines.append(line)
                if line["event"] == event:
                    return dict(line)
        raise AssertionError(f"it ended without saying {event!r}: {self.lines}")

    async def ended(self, seconds: float = 60) -> int:
        assert self.process.stderr is not None
        async with asyncio.timeout(seconds):
            self.lines += [json.loads(raw) for raw in (await self.process.stderr.read()).splitlines()]
            return await self.process.wait()


@asynccontextmanager
async def server(
    folder: Path, *arguments: str, listen: str = "127.0.0.1:0", **environment: str
) -> AsyncIterator[Running]:
    command = [sys.executable, "-m", "sds.cli.main", "server", "run", *arguments]
    process = await asyncio.create_subprocess_exec(
        *command,
        "--data-dir",
        str(folder / "s"),
        "--listen",
        listen,
        "--attest-listen",
        "127.0.0.1:0",
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        env={**os.environ, **environment},
        cwd=folder,
    )
    running = Running(process)
    try:
        yield running
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


DOMAIN = ("--trust-domain", "example.org")


async def test_sigterm_drains_and_ends_well(folder: Path) -> None:
    async with server(folder, *DOMAIN) as running:
        line = await running.said("serving")
        assert (line["trust_domain"], line["pid"]) == ("example.org", running.process.pid)
        async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(folder / "s/admin.sock"))) as client:
            assert (await client.get("http://sds/ready")).status_code == 200
        running.process.send_signal(signal.SIGTERM)
        await running.said("stopped")
        assert await running.ended() == 0
        assert not (folder / "s/admin.sock").exists()
        assert not list(folder.glob("s/grpc-*"))


async def test_a_port_that_is_taken(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with server(folder, *DOMAIN, SDS_SERVER_HEALTH__LISTEN=f"127.0.0.1:{port}") as running:
            assert f"127.0.0.1:{port}" in (await running.said("the server cannot start"))["reason"]
            assert await running.ended() == 1
    assert not list(folder.glob("s/grpc-*"))
    assert not (folder / "s/admin.sock").exists()


async def test_a_start_that_fails_late_says_only_why(folder: Path) -> None:
    """The agents' ports are opened last; nothing was served that could be drained."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with server(folder, *DOMAIN, listen=f"127.0.0.1:{port}") as running:
            assert f"127.0.0.1:{port}" in (await running.said("the server cannot start"))["reason"]
            assert await running.ended() == 1
            assert not {"draining", "stopped"} & {line["event"] for line in running.lines}


async def test_a_file_in_the_data_folders_place(folder: Path) -> None:
    (folder / "s").write_text("mine")
    async with server(folder, *DOMAIN) as running:
        assert "is no folder" in (await running.said("the server cannot start"))["reason"]
        assert await running.ended() == 1


async def test_hostile_handshakes_write_no_foreign_lines(folder: Path) -> None:
    """C-core would write its own; every line is JSON, or `said` fails."""
    async with server(folder, *DOMAIN) as running:
        line = await running.said("serving")
        for name in ("main", "attest"):
            host, _, port = line[name].rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"\x16\x03\x01\x02\x00" + b"\xff" * 512)
            await writer.drain()
            async with asyncio.timeout(60):
                with suppress(ConnectionError):
                    await reader.read()  # until it hangs up
            writer.close()
        running.process.terminate()
        assert (await running.said("stopped"))["level"] == "info"


async def test_it_starts_again_after_being_killed(folder: Path) -> None:
    async with server(folder, *DOMAIN) as running:
        await running.said("serving")
        running.process.kill()
        await running.ended()
    async with server(folder, *DOMAIN) as running:
        await running.said("serving")
        assert not [line for line in running.lines if line["event"] == "made an authority"]
        assert len(list(folder.glob("s/grpc-*"))) == 1


async def test_its_memory_is_its_own(folder: Path) -> None:
    async with server(folder, *DOMAIN) as running:
        await running.said("serving")
        limits = Path(f"/proc/{running.process.pid}/limits").read_text().splitlines()
        assert next(line for line in limits if "core file" in line).split()[4:6] == ["0", "0"]
        if os.geteuid() != 0:
            assert Path(f"/proc/{running.process.pid}/environ").stat().st_uid == 0


async def test_sighup_rereads_what_it_can_and_names_the_rest(folder: Path) -> None:
    config = folder / "server.toml"
    config.write_text('trust_domain = "example.org"\n[log]\nlevel = "info"\n')
    async with server(folder, "--config", str(config)) as running:
        await running.said("serving")
        config.write_text('trust_domain = "example.org"\n[log]\nlevel = "debug"\n[ca]\nagent_ttl = "2h"\n')
        running.process.send_signal(signal.SIGHUP)
        assert (await running.said("reloaded the configuration"))["changed"] == ["log.level"]
        assert (await running.said("these keys have changed but need a restart"))["keys"] == ["ca.agent_ttl"]
        limits = "[limits]\nattest_rate = 5\n"
        config.write_text(config.read_text() + limits)
        running.process.send_signal(signal.SIGHUP)
        assert (await running.said("reloaded the configuration"))["changed"] == ["limits.attest_rate"]
        assert (await running.said("these keys have changed but need a restart"))["keys"] == ["ca.agent_ttl"]
        config.write_text(config.read_text() + "[ca.profiles.gateway]\ndns_names = ['.example.org']\n")
        running.process.send_signal(signal.SIGHUP)
        assert (await running.said("reloaded the configuration"))["changed"] == ["ca.profiles"]
        config.write_text('trust_domain = "example.org"\nnonsense = 1\n')
        running.process.send_signal(signal.SIGHUP)
        line = await running.said("the configuration stays as it was")
        assert any("nonsense" in problem for problem in line["problems"])
        told = ["server.reload"] * 4
        events = await audited(folder, "server.reload", len(told))
        assert [each["action"] for each in events] == told
        assert {(each["actor"]["kind"], each["actor"]["id"], each["actor"]["address"]) for each in events} == {
            ("system", "signal", "SIGHUP")
        }
        assert [sorted(each["details"]["changed"]) for each in events] == [
            ["log.level"], ["limits.attest_rate"], ["ca.profiles"], []
        ]  # fmt: skip
        assert [each["outcome"] for each in events] == ["success"] * 3 + ["failure"]
        assert events[0]["details"]["need_restart"] == ["ca.agent_ttl"]
        assert events[3]["details"]["problems"] == ["nonsense"]
        running.process.terminate()
        assert await running.ended() == 0


async def audited(folder: Path, action: str, count: int) -> list[dict[str, Any]]:
    """Once there are so many: what is logged may be written after its event, or before."""
    found: list[dict[str, Any]] = []
    transport = httpx.AsyncHTTPTransport(uds=str(folder / "s/admin.sock"))
    async with httpx.AsyncClient(transport=transport, base_url="http://sds") as client, asyncio.timeout(60):
        while len(found) < count:
            answer = await client.get("/v1/audit", params={"action": action})
            found = answer.json()["events"]
            await asyncio.sleep(0.05)
    return found


async def test_why_it_does_not_start(folder: Path) -> None:
    async with server(folder, "--trust-domain", "Not A Domain") as running:
        assert running.process.stderr is not None
        said = (await running.process.stderr.read()).decode()
        assert (await running.process.wait(), "trust_domain" in said) == (6, True)

    async with server(folder, *DOMAIN) as running:
        await running.said("serving")
        async with server(folder, *DOMAIN) as second:
            assert "another server runs" in (await second.said("the server cannot start"))["reason"]
            assert await second.ended() == 1

    kek = folder / "s/kek"
    kek.chmod(0o644)
    async with server(folder, *DOMAIN) as running:
        assert "chmod 600" in (await running.said("the server cannot start"))["reason"]
        assert await running.ended() == 1
    kek.rename(folder / "elsewhere")
    async with server(folder, *DOMAIN) as running:
        assert "is gone" in (await running.said("the server cannot start"))["reason"]
        assert await running.ended() == 1
    (folder / "elsewhere").rename(kek)
    kek.chmod(0o600)
    async with server(folder, "--trust-domain", "other.org") as running:
        assert "belongs to the trust domain example.org" in (await running.said("the server cannot start"))["reason"]
        assert await running.ended() == 1
    (folder / "s").chmod(0o755)
    async with server(folder, *DOMAIN) as running:
        assert "chmod 700" in (await running.said("the server cannot start"))["reason"]
        assert await running.ended() == 1


async def test_an_older_schema_is_left_alone_when_told_so(folder: Path) -> None:
    async with server(folder, *DOMAIN, SDS_SERVER_DATABASE__MIGRATE="false") as running:
        assert "sds db upgrade" in (await running.said("the server cannot start"))["reason"]
        assert await running.ended() == 1


async def test_no_secret_is_in_what_it_writes(folder: Path) -> None:
    async with server(folder, *DOMAIN, "--log-level", "debug") as running:
        await running.said("serving")
        async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(folder / "s/admin.sock"))) as client:
            token = (await client.post("http://sds/v1/tokens", json={})).json()["token"]
        running.process.terminate()
        await running.ended()
    kek = [line.split()[1] for line in (folder / "s/kek").read_text().splitlines() if not line.startswith("#")]
    said = json.dumps(running.lines)
    database = b"".join(path.read_bytes() for path in (folder / "s").glob("sds.sqlite3*"))
    for secret in (token, token.removeprefix("sds_join_"), *kek):
        assert secret not in said
        assert secret.encode() not in database
    assert b"PRIVATE KEY" not in database


async def test_a_first_start_that_waits_for_its_upstream_can_be_ended(folder: Path) -> None:
    (folder / "bundle.pem").write_bytes(make("root").pem)
    (folder / "token").touch(mode=0o600)
    (folder / "token").write_text(f"sds_join_{'x' * 43}")
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    environment = {
        "SDS_SERVER_CA__UPSTREAM__PLUGIN": "sds",
        "SDS_SERVER_CA__UPSTREAM__SDS__SERVER": f"127.0.0.1:{port}",
        "SDS_SERVER_CA__UPSTREAM__SDS__TRUST_BUNDLE": str(folder / "bundle.pem"),
        "SDS_SERVER_CA__UPSTREAM__SDS__JOIN_TOKEN_FILE": str(folder / "token"),
    }
    async with server(folder, *DOMAIN, **environment) as running:
        line = await running.said(
            "the upstream authority cannot be used; what is issued goes on, and this is tried again"
        )
        assert (line["level"], line["upstream"]) == ("error", "sds")
        await running.said("there is no authority yet, and the upstream has to certify one")
        running.process.send_signal(signal.SIGTERM)
        assert await running.ended() == 0
        assert not {"serving", "the server cannot start"} & {line["event"] for line in running.lines}
    async with server(folder, *DOMAIN) as running:  # it has let go of its folder
        await running.said("serving")
