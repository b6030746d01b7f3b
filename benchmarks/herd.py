"""A renewal herd: thousands of workloads whose certificates all fell due while the server was away.

`python -m benchmarks.herd` starts a real server and, in this process, agents made of the agent's own parts (connection,
issuer, cache), each with its share of the workloads. All have their certificates; then the server is stopped until
every one of them is past its time to renew, and started again. Prints one JSON object: how long until all were renewed,
over which time the agents spread their first requests, how much was under way at once, and whether anything expired.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Awaitable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from benchmarks.herd_agents import Agent, Tally
from benchmarks.machine import cpu_seconds, facts, percentile
from sds.clock import SystemClock
from sds.demo.stack import Stack
from sds.logs import configure_logging

APPLIED_AT_ONCE = 1000
READY_WITHIN = 600.0
SHARES = {"p50": 0.5, "p99": 0.99, "max": 1.0}


async def until(done: Awaitable[None]) -> float:
    """Seconds that `done` took; raises TimeoutError."""
    clock = SystemClock()
    started = clock.monotonic()
    async with asyncio.timeout(READY_WITHIN):
        await done
    return clock.monotonic() - started


async def all_held(agents: list[Agent], number: int) -> None:
    while sum(len(agent.cache.held) for agent in agents) < number:
        await asyncio.sleep(0.05)


async def all_due(agents: list[Agent]) -> None:
    clock = SystemClock()
    last = max(svid.held.renew_at for agent in agents for svid in agent.cache.held.values())
    while clock.now() <= last:
        await asyncio.sleep(0.1)


async def all_renewed(agents: list[Agent], before: list[dict[str, str]], lost: set[str]) -> None:
    """Those that expired meanwhile are noted in `lost`."""
    waiting = {name for serials in before for name in serials}
    while waiting:
        for agent, serials in zip(agents, before, strict=True):
            now = agent.serials()
            lost.update(name for name in serials if name not in now)
            waiting -= {name for name, serial in now.items() if serials.get(name) != serial}
        await asyncio.sleep(0.05)


async def enter(stack: Stack, agents: list[Agent], shares: list[range], ttl: float) -> None:
    """An entry for each workload."""
    entries = [
        {
            "spiffe_id": stack.id(f"herd/{uid}"),
            "parent_id": agent.id,
            "selectors": [f"unix:uid:{uid}"],
            "x509_ttl": ttl,
        }
        for agent, uids in zip(agents, shares, strict=True)
        for uid in uids
    ]
    for start in range(0, len(entries), APPLIED_AT_ONCE):
        await stack.call("POST", "/v1/entries:apply", {"entries": entries[start : start + APPLIED_AT_ONCE]})


async def measure(given: argparse.Namespace, folder: Path, executor: Executor) -> dict[str, object]:
    stack, tally = Stack(folder), Tally()
    agents = [Agent(number, stack, tally, executor) for number in range(given.agents)]
    size = given.workloads // given.agents
    shares = [range(number * size, (number + 1) * size) for number in range(given.agents)]
    try:
        await stack.start_server()
        (folder / "bundle.pem").write_text((await stack.call("GET", "/v1/bundle?format=pem")).text)
        print("entries", file=sys.stderr)
        await enter(stack, agents, shares, given.ttl)
        for agent in agents:
            await agent.start(folder)
        print("first certificates", file=sys.stderr)
        for agent, share in zip(agents, shares, strict=True):
            agent.use(share)
        first = await until(all_held(agents, size * given.agents))
        cold = {"seconds": round(first, 2), "peak_calls": tally.peak_calls}
        before = [agent.serials() for agent in agents]
        if stack.server is not None:
            await stack.server.stop()
        print("outage", file=sys.stderr)
        await until(all_due(agents))
        tally.reset()
        lost = set[str]()
        server = await stack.start_server()
        cpu = cpu_seconds(server.pid)
        print("herd", file=sys.stderr)
        taken = await until(all_renewed(agents, before, lost))
        cpu = cpu_seconds(server.pid) - cpu
        working = SystemClock().monotonic() - min(tally.first.values())
        return {"seconds": round(taken, 2), **report(tally, working, lost, cold, cpu, size * given.agents)}
    finally:
        for agent in agents:
            await agent.stop()
        with suppress(ProcessLookupError):
            await stack.stop()


def report(
    tally: Tally, working: float, lost: set[str], cold: dict[str, float], cpu: float, number: int
) -> dict[str, object]:
    firsts, calls = sorted(tally.first.values()), sorted(tally.seconds)
    return {
        "seconds_from_the_first_request": round(working, 2),
        "renewed": number,
        "agents_spread_over_seconds": round(firsts[-1] - firsts[0], 2),
        "agents_asking_within_the_busiest_second": busiest(firsts),
        "peak_calls": tally.peak_calls,
        "peak_certificates_under_way": tally.peak_certificates,
        "call_ms": {name: round(percentile(calls, share) * 1e3, 1) for name, share in SHARES.items()},
        "refused_or_failed": tally.refused,
        "expired_meanwhile": len(lost),
        "server_cpu_us_a_certificate": round(cpu / number * 1e6, 1),
        "first_issuance": cold,
    }


def busiest(moments: list[float]) -> int:
    """The most of these sorted moments that lie within one second."""
    return max(sum(start <= at < start + 1 for at in moments) for start in moments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workloads", type=int, default=10_000)
    parser.add_argument("--agents", type=int, default=100)
    parser.add_argument("--ttl", type=float, default=180.0, help="lifetime of the certificates, in seconds")
    given = parser.parse_args()
    configure_logging(level="error", style="json")
    with tempfile.TemporaryDirectory(prefix="sdsb", dir="/tmp") as folder, ThreadPoolExecutor(2) as executor:
        found = asyncio.run(measure(given, Path(folder), executor))
    flags = {"agents": given.agents, "workloads": given.workloads, "ttl_seconds": given.ttl}
    print(json.dumps({"benchmark": "herd", **flags, **found, "machine": facts()}, indent=2))


if __name__ == "__main__":
    main()
