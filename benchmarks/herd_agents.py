"""Agents made of the agent's own parts (connection, issuer, cache), and what they have under way at a server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from attestation.attestor import Process
from attestation.selector import parse_selectors
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
from sds.logs import get_logger

LINK = LinkOptions()
BACKOFF = Backoff(timedelta(milliseconds=500), timedelta(seconds=30))


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
    container = ""

    def __init__(self, number: int) -> None:
        self.process = Process(100_000 + number, number, number, 1)
        self.watchers: list[Callable[[], None]] = []


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
            self._log,
        )
        self._tasks = [asyncio.create_task(self._upstream.run()), asyncio.create_task(issuer.run())]

    @property
    def id(self) -> str:
        return self._stack.id(f"sds/agent/herd/{self._number}")

    def use(self, uids: range) -> None:
        """A live process for each of these."""
        for uid in uids:
            self.cache.join(parse_selectors([f"unix:uid:{uid}"]), Workload(uid))

    def serials(self) -> dict[str, str]:
        return {name: svid.identity.certificate.serial for name, svid in self.cache.held.items()}

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
