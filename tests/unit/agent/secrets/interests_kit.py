"""What tests of interests share: a link that remembers, and streams that count."""

from __future__ import annotations

from dataclasses import dataclass, field

from attestation.attestor import Process
from attestation.entry import RegistrationEntry
from ca.masked import Masked
from sds.agent.cache import Cache
from sds.agent.secrets.desk import LocalSecrets, SecretsOptions
from sds.agent.secrets.interests import InterestLimits, Interests
from sds.agent.secrets.shelf import Shelf, Wanted
from sds.agent.secrets.values import Given
from sds.agent.workload import Workload
from sds.net.limits import Caps
from sds.secrets.secret import SecretKind, SecretValue
from tests.fakes.clock import FakeClock
from tests.unit.agent.entries import bundle, selectors, svid


class NoMemory:
    def recall(self, process: Process) -> tuple[str, ...]:
        return ()

    def remember(self, process: Process, names: object) -> None: ...


@dataclass
class Told:
    values: int = 0
    problems: list[str] = field(default_factory=list)
    ended: list[tuple[str, str]] = field(default_factory=list)

    def received(self, count: int) -> None:
        self.values += count

    def refused(self, problem: str) -> None:
        self.problems.append(problem)

    def expired(self, secret: Wanted, spiffe_id: str) -> None:
        self.ended.append((secret.name, spiffe_id))


class Stream:
    """What a stream does with its caller."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.wakes = 0
        self._unwatch = workload.watch(self.wake)

    def wake(self) -> None:
        self.wakes += 1

    def want(self, *names: str) -> None:
        self.workload.want(self.wake, names)

    def close(self) -> None:
        self._unwatch()


class Kit:
    def __init__(self, **limits: int) -> None:
        self.clock = FakeClock()
        self.shelf = Shelf()
        self.interests = Interests(self.shelf, self.clock, limits=InterestLimits(**limits))
        self.cache = Cache(self.clock, secrets=self.interests)
        self.told = Told()
        self.desk = LocalSecrets(self.cache, self.shelf, self.told, self.clock, SecretsOptions())
        self.streams = Caps(1_000, 1_000)
        self.cache.apply((), snapshot=True, bundle=bundle())

    def entries(self, *entries: RegistrationEntry) -> None:
        self.cache.apply(entries)
        self.cache.put({one.id: svid(one) for one in entries})

    def workload(self, *texts: str, pid: int = 1, start_time: int = 1, uid: int = 1000) -> Workload:
        made = Workload(Process(pid, uid, uid, start_time), NoMemory(), self.streams, self.cache)
        made.move(self.cache.join(selectors(*(texts or ("unix:uid:1000",))), made))
        return made

    def give(self, name: str, version: str, *entries: str, value: bytes | None = None) -> None:
        self.desk.apply([Given(name, entries, secret_value(version, value or version.encode()))])

    def value(self, workload: Workload, name: str) -> bytes | None:
        found = self.desk.find(workload, name)
        return found.fields[0][1].reveal() if isinstance(found, SecretValue) else None


def secret_value(version: str, value: bytes) -> SecretValue:
    return SecretValue(SecretKind.GENERIC, version, (("", Masked(value)),))
