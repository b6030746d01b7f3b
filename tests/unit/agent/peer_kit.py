"""A process, its connection, the attestor that looks at it, and who is told of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from attestation.attestor import Process
from attestation.selector import Selectors
from sds.agent.cache import Cache
from sds.agent.peer import LocalCallers
from sds.agent.workload import Workload
from tests.fakes.clock import FakeClock
from tests.unit.agent.entries import selectors

ENVOY = Process(10, 1000, 1000, 500)
UID = selectors("unix:uid:1000", "unix:path:/bin/envoy")


class FakeProcess:
    """Stands in for LocalProcess."""

    def __init__(self, identity: Process = ENVOY) -> None:
        self.identity = identity
        self.lives = True

    def alive(self) -> bool:
        return self.lives


class FakeConnection:
    """Stands in for relay.Connection."""

    def __init__(self, number: int, peer: FakeProcess) -> None:
        self.id = number
        self.name = f"c-{number}"
        self.peer = peer
        self.closed = False
        self.callbacks: list[Callable[[], None]] = []

    def on_close(self, callback: Callable[[], None]) -> None:
        self.callbacks.append(callback)

    def close(self) -> None:
        self.closed = True
        for callback in self.callbacks:
            callback()


class FakeAttestor:
    """Says what the test says, from a thread; `gate` holds it up."""

    def __init__(self) -> None:
        self.facts: Selectors = UID
        self.error: Exception | None = None
        self.calls: list[Process] = []
        self.at_once = 0
        self.most_at_once = 0
        self.gate = threading.Event()
        self.gate.set()
        self._lock = threading.Lock()

    def attest(self, process: Process) -> Selectors:
        with self._lock:
            self.calls.append(process)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        self.gate.wait(10)
        with self._lock:
            self.at_once -= 1
        if self.error is not None:
            raise self.error
        return self.facts


class FakeMemory:
    def __init__(self) -> None:
        self.names: dict[Process, tuple[str, ...]] = {}

    def recall(self, process: Process) -> tuple[str, ...]:
        return self.names.get(process, ())

    def remember(self, process: Process, names: object) -> None:
        self.names[process] = tuple(names)  # type: ignore[arg-type]


class Told:
    """Implements WorkloadObserver."""

    def __init__(self) -> None:
        self.events: list[tuple[object, ...]] = []

    def attested(self, workload: Workload) -> None:
        self.events.append(("attested",))

    def matched(self, workload: Workload) -> None:
        self.events.append(("matched", tuple(str(entry.spiffe_id) for entry in workload.entries)))

    def unmatched(self, workload: Workload) -> None:
        self.events.append(("unmatched", tuple(sorted(str(s) for s in workload.selectors))))

    def refused(self, process: Process, reason: str) -> None:
        self.events.append(("refused", reason))

    def limited(self, process: Process) -> None:
        self.events.append(("limited", process.uid))

    def broke(self, process: Process, error: Exception) -> None:
        self.events.append(("broke", type(error).__name__))

    def of(self, kind: str) -> list[object]:
        return [event[1] for event in self.events if event[0] == kind]


@dataclass
class Kit:
    callers: LocalCallers
    cache: Cache
    clock: FakeClock
    attestor: FakeAttestor
    memory: FakeMemory
    told: Told
    connections: dict[str, FakeConnection] = field(default_factory=dict)

    def connect(self, process: FakeProcess | None = None) -> FakeConnection:
        number = len(self.connections) + 1
        connection = self.connections[f"unix:/c-{number}"] = FakeConnection(number, process or FakeProcess())
        return connection

    async def identify(self, connection: FakeConnection) -> Workload:
        async with asyncio.timeout(10):
            return await self.callers.identify(f"unix:/c-{connection.id}")
