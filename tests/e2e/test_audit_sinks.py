"""The audit log reaches its sinks, whoever is killed: everything, in order, at least once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from sds._pb.sds.otlp.v1.logs_pb2 import ExportLogsServiceRequest
from sds.demo.errors import DemoError
from tests.e2e.harness.audit_sinks import check_order, in_file, in_hook, leaves
from tests.e2e.harness.sds_client import fetch
from tests.e2e.harness.wait import eventually
from tests.e2e.harness.world import World
from tests.e2e.harness.world import world as new_world
from tests.fakes.receivers import HttpReceiver, SyslogReceiver, http_receiver, syslog_receiver

pytestmark = pytest.mark.e2e
KEY = "k" * 32


def sinks(folder: Path, syslog: SyslogReceiver, hook: HttpReceiver, otlp: HttpReceiver) -> dict[str, str]:
    keys = {
        "ARCHIVE": {"kind": "file", "path": str(folder / "audit.jsonl")},
        "LOGS": {"kind": "syslog", "transport": "tcp", "address": f"127.0.0.1:{syslog.port}", "batch": "7"},
        "SIEM": {"kind": "webhook", "url": hook.url, "signing_key_env": "SIEM_KEY", "backoff_max": "1s"},
        "TRACES": {"kind": "otlp", "url": otlp.url, "batch": "50"},
    }
    flat = {
        f"SDS_SERVER_AUDIT__SINKS__{name}__{key.upper()}": v for name, sink in keys.items() for key, v in sink.items()
    }
    return {**flat, "SIEM_KEY": KEY}


def in_otlp(otlp: HttpReceiver) -> list[int]:
    found = []
    for _, body in otlp.requests:
        for logs in ExportLogsServiceRequest.FromString(body).resource_logs:
            for record in logs.scope_logs[0].log_records:
                found += [one.value.int_value for one in record.attributes if one.key == "audit.leaf"]
    return found


async def create(world: World, first: int, count: int) -> None:
    for number in range(first, first + count):
        try:
            await world.stack.create_entry(f"w{number}", ["unix:uid:1"])
        except DemoError:
            return  # it was killed


async def behind(world: World) -> int:
    stood = (await world.stack.call("GET", "/v1/audit/sinks")).json()["sinks"]
    assert [sink["name"] for sink in stood] == ["archive", "logs", "siem", "traces"]
    return sum(sink["lag_events"] for sink in stood)


async def test_a_server_that_is_killed_again_and_again_leaves_out_nothing_at_any_sink() -> None:
    with syslog_receiver("tcp") as syslog:
        async with http_receiver() as hook, http_receiver() as otlp, new_world() as world:
            world.stack.server_env = sinks(world.folder, syslog, hook, otlp)
            world.stack.agent_id = world.id("sds/agent/nobody")
            hook.status = 500
            for turn in range(3):
                await world.stack.start_server()
                creating = asyncio.create_task(create(world, turn * 100, 100))
                await asyncio.sleep(0.4 + turn * 0.5)
                assert world.stack.server is not None
                await world.stack.server.kill()
                await creating
            await world.stack.start_server()
            await create(world, 1000, 3)  # though one sink takes nothing

            async def told() -> bool:
                listed = (await world.cli("audit", "sinks")).json["sinks"]
                return next(sink for sink in listed if sink["name"] == "siem")["problem"] == "the receiver answered 500"

            await eventually(told, every=0.3)
            ready = (await world.stack.call("GET", "/ready")).json()
            assert ready["status"] == "degraded"
            assert "siem" in ready["checks"]["audit_sinks"]["reason"]
            hook.status = 200

            async def caught_up() -> bool:
                return await behind(world) == 0

            await eventually(caught_up, every=0.3)
            size = (await world.stack.call("GET", "/v1/audit?limit=1")).json()["last_sequence"]
            told_to_file = in_file(world.folder)
            for found in (leaves(told_to_file), leaves(in_hook(hook)), syslog.leaves(), in_otlp(otlp)):
                check_order(found)
                assert len(set(found)) >= 20
                assert sorted(set(found)) == list(range(max(found) + 1))
                assert max(found) >= 20
            actions = [item["event"]["action"] for item in told_to_file if "event" in item]
            assert {"entry.create", "audit.sink.problem"} <= set(actions)
            assert len({item["sequence"] for item in told_to_file if "leaf" in item}) >= size - 20
            assert any("checkpoint" in item for item in told_to_file)
            assert syslog.errors == []


async def test_what_an_agent_saw_outlives_its_kill_and_that_of_the_server() -> None:
    async with new_world() as world:
        await world.start()
        stack = world.stack
        assert stack.server is not None
        assert stack.agent is not None
        spool = world.folder / "agent" / "spool"
        await stack.server.kill()
        await ask_in_vain(world)
        await eventually(lambda: _async(bool(list(spool.glob("*.events")))), every=0.1)
        (mark,) = spool.glob("*.alive")
        run = mark.name.split("-")[1].removesuffix(".alive")
        await stack.agent.kill()
        await stack.start_server()
        await stack.start_agent()

        async def events(action: str) -> list[dict[str, Any]]:
            answer = await stack.call("GET", f"/v1/audit?action={action}&after=0&limit=1000")
            return [one for one in answer.json()["events"] if one["details"]["run"] == run]

        await eventually(lambda: _some(events("report.gap")), every=0.2)
        refused = await events("workload.refused")
        assert sorted(int(one["details"]["number"]) for one in refused) == sorted(
            {int(one["details"]["number"]) for one in refused}
        )
        assert refused
        (gap,) = await events("report.gap")
        assert "killed" in gap["reason"]
        assert int(gap["details"]["first"]) > max(int(one["details"]["number"]) for one in refused)
        await eventually(lambda: _async(not [path for path in spool.iterdir() if run in path.name]), every=0.2)

        async def remembered() -> bool:
            status = (await world.agent_call("/v1/status")).json()["audit"]
            return status is not None and status["size"] > 0 and status["contradiction"] == ""

        await eventually(remembered, every=0.5)


async def ask_in_vain(world: World) -> None:
    """This process asks, and no entry matches it."""
    with pytest.raises(grpc.aio.AioRpcError):
        await fetch(world.stack.sds_socket, "default")


async def _async(value: bool) -> bool:
    return value


async def _some(found: Any) -> bool:
    return bool(await found)
