"""The agent's side of the delivery service, for tests: callers with views that the test changes, and a listener."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attestation.entry import RegistrationEntry
from attestation.errors import AttestationRefused
from sds.delivery.ports import CallerInfo, StreamInfo
from sds.delivery.view import EMPTY, View


class FakeCaller:
    def __init__(self, view: View = EMPTY, remembered: Sequence[str] = ()) -> None:
        self._view = view
        self._wakes: list[Callable[[], None]] = []
        self._names: dict[str, None] = dict.fromkeys(remembered)
        self.gone = ""
        self.entries: tuple[RegistrationEntry, ...] = ()
        self.wanted: list[tuple[str, ...]] = []
        self.promised = False
        """Whether an entry matches although the view is empty."""

    @property
    def description(self) -> CallerInfo:
        return CallerInfo(pid=42, uid=1000, start_time=7, spiffe_ids=self._view.spiffe_ids)

    @property
    def watchers(self) -> int:
        return len(self._wakes)

    def view(self) -> View:
        if self.gone:
            raise AttestationRefused(self.gone)
        return self._view

    def entitled(self) -> bool:
        return self.promised or bool(self._view)

    def watch(self, wake: Callable[[], None]) -> Callable[[], None]:
        self._wakes.append(wake)

        def unwatch() -> None:
            if wake in self._wakes:
                self._wakes.remove(wake)

        return unwatch

    def want(self, wake: Callable[[], None], names: Sequence[str]) -> None:
        self.wanted.append(tuple(names))

    def remembered(self) -> Sequence[str]:
        return tuple(self._names)

    def remember(self, names: Sequence[str]) -> None:
        self._names.update(dict.fromkeys(names))

    def change(self, view: View) -> None:
        """The view is now this one, and every stream is told."""
        self._view = view
        self.wake()

    def leave(self, reason: str) -> None:
        """The caller is gone or banned."""
        self.gone = reason
        self.wake()

    def wake(self) -> None:
        for wake in tuple(self._wakes):
            wake()


class FakeCallers:
    """Everyone is the same caller, unless the test says that nobody is."""

    def __init__(self, caller: FakeCaller) -> None:
        self.caller = caller
        self.refusal: Exception | None = None
        self.peers: list[str] = []
        self.ready = True

    async def identify(self, peer: str) -> FakeCaller:
        self.peers.append(peer)
        if self.refusal is not None:
            raise self.refusal
        return self.caller


class RecordingObserver:
    """Everything that was told, in order, as tuples that begin with the hook's name."""

    def __init__(self) -> None:
        self.events: list[tuple[object, ...]] = []

    def of(self, kind: str) -> list[tuple[object, ...]]:
        """The events of one kind, without the name and the stream."""
        return [event[1:] for event in self.events if event[0] == kind]

    def opened(self, stream: StreamInfo) -> None:
        self.events.append(("opened", stream.protocol))

    def closed(self, stream: StreamInfo, reason: str) -> None:
        self.events.append(("closed", reason))

    def sent(self, stream: StreamInfo, name: str, version: str) -> None:
        self.events.append(("sent", name, version))

    def acked(self, stream: StreamInfo, name: str, version: str, seconds: float) -> None:
        self.events.append(("acked", name, version))

    def nacked(self, stream: StreamInfo, name: str, version: str, detail: str) -> None:
        self.events.append(("nacked", name, version, detail))

    def reaffirmed(self, stream: StreamInfo, name: str, version: str, sequence: int) -> None:
        self.events.append(("reaffirmed", name, version, sequence))

    def ignored(self, stream: StreamInfo, reason: str) -> None:
        self.events.append(("ignored", reason))

    def refused(self, stream: StreamInfo, name: str, reason: str) -> None:
        self.events.append(("refused", name, reason))

    def resumed(self, stream: StreamInfo, names: int) -> None:
        self.events.append(("resumed", names))

    def rejected(self, peer: str, protocol: str, reason: str) -> None:
        self.events.append(("rejected", protocol, reason))

    def crashed(self, protocol: str, error: Exception) -> None:
        self.events.append(("crashed", protocol, error))
