"""A clock that moves only when a test says so; implements sds.clock.Clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class FakeClock:
    def __init__(self, now: datetime = EPOCH, jitter: float = 0.5) -> None:
        self._now = now
        self._monotonic = 1000.0
        self.next_jitter = jitter

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def jitter(self) -> float:
        return self.next_jitter

    def advance(self, seconds: float) -> None:
        """Let time pass on both clocks."""
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds

    def jump(self, seconds: float) -> None:
        """Step the wall clock alone, as NTP or an operator does."""
        self._now += timedelta(seconds=seconds)
