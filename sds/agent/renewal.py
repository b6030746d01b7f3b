"""Which entries need a certificate now, and when to look again. Pure: time and jitter are arguments."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from attestation.entry import RegistrationEntry

CATCH_UP = timedelta(seconds=30)
"""After an outage, renewals that can wait are spread over up to this time."""
CATCH_UP_URGENT = timedelta(seconds=1)
"""The same for callers that have nothing yet."""


@dataclass(frozen=True, slots=True)
class Held:
    """A certificate that is in memory, and the entry as it was when that was signed. `received_at`: None: not known."""

    entry: RegistrationEntry
    not_before: datetime
    not_after: datetime
    renew_at: datetime
    received_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of asking. `blocked_revision`: no use to ask again before the entry has another revision."""

    failures: int = 0
    retry_at: datetime | None = None
    blocked_revision: int | None = None
    reason: str = ""

    @property
    def only_spread(self) -> bool:
        """Nothing has failed; it waits so that not everybody asks at the same time."""
        return not self.failures and self.blocked_revision is None


@dataclass(frozen=True, slots=True)
class Plan:
    """`due`: ask now, the most urgent first. `drop`: forget these. `next_look`: None means when something changes."""

    due: tuple[str, ...]
    drop: tuple[str, ...]
    next_look: datetime | None


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that `plan` looks at. All mappings are by entry ID."""

    entries: Mapping[str, RegistrationEntry]
    held: Mapping[str, Held]
    attempts: Mapping[str, Attempt]
    used: Collection[str]  # a live caller matches
    idle_since: Mapping[str, datetime]  # the last caller left then
    busy: Collection[str]  # being asked for now
    replace_at: Mapping[str, datetime] = field(default_factory=dict)  # held, and to be replaced before their time


def renew_at(not_before: datetime, not_after: datetime, share: float, jitter: float) -> datetime:
    """Half of the life, moved by up to `share` of that half to either side by `jitter` in [0, 1)."""
    half = max(not_after - not_before, timedelta(0)) / 2
    return not_before + half * (1 - share + 2 * share * jitter)


def clock_went_back(not_before: datetime, received_at: datetime, now: datetime) -> bool:
    """Whether what was valid when it came is not valid yet: the clock was set back since, and peers go by it, too.

    A certificate that came before its time is left alone. The clocks differ then, and another would be no better.
    """
    return now < not_before <= received_at


def plan(facts: Facts, now: datetime, warm_for: timedelta) -> Plan:
    """What to do at `now`. Entries are kept warm for `warm_for` after their last caller has left."""
    warm = {i: since + warm_for for i, since in facts.idle_since.items() if since + warm_for > now}
    kept = [i for i in {*facts.used, *warm} if (entry := facts.entries.get(i)) is not None and entry.live(now)]
    due: list[tuple[bool, datetime, str]] = []
    looks: list[datetime] = [until for i, until in warm.items() if i in facts.held and i not in facts.used]
    for entry_id in kept:
        entry, held = facts.entries[entry_id], facts.held.get(entry_id)
        looks.extend(_changes(entry, held, now))
        if entry_id in facts.busy or (held is None and entry_id not in facts.used):
            continue
        wanted_at = _wanted_at(entry, held, facts.replace_at.get(entry_id), now)
        allowed_at = _allowed_at(entry, facts.attempts.get(entry_id), now)
        if allowed_at is None:
            continue
        start = max(wanted_at, allowed_at)
        if start <= now:
            due.append((held is not None, held.not_after if held else entry.created_at, entry_id))
        else:
            looks.append(start)
    drop = sorted(set(facts.held).difference(kept))
    return Plan(tuple(i for *_, i in sorted(due)), tuple(drop), min(looks, default=None))


def failed(before: Attempt | None, delay: timedelta, now: datetime, reason: str) -> Attempt:
    """Another failure that time may heal."""
    return Attempt((before.failures if before else 0) + 1, now + delay, None, reason)


def blocked(before: Attempt | None, entry: RegistrationEntry, reason: str) -> Attempt:
    """A refusal that only a change of the entry can heal."""
    return Attempt((before.failures if before else 0) + 1, None, entry.revision, reason)


def catch_up(facts: Facts, now: datetime, jitter: float) -> dict[str, Attempt]:
    """New attempts after an outage: who has nothing asks almost at once, who can wait asks at a time of this agent's.

    One `jitter` for all keeps this agent's requests in few batches; different agents draw different ones.
    """
    changed: dict[str, Attempt] = {}
    for entry_id in facts.used:
        entry, held = facts.entries.get(entry_id), facts.held.get(entry_id)
        attempt = facts.attempts.get(entry_id, Attempt())
        if entry is None or attempt.blocked_revision == entry.revision:
            continue
        if held is None or not held.entry.issues_like(entry):
            if attempt.failures:
                changed[entry_id] = replace(attempt, retry_at=now + CATCH_UP_URGENT * jitter)
        elif min(held.renew_at, facts.replace_at.get(entry_id, held.renew_at)) <= now:
            spread = min(CATCH_UP, max(held.not_after - now, timedelta(0)) / 4)
            changed[entry_id] = replace(attempt, retry_at=now + spread * jitter)
    return changed


def _changes(entry: RegistrationEntry, held: Held | None, now: datetime) -> Iterator[datetime]:
    """Moments at which something ends by itself."""
    if entry.spec.expires_at is not None and entry.spec.expires_at > now:
        yield entry.spec.expires_at
    if held is not None and held.not_after > now:
        yield held.not_after


def _wanted_at(entry: RegistrationEntry, held: Held | None, replace_at: datetime | None, now: datetime) -> datetime:
    if held is None or not held.entry.issues_like(entry) or held.not_after <= now:
        return now
    if held.received_at is not None and clock_went_back(held.not_before, held.received_at, now):
        return now
    return held.renew_at if replace_at is None else min(held.renew_at, replace_at)


def _allowed_at(entry: RegistrationEntry, attempt: Attempt | None, now: datetime) -> datetime | None:
    """When one may ask; None: not before the entry changes."""
    if attempt is None:
        return now
    if attempt.blocked_revision is not None:
        return None if attempt.blocked_revision == entry.revision else now
    return attempt.retry_at or now
