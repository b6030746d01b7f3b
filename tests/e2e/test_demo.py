"""`sds demo` as a user runs it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from pathlib import Path

import httpx
import pytest

from sds.demo.envoy_config import BACK_CREDENTIAL_HEADER, FRONT_CREDENTIAL_HEADER
from sds.demo.stack import PROGRAM
from tests.e2e.harness.cli import sds
from tests.e2e.harness.wait import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

KEYS = {"rotations", "requests", "failed", "handshakes", "distinct_serials", "push_to_ack_ms", "envoy_restarts"}


async def test_it_prints_one_json_object_and_leaves_nothing_behind() -> None:
    short = Path("/tmp") / f"h{os.getpid()}"
    short.mkdir()
    try:
        ran = (await sds("demo", "--rotations", "2", "--json", env={"TMPDIR": str(short)}, within=120)).ok()
        assert list(short.iterdir()) == []
    finally:
        short.rmdir()
    report = json.loads(ran.out)
    assert set(report) == KEYS
    assert report["rotations"] == 2
    assert report["failed"] == report["envoy_restarts"] == 0
    assert report["requests"] > 100
    assert report["handshakes"] > report["distinct_serials"] >= 6
    assert 0 < report["push_to_ack_ms"]["p50"] <= report["push_to_ack_ms"]["p99"] < 1000
    assert "refused" in ran.err


async def test_with_a_vault_both_envoys_use_each_new_value() -> None:
    """The rounds of the secret go on beside those of the certificates."""
    short = Path("/tmp") / f"v{os.getpid()}"
    short.mkdir()
    try:
        ran = (await sds("demo", "--vault", "--rotations", "2", "--json", env={"TMPDIR": str(short)}, within=200)).ok()
        assert list(short.iterdir()) == []
    finally:
        short.rmdir()
    report = json.loads(ran.out)
    assert set(report) == KEYS | {"secret_changes", "change_to_use_ms"}
    assert report["failed"] == report["envoy_restarts"] == 0
    assert report["rotations"] >= 2
    assert report["secret_changes"] >= 2
    assert set(report["change_to_use_ms"]) == {"frontend", "backend"}
    for used in report["change_to_use_ms"].values():
        assert 0 < used["p50"] <= used["p99"]
    for number in (1, 2):
        said = (
            rf"change {number} in Vault: key-{number} used by (front|back)end after .*(front|back)end after .* 0 failed"
        )
        assert re.search(said, ran.err), ran.err


async def test_a_value_of_ones_own_is_used_and_ctrl_c_ends_vault_too() -> None:
    short = Path("/tmp") / f"w{os.getpid()}"
    short.mkdir()
    process, seen = await started("demo", "--vault", folder=short, until=b"change 1 in Vault")
    commands = [line[3:] for line in seen.decode().splitlines() if line.startswith("   ")]
    typed = [line for line in commands if not line.startswith(("curl", "export SDS")) and " agent " not in line]
    assert any(" kv put " in line for line in typed)
    said = await type_in(typed)
    assert b"version" in said
    url = next(line.split()[2] for line in commands if line.startswith("curl -i"))
    async with httpx.AsyncClient(trust_env=False) as client:

        async def used() -> bool:
            headers = (await client.get(url)).headers
            return headers[FRONT_CREDENTIAL_HEADER] == headers[BACK_CREDENTIAL_HEADER] == "mine"

        await eventually(used, within=30)
    await interrupted(process, seen, short)


async def test_what_it_says_to_type_works_and_ctrl_c_ends_every_process() -> None:
    short = Path("/tmp") / f"c{os.getpid()}"
    short.mkdir()
    process, seen = await started("demo", folder=short, until=b"rotation 1")
    commands = [line[3:] for line in seen.decode().splitlines() if line.startswith("   ")]
    assert len(commands) >= 6
    said = await type_in([command for command in commands if not command.startswith("curl")])
    assert b"spiffe://example.org/frontend" in said
    assert b"certificate.issue" in said
    await interrupted(process, seen, short)


async def started(*args: str, folder: Path, until: bytes) -> tuple[asyncio.subprocess.Process, bytes]:
    """Running, and what it has said until it said this."""
    process = await asyncio.create_subprocess_exec(
        *(*PROGRAM, *args),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=os.environ | {"TMPDIR": str(folder)},
    )
    assert process.stdout is not None
    seen = b""
    while until not in seen:
        line = await asyncio.wait_for(process.stdout.readline(), 90)
        assert line, seen.decode()
        seen += line
    return process, seen


async def type_in(commands: list[str]) -> bytes:
    """What a shell answers, which has the programs of this installation on its PATH."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    shell = ["bash", "-euc", re.sub(r"^\S*/(sds|bao) ", r"\1 ", "\n".join(commands), flags=re.MULTILINE)]
    ran = await asyncio.create_subprocess_exec(
        *shell, env=os.environ | {"PATH": path}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await asyncio.wait_for(ran.communicate(), 60)
    assert ran.returncode == 0, said.decode()
    return said


async def interrupted(process: asyncio.subprocess.Process, seen: bytes, short: Path) -> None:
    """By Ctrl-C: it passed, and leaves neither processes nor files."""
    process.send_signal(signal.SIGINT)
    rest, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, (seen + rest).decode()
    assert b"passed" in rest
    assert list(short.iterdir()) == []
    short.rmdir()
    left = [p for p in Path("/proc").glob("[0-9]*/cmdline") if str(short).encode() in _read(p)]
    assert left == []


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
