"""What tests of the cache share: callers that only count how often they are woken."""

from collections.abc import Callable

from attestation.attestor import Process
from tests.unit.agent.entries import selectors

UID = selectors("unix:uid:1000")


class FakeMember:
    """Implements group.Member and counts its wakes."""

    path = "/bin/x"
    container = ""

    def __init__(self, pid: int = 1) -> None:
        self.process = Process(pid, 1000, 1000, 7)
        self.wakes = 0
        self.watchers: list[Callable[[], None]] = [self.wake]

    def wake(self) -> None:
        self.wakes += 1


SELECTOR_SETS = (UID, selectors("unix:uid:2"), UID | selectors("unix:path:/x"), selectors("unix:gid:9"))
