"""Two processes with one agent's identity: a copied or stolen data folder shows in the reports. Pure.

Each process of an agent has a run of its own. A restart replaces one run by another for good; a run that comes back
after another took its place means that both are alive.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime, timedelta

from attestation.spiffe_id import SpiffeId

TOLD_AGAIN_AFTER = timedelta(hours=1)
MAX_AGENTS = 100_000
MAX_RUNS = 8
"""Of one agent that are remembered; a process that is alive reports often enough to be among them."""


class _Seen:
    __slots__ = ("runs", "told_at")

    def __init__(self) -> None:
        self.runs: OrderedDict[str, None] = OrderedDict()  # the newest last
        self.told_at: datetime | None = None


class Runs:
    """Remembers the latest runs of each agent, for as long as this server lives."""

    __slots__ = ("_agents",)

    def __init__(self) -> None:
        self._agents: OrderedDict[SpiffeId, _Seen] = OrderedDict()

    def duplicate(self, agent_id: SpiffeId, run_id: str, now: datetime) -> bool:
        """Take note of a report; whether it shows a second process, and that was not told within the last hour."""
        seen = self._agents.setdefault(agent_id, _Seen())
        self._agents.move_to_end(agent_id)
        if len(self._agents) > MAX_AGENTS:
            self._agents.popitem(last=False)
        newest = next(reversed(seen.runs), None)
        came_back = run_id in seen.runs and run_id != newest
        seen.runs[run_id] = None
        seen.runs.move_to_end(run_id)
        if len(seen.runs) > MAX_RUNS:
            seen.runs.popitem(last=False)
        if not came_back or (seen.told_at is not None and now - seen.told_at < TOLD_AGAIN_AFTER):
            return False
        seen.told_at = now
        return True
