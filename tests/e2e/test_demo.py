"""`sds demo` as a user runs it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from pathlib import Path

import pytest

from sds.demo.stack import PROGRAM
from tests.e2e.harness.cli import sds
from tests.e2e.harness.wait import here

pytestmark = pytest.mark.e2e

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
    assert 0 < report["push_to_ack_ms"]["p50"] <= report["push_to_ack_ms"]["p99"] < await here(1000)
    assert "refused" in ran.err


async def test_what_it_says_to_type_works_and_ctrl_c_ends_every_process() -> None:
    short = Path("/tmp") / f"c{os.getpid()}"
    short.mkdir()
    process = await asyncio.create_subprocess_exec(
        *(*PROGRAM, "demo"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=os.environ | {"TMPDIR": str(short)},
    )
    seen = b""
    while b"rotation 1" not in seen:
        line = await asyncio.wait_for(process.stdout.readline(), 60)
        assert line, seen.decode()
        seen += line
    commands = [line[3:] for line in seen.decode().splitlines() if line.startswith("   ")]
    assert len(commands) >= 6
    typed = "\n".join(command for command in commands if not command.startswith("curl"))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    shell = ["bash", "-euc", re.sub(r"^\S*/sds ", "sds ", typed, flags=re.MULTILINE)]
    ran = await asyncio.create_subprocess_exec(
        *shell, env=os.environ | {"PATH": path}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await asyncio.wait_for(ran.communicate(), 30)
    assert ran.returncode == 0, said.decode()
    assert b"spiffe://example.org/frontend" in said
    assert b"certificate.issue" in said

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
