"""How far the server's clock is from ours, from the times that it tells on the watch stream. Pure."""

from __future__ import annotations

from datetime import datetime

_KEPT = 8


class SkewEstimate:
    """Keeps the last few observations. Positive: the server's clock is ahead of ours."""

    __slots__ = ("_offsets", "_one_way")

    def __init__(self) -> None:
        self._offsets: list[float] = []
        self._one_way = 0.0

    def opened(self, round_trip: float) -> None:
        """The stream's first answer came `round_trip` seconds after the request; assume half of it each way."""
        self._offsets.clear()
        self._one_way = max(0.0, round_trip) / 2

    def observe(self, server_time: datetime, received_at: datetime) -> float:
        """Take one message's time in; the estimate in seconds.

        A message that was held up makes the server look slow, so the largest of the last offsets is the truest.
        """
        self._offsets.append((server_time - received_at).total_seconds() + self._one_way)
        del self._offsets[:-_KEPT]
        return max(self._offsets)
