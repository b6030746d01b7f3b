"""What the SDS service needs from whoever runs it: who calls, what they may have, and who listens to what happens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from attestation.entry import RegistrationEntry
from sds.delivery.view import View


@dataclass(frozen=True, slots=True)
class CallerInfo:
    """An attested caller as operators see it. `start_time` is in clock ticks since boot (proc(5), field 22)."""

    pid: int = 0
    uid: int = 0
    gid: int = 0
    start_time: int = 0
    path: str = ""  # of the binary
    container: str = ""  # its ID, by the names of its control groups; not proved
    selectors: tuple[str, ...] = ()
    spiffe_ids: tuple[str, ...] = ()
    address: str = ""  # of a caller that is no local process


class Caller(Protocol):
    """One attested connection."""

    @property
    def description(self) -> CallerInfo:
        """As of now; selectors and SPIFFE IDs change when the caller is attested again."""
        ...

    @property
    def entries(self) -> Sequence[RegistrationEntry]:
        """The entries that match, the default one first, whether or not their certificates are there."""
        ...

    def view(self) -> View:
        """What the caller may have now. Called at every wake, so keep it memoised.

        EMPTY means that no entry matches, WAITING that its certificate is not there: the stream stays open and waits.
        Raises AttestationRefused when the caller itself is gone or banned: the stream ends.
        """
        ...

    def entitled(self) -> bool:
        """Whether an entry matches, also while its certificate is not there and `view()` is WAITING."""
        ...

    def watch(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Have `wake` called on the event loop whenever `view()` may differ; returns what ends that (idempotent)."""
        ...

    def want(self, wake: Callable[[], None], names: Sequence[str]) -> None:
        """The stream that is woken by `wake` wants these names now, and no others; ends with what `watch` returned.

        Called only when they changed. What is under a name that `view().awaits` is looked for while it is wanted, and
        `wake` is called when it is known. Raises LimitExceeded.
        """
        ...

    def remembered(self) -> Sequence[str]:
        """The names that this caller's process asked for before, on a stream that is gone (also of an earlier run)."""
        ...

    def remember(self, names: Sequence[str]) -> None:
        """Keep the names that one stream of this caller now wants; called only when they changed. Must not block."""
        ...


class Callers(Protocol):
    """Finds out who stands behind a gRPC peer."""

    @property
    def ready(self) -> bool:
        """Whether it is known what callers may have; until then `identify` waits."""
        ...

    async def identify(self, peer: str) -> Caller:
        """`peer` is `context.peer()`. Raises AttestationRefused with a reason safe to show."""
        ...


class StreamInfo(Protocol):
    """One stream, as the hooks of an Observer see it."""

    @property
    def id(self) -> str: ...

    @property
    def protocol(self) -> str:
        """`sotw`, `delta`, `ads-sotw`, `ads-delta`, `workload-api` or `fetch`."""
        ...

    @property
    def caller(self) -> CallerInfo: ...

    @property
    def node_id(self) -> str:
        """What the client says of itself, cleaned for logs; never trusted."""
        ...


class Observer(Protocol):
    """Told what happens, on the event loop and in order. Must neither block nor raise.

    Names and texts that come from a client are bounded and free of control characters.
    """

    def opened(self, stream: StreamInfo) -> None: ...

    def closed(self, stream: StreamInfo, reason: str) -> None:
        """`reason` is empty when the client just left."""
        ...

    def sent(self, stream: StreamInfo, name: str, version: str) -> None:
        """An empty version says that the client was told that there is nothing (any more) under `name`."""
        ...

    def acked(self, stream: StreamInfo, name: str, version: str, seconds: float) -> None:
        """`seconds` from the push to its ACK."""
        ...

    def nacked(self, stream: StreamInfo, name: str, version: str, detail: str) -> None: ...

    def reaffirmed(self, stream: StreamInfo, name: str, version: str, sequence: int) -> None:
        """Nothing was sent: what the client has, or is on its way, is the content of our bundle `sequence` too."""
        ...

    def ignored(self, stream: StreamInfo, reason: str) -> None: ...

    def refused(self, stream: StreamInfo, name: str, reason: str) -> None:
        """The caller asked for `name` and may not have it, or had it and lost it; once until that changes."""
        ...

    def resumed(self, stream: StreamInfo, names: int) -> None:
        """A stream stayed silent and was served the `names` that its process had asked for before."""
        ...

    def rejected(self, peer: str, protocol: str, reason: str) -> None:
        """A call ended without a stream: not attested, too many streams, or a token that was not given or believed."""
        ...

    def crashed(self, protocol: str, error: Exception) -> None:
        """A mistake of ours ended a call as INTERNAL. Log the type and the traceback, not the arguments."""
        ...
