"""Which value of the secret each sidecar uses, and how long after its change in Vault it did. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Change:
    """`at`: monotonic seconds, just before it was written. `used`: seconds from then to each sidecar's first use."""

    number: int
    value: str
    at: float
    used: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SecretView:
    """The secret as it is now: what each sidecar uses, and the newest change."""

    place: str
    in_use: Mapping[str, str]
    done: int
    last: Change | None


class Changes:
    """Told of each value that is written and of each that is used.

    Values that it does not know were written by somebody else. A change that one of those overtook is forgotten.
    """

    def __init__(self, sidecars: Sequence[str]) -> None:
        self._sidecars = tuple(sidecars)
        self._numbers = {self.value(0): 0}
        self._changes: list[Change] = []
        self._quiet_since: float | None = None
        self.in_use: dict[str, str] = {}

    @staticmethod
    def value(number: int) -> str:
        """The value that change `number` writes; 0: what stands there from the start."""
        return f"key-{number}"

    @property
    def done(self) -> Sequence[Change]:
        """Those whose value all sidecars have used."""
        return tuple(change for change in self._changes if self.missing(change) == ())

    @property
    def last(self) -> Change | None:
        return self._changes[-1] if self._changes else None

    def missing(self, change: Change) -> tuple[str, ...]:
        """The sidecars that have not used its value yet."""
        return tuple(name for name in self._sidecars if name not in change.used)

    def due(self, now: float, every: float) -> bool:
        """Whether to change it: the former value is used by all, and was long enough; who wrote it himself has longer.

        The first call only starts the clock.
        """
        if self._quiet_since is None:
            self._quiet_since = now
        last = self.last
        if last is not None and self.missing(last):
            return False
        return now - self._quiet_since >= every and (last is None or now - last.at >= every)

    def begin(self, now: float) -> Change:
        """The next change, which is written now."""
        change = Change(len(self._numbers), self.value(len(self._numbers)), now)
        self._numbers[change.value] = change.number
        self._changes.append(change)
        return change

    def saw(self, sidecar: str, value: str, now: float) -> None:
        """A request was served with this value."""
        number, before = self._numbers.get(value), self.in_use.get(sidecar, "")
        if number is None:
            self._by_hand(sidecar, value, now)
        elif number >= self._numbers.get(before, 0):  # else an answer that another one has overtaken
            self.in_use[sidecar] = value
            self._changes = [_used(c, sidecar, now) if c.number == number else c for c in self._changes]

    def _by_hand(self, sidecar: str, value: str, now: float) -> None:
        if self.in_use.get(sidecar) == value:
            return
        self.in_use[sidecar] = value
        self._quiet_since = now + _PATIENCE
        self._changes = [change for change in self._changes if not self.missing(change)]


def _used(change: Change, sidecar: str, now: float) -> Change:
    if sidecar in change.used:
        return change
    return Change(change.number, change.value, change.at, {**change.used, sidecar: now - change.at})


_PATIENCE = 10.0
"""Seconds that a value which somebody wrote himself is left alone, so that he sees it."""
