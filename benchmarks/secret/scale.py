"""Many secrets and identities: start-up, the first values, one change, and memory, beside the same server empty."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from pathlib import Path

from benchmarks.machine import cpu_seconds, rss_kb
from benchmarks.secret.agent import Want, WantingAgent
from benchmarks.secret.seed import Plan, Planned, everybody, identity, sow
from benchmarks.secret.server import WITHIN, milliseconds, put, start_server, stop_server
from sds.demo.stack import Stack

BELOW, SHARED, AGENT = "scale", "scale/shared", "sds/agent/scale"
VALUE_BYTES = 256
SETTLE = 3.0
STARTS = 3


def plan(stack: Stack, secrets: int, identities: int, each: int) -> tuple[Plan, list[Want]]:
    """Each identity is granted `each` secrets, and one that all share; and what their workloads want."""
    made = Plan(stack.id(AGENT), {f"entry-{n}": f"{BELOW}/{n}" for n in range(identities)})
    holders: list[list[int]] = [[] for _ in range(secrets)]
    for place in range(identities * each):
        holders[place % secrets].append(place // each)
    for number, whose in enumerate(holders):
        grants = tuple(identity(stack, f"{BELOW}/{n}") for n in dict.fromkeys(whose))
        made.secrets.append(
            Planned(f"scale/own-{number}", value=os.urandom(VALUE_BYTES // 2).hex().encode(), grants=grants)
        )
    made.secrets.append(Planned(SHARED, value=b"shared", grants=(everybody(stack, BELOW),)))
    wants = [
        (f"entry-{n}", f"scale/own-{number}") for number, whose in enumerate(holders) for n in dict.fromkeys(whose)
    ]
    return made, [*wants, *((entry_id, SHARED) for entry_id in made.entries)]


async def starts(stack: Stack) -> float:
    """The median of some; it runs afterwards."""
    found = []
    for _ in range(STARTS):
        await stop_server(stack)
        found.append(await start_server(stack))
    return statistics.median(found)


async def changes(stack: Stack, agent: WantingAgent, wants: list[Want], count: int) -> dict[str, float]:
    """From before the call until the last of those who want the secret has it."""
    found = []
    for turn in range(count):
        start = time.monotonic()
        await put(stack, wants[0][1], f"turn {turn}".encode())
        found.append(await agent.until(wants, start, WITHIN) - start)
    return milliseconds(found)


async def measure(folder: Path, secrets: int, identities: int, each: int, rounds: int) -> dict[str, object]:
    stack = Stack(folder)
    agent = WantingAgent(stack, AGENT)
    try:
        await start_server(stack)
        empty = await starts(stack)
        await asyncio.sleep(SETTLE)
        empty_kb = _rss(stack)
        await stop_server(stack)
        made, wants = plan(stack, secrets, identities, each)
        start = time.monotonic()
        await sow(stack, made)
        sown = time.monotonic() - start
        full = await starts(stack)
        await agent.join()
        await asyncio.sleep(SETTLE)
        full_kb, cpu, start = _rss(stack), _cpu(stack), time.monotonic()
        await agent.want(wants)
        first = await agent.until(wants, start, WITHIN) - start
        spent = _cpu(stack) - cpu
        await asyncio.sleep(SETTLE)
        wanted_kb = _rss(stack)
        shared = [want for want in wants if want[1] == SHARED]
        return {
            "secrets": secrets,
            "identities": identities,
            "wanted": len(wants),
            "values_of": VALUE_BYTES,
            "seeding_s": round(sown, 1),
            "start_s": {"empty": round(empty, 2), "full": round(full, 2)},
            "all_values_s": round(first, 2),
            "server_cpu_us_a_want": round(spent / len(wants) * 1e6, 1),
            "rss_mib": {
                "empty": round(empty_kb / 1024, 1),
                "defined": round(full_kb / 1024, 1),
                "wanted": round(wanted_kb / 1024, 1),
            },
            "kb_a_secret_defined": round((full_kb - empty_kb) / secrets, 2),
            "kb_a_want": round((wanted_kb - full_kb) / len(wants), 2),
            "one_change_ms": {
                f"to {len(shared)}": await changes(stack, agent, shared, rounds),
                "to one": await changes(stack, agent, [wants[0]], rounds),
            },
        }
    finally:
        await agent.close()
        await stack.stop()


def _rss(stack: Stack) -> int:
    assert stack.server is not None
    return rss_kb(stack.server.pid)


def _cpu(stack: Stack) -> float:
    assert stack.server is not None
    return cpu_seconds(stack.server.pid)
