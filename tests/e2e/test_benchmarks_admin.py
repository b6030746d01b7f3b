"""The benchmark of the admin API runs on both databases, small: everything is asked, and nothing is looked at but that."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.admin.calls import EXPORTS

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
ROOT = Path(__file__).parents[2]


async def run(*arguments: str) -> dict[str, Any]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", *arguments, cwd=ROOT, stdout=pipe, stderr=pipe)
    try:
        out, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, said.decode()[-4000:]
    found: dict[str, Any] = json.loads(out)
    return found


@pytest.mark.slow_on("postgresql")
@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
async def test_everything_is_asked_of_a_seeded_server(backend: str) -> None:
    sizes = ("--certificates", "2100", "--events", "4000")
    found = (await run("benchmarks.admin", *sizes, "--rounds", "2", "--backends", backend))[backend]
    seeded = found["seeded"]
    assert seeded["events"] == seeded["tree"] >= 4000
    assert (seeded["certificates"], seeded["entries"], seeded["revocations"]) == (2100, 42, 4)
    assert {name.partition(" ")[0] for name in found["answers_ms"]} >= {"certificates", "audit", "entries", "page:"}
    assert all(0 < one["p50"] <= one["p99"] <= one["max"] for one in found["answers_ms"].values())
    assert {name.partition(",")[0] for name in found["exports"]} == set(EXPORTS)
    for name, file in found["exports"].items():
        assert (
            file["rows"] >= {"certificates": 2100, "audit": 4000, "entries": 42, "streams": 40}[name.partition(",")[0]]
        )
    assert found["verification"]["ok"] is True
    assert found["verification"]["events"] >= 4000


async def test_a_database_that_is_in_use_is_not_seeded(tmp_path: Path) -> None:
    where = ("--data-dir", str(tmp_path / "server"))
    first = await run("benchmarks.seed", "--certificates", "60", "--events", "300", *where)
    assert first["events"] == first["tree"] >= 300
    with pytest.raises(AssertionError, match="has entries already"):
        await run("benchmarks.seed", "--certificates", "60", "--events", "300", *where)
