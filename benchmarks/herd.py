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
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from attestation.attestor import Process
from attestation.selector import parse_selectors
from benchmarks.machine import cpu_seconds, facts, percentile
from sds._pb.sds.node.v1 import node_pb2
from sds.agent.cache import Cache
from sds.agent.dial import LinkOptions, NodeLink
from sds.agent.doubts import BundleReader
from sds.agent.enrol import Enroller, Enrolment
from sds.agent.identity import AgentIdentity
from sds.agent.issuer import Issuer, IssuerOptions
from sds.agent.upstream import Upstream
from sds.backoff import Backoff
from sds.clock import SystemClock
from sds.demo.ports import LOOPBACK
from sds.demo.stack import Stack
from sds.logs import configure_logging, get_logger

LINK = LinkOptions()
BACKOFF = Backoff(timedelta(milliseconds=500), timedelta(seconds=30))
APPLIED_AT_ONCE = 1000
READY_WITHIN = 600.0
SHARES = {"p50": 0.5, "p99": 0.99, "max": 1.0}


@dataclass
class Tally:
    """What all agents together have under way, and when each asked first after the outage."""

    calls: int = 0
    certificates: int = 0
    peak_calls: int = 0
    peak_certificates: int = 0
    seconds: list[float] = field(default_factory=list)
    first: dict[int, float] = field(default_factory=dict)
    refused: int = 0

    def reset(self) -> None:
        self.peak_calls = self.peak_certificates = self.refused = 0
        self.seconds.clear()
        self.first.clear()


class CountedLink:
    """A connection whose signing calls are counted."""

    def __init__(self, link: NodeLink, number: int, tally: Tally, clock: SystemClock) -> None:
        self._link = link
        self._number = number
        self._tally = tally
        self._clock = clock

    async def sign(self, request: node_pb2.SignX509SvidsRequest) -> node_pb2.SignX509SvidsResponse:
        tally, size, started = self._tally, len(request.items), self._clock.monotonic()
        tally.first.setdefault(self._number, started)
        tally.calls += 1
        tally.certificates += size
        tally.peak_calls = max(tally.peak_calls, tally.calls)
        tally.peak_certificates = max(tally.peak_certificates, tally.certificates)
        try:
            return await self._link.sign(request)
        finally:
            tally.calls -= 1
            tally.certificates -= size
            tally.seconds.append(self._clock.monotonic() - started)


class Workload:
    """Implements group.Member: a process that uses one entry."""

    path = "/bin/workload"

    def __init__(self, number: int) -> None:
        self.process = Process(100_000 + number, number, number, 1)
        self.watchers: list[object] = []


class Agent:
    """One agent with its connection and issuer, and no sidecars."""

    def __init__(self, number: int, stack: Stack, tally: Tally, executor: Executor) -> None:
        self._number = number
        self._stack = stack
        self._tally = tally
        self._executor = executor
        self._clock = SystemClock()
        self._log = get_logger("benchmarks.herd")
        self.cache = Cache(self._clock)
        self._upstream: Upstream | None = None
        self._tasks: list[asyncio.Task[None]] = []

    # What the parts tell

    @property
    def link(self) -> CountedLink | None:
        link = None if self._upstream is None else self._upstream.link
        return None if link is None else CountedLink(link, self._number, self._tally, self._clock)

    def connected(self, connected: bool) -> None:
        """The connection came, or went."""

    def skew(self, seconds: float) -> None:
        """Both sides share a clock."""

    def issued(self, outcome: str, count: int) -> None:
        if outcome != "success":
            self._tally.refused += count

    # Life

    async def start(self, folder: Path) -> None:
        """Attest and begin."""
        token = folder / f"token-{self._number}"
        answer = await self._stack.call("POST", "/v1/tokens", {"ttl_seconds": 600, "spiffe_id": self.id})
        token.touch(mode=0o600)
        token.write_text(answer.json()["token"])
        address, attest = (f"{LOOPBACK}:{port}" for port in self._stack.ports)
        enroller = Enroller(Enrolment(attest, folder / "bundle.pem", token), LINK, BACKOFF, self._clock, self._log)

        async def save(_identity: AgentIdentity) -> None:
            """Nothing of it outlives this process."""

        self._upstream = Upstream(
            address,
            await enroller.first(),
            self.cache,
            save=save,
            enrol=enroller.again,
            options=LINK,
            backoff=BACKOFF,
            observer=self,
            clock=self._clock,
            log=self._log,
        )
        reader = BundleReader(self._executor, self._log)
        issuer = Issuer(
            self.cache,
            self,
            reader,
            BACKOFF,
            IssuerOptions(),
            self,
            self._clock,
            self._executor,
            self._log,  # type: ignore[arg-type]
        )
        self._tasks = [asyncio.create_task(self._upstream.run()), asyncio.create_task(issuer.run())]

    @property
    def id(self) -> str:
        return self._stack.id(f"sds/agent/herd/{self._number}")

    def use(self, uids: range) -> None:
        """A live process for each of these."""
        for uid in uids:
            self.cache.join(parse_selectors([f"unix:uid:{uid}"]), Workload(uid))  # type: ignore[arg-type]

    def serials(self) -> dict[str, str]:
        return {name: svid.identity.certificate.serial for name, svid in self.cache.held.items()}

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


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
