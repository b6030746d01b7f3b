"""The audit log of a real server: under a checkpoint at once, proved by the command, altered by hand, pruned, rekeyed."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness.cli import sds
from tests.e2e.harness.wait import eventually
from tests.e2e.harness.world import World

pytestmark = pytest.mark.e2e


async def audit(world: World, *args: str, code: int = 0) -> Any:
    ran = await sds("audit", *args, "--admin-socket", str(world.stack.admin_socket), "--output", "json")
    assert ran.status == code, (ran.status, ran.out, ran.err)
    return json.loads(ran.out) if ran.out else None


async def covered(world: World, sequence: int) -> None:
    async def under() -> bool:
        return bool((await audit(world, "show", str(sequence)))["verified"])

    await eventually(under)


def by_hand(world: World, *statements: str) -> None:
    with closing(sqlite3.connect(world.stack.folder / "server/sds.sqlite3")) as connection, connection:
        for each in statements:
            assert connection.execute(each).rowcount > 0


async def test_the_log_is_proved(world: World) -> None:
    state, file = str(world.stack.folder / "state.json"), world.stack.folder / "audit.jsonl"
    entry = await world.own_entry()
    (created,) = (await audit(world, "search", "--action", "entry.create", "--target", entry["id"]))["events"]
    await covered(world, created["sequence"])
    first = await audit(world, "verify", "--state", state)
    assert first["ok"]
    assert first["size"] >= created["sequence"]
    (start,) = (await audit(world, "search", "--action", "server.start"))["events"]
    shown = json.loads((await audit(world, "show", str(start["sequence"])))["event"]["canonical"])
    assert len(shown["details"]["configuration"]) == 16
    assert "audit" in shown["details"]["sections"]
    await audit(world, "rekey", "--yes")
    later = await world.own_entry("more")
    assert later
    second = await audit(world, "verify", "--state", state)
    assert second["ok"]
    assert len(second["keys"]) in {1, 2}  # the checkpoint of the new key comes with the next events
    (await sds("audit", "export", "--file", str(file), "--admin-socket", str(world.stack.admin_socket))).ok()
    assert (await audit(world, "verify", "--export", str(file), "--key", first["keys"][0]))["ok"]
    await audit(world, "prune", "--before", "0s", "--yes")
    third = await audit(world, "verify", "--state", state)
    assert third["ok"]
    assert third["events"] < third["size"]
    await _altered(world, state, file)


async def _altered(world: World, state: str, file: Path) -> None:
    newest = (await audit(world, "search", "--limit", "1"))["events"][0]["sequence"]
    await covered(world, newest)
    by_hand(world, f"UPDATE audit_events SET actor = 'uid:4242' WHERE seq = {newest}")
    found = await audit(world, "verify", "--state", state, code=10)
    assert (newest, "column") in {(one["sequence"], one["kind"]) for one in found["problems"]}
    by_hand(world, f"DELETE FROM audit_events WHERE seq = {newest}")
    found = await audit(world, "verify", "--state", state, code=10)
    assert (newest, "missing") in {(one["sequence"], one["kind"]) for one in found["problems"]}
    assert (await audit(world, "verify", "--export", str(file)))["ok"], "what was copied before is good"
