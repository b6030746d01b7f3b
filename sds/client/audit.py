"""The log of who did what."""

from __future__ import annotations

from sds.client.nouns import Noun, operation
from sds.client.results import Many, Result, Time

_PATH = "/v1/audit"


class Party(Result):
    """An event's actor or target; only actors have an address."""

    kind: str
    id: str
    address: str = ""


class Event(Result):
    sequence: int
    time: Time
    action: str
    outcome: str
    actor: Party
    target: Party
    reason: str


class EventPage(Result):
    """Oldest first. `last_sequence`: what to ask `after` next."""

    events: Many[Event]
    last_sequence: int


class Sink(Result):
    """Someone who is told of the log. `delivered_leaf`: the last that it was given; the lag is of what it lacks."""

    name: str
    kind: str
    delivered_leaf: int | None
    delivered_at: Time | None
    lag_events: int
    lag_seconds: int
    problem: str
    problem_since: Time | None
    holder: str


class Sinks(Result):
    sinks: Many[Sink]


class Audit(Noun):
    @operation("audit.tail")
    def tail(
        self,
        *,
        after: int | None = None,
        limit: int = 100,
        wait: int = 0,
        action: str | None = None,
        outcome: str | None = None,
        actor: str | None = None,
        target: str | None = None,
    ) -> EventPage:
        """Events after `after`, or the newest. `wait`: seconds that the server waits for one if there is none."""
        query = {
            "after": after,
            "limit": limit,
            "wait": wait or None,
            "action": action,
            "outcome": outcome,
            "actor": actor,
            "target": target,
        }
        return self._get(EventPage, _PATH, query, timeout=wait + 30.0)

    @operation("audit.sinks")
    def sinks(self) -> Sinks:
        """To whom the server that answers tells the log, in the order of its configuration."""
        return self._get(Sinks, f"{_PATH}/sinks")
