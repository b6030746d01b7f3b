from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from sds.agent.cache import Cache
from sds.agent.dial import LinkOptions
from sds.agent.doubts import BundleReader
from sds.agent.enrol import Enroller, Enrolment
from sds.agent.identity import AgentIdentity
from sds.agent.upstream import Upstream
from sds.backoff import Backoff
from sds.clock import SystemClock
from sds.logs import get_logger
from tests.fakes.node_server import TOKEN, FakeNodeServer

OPTIONS = LinkOptions(connect_timeout=timedelta(seconds=2), call_timeout=timedelta(seconds=5))
BACKOFF = Backoff(timedelta(milliseconds=20), timedelta(milliseconds=100))
LOG = get_logger("test")


@dataclass
class Told:
    """Implements every observer that hears of the server."""

    connections: list[bool] = field(default_factory=list)
    skews: list[float] = field(default_factory=list)
    renewals: list[str] = field(default_factory=list)
    issued_counts: list[tuple[str, int]] = field(default_factory=list)
    dropped_count: int = 0

    def connected(self, connected: bool) -> None:
        self.connections.append(connected)

    def skew(self, seconds: float) -> None:
        self.skews.append(seconds)

    def renewed(self, outcome: str) -> None:
        self.renewals.append(outcome)

    def issued(self, outcome: str, count: int) -> None:
        self.issued_counts.append((outcome, count))

    def dropped(self, count: int) -> None:
        self.dropped_count += count


@dataclass
class Node:
    """An agent's side of the connection, without sidecars."""

    server: FakeNodeServer
    folder: Path
    reader: BundleReader
    told: Told = field(default_factory=Told)
    clock: SystemClock = field(default_factory=SystemClock)
    saved: list[AgentIdentity] = field(default_factory=list)

    def write_bundle(self, content: bytes | None = None) -> Path:
        path = self.folder / "bundle"
        path.write_bytes(self.server.bundle.pem() if content is None else content)
        return path

    def write_token(self, token: str = TOKEN) -> Path:
        path = self.folder / "token"
        path.write_text(token + "\n")
        path.chmod(0o600)
        return path

    def enroller(self, **changes: object) -> Enroller:
        enrolment = {
            "address": self.server.attest_address,
            "trust_bundle": self.folder / "bundle",
            "join_token_file": self.folder / "token",
        }
        poll = timedelta(milliseconds=50)
        return Enroller(Enrolment(**(enrolment | changes)), OPTIONS, BACKOFF, self.clock, LOG, poll)  # type: ignore[arg-type]

    async def identity(self) -> AgentIdentity:
        self.write_bundle()
        self.write_token()
        return await self.enroller().first()

    def upstream(self, identity: AgentIdentity, cache: Cache | None = None) -> Upstream:
        async def save(identity: AgentIdentity) -> None:
            self.saved.append(identity)

        return Upstream(
            self.server.address,
            identity,
            cache or Cache(self.clock),
            save=save,
            enrol=self.enroller().again,
            options=OPTIONS,
            backoff=BACKOFF,
            observer=self.told,
            clock=self.clock,
            log=LOG,
        )


@pytest.fixture
async def server() -> AsyncIterator[FakeNodeServer]:
    made = FakeNodeServer()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def node(server: FakeNodeServer, tmp_path: Path) -> Iterator[Node]:
    with ThreadPoolExecutor(1) as executor:
        yield Node(server, tmp_path, BundleReader(executor, LOG))
