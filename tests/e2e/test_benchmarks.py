"""The benchmark of named secrets runs, and measures all that it says: small, and without a look at the figures."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
ROOT = Path(__file__).parents[2]


async def measured(*arguments: str) -> dict[str, Any]:
    argv = (sys.executable, "-m", "benchmarks.secret", *arguments)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*argv, cwd=ROOT, stdout=pipe, stderr=pipe)
    try:
        out, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, said.decode()[-4000:]
    found: dict[str, Any] = json.loads(out)
    return found


async def test_every_change_reaches_every_sidecar() -> None:
    found = await measured("push", "--sidecars", "5", "--changes", "2", "--kv-changes", "1")
    assert (found["embedded"]["receipts"], found["kv"]["receipts"]) == (10, 5)
    for part in (found["embedded"], found["kv"]):
        assert 0 < part["from_detection_ms"]["max"] < part["from_write_ms"]["max"]
        assert part["server_share_mean_ms"] > 0


async def test_every_identity_has_its_secrets() -> None:
    found = await measured("scale", "--secrets", "20", "--identities", "10", "--each", "3", "--rounds", "1")
    assert found["wanted"] == 40, "three of its own each, and the shared one"
    assert set(found["one_change_ms"]) == {"to 10", "to one"}


async def test_looks_at_vault_are_counted() -> None:
    found = await measured("polling", "--polled", "12", "--layouts", "apart", "--window", "5")
    (run,) = found["runs"]
    assert run["held"] == 12
    assert run["vault_requests_a_second"] >= run["secrets_looked_at_a_second"] > 0
