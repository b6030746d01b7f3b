"""Whether everybody who must has the trust bundle that an authority needs. Pure.

Who verifies by the bundle and can say so is counted by what it has acknowledged; who cannot (readers of a bundle
endpoint or of a JWK set) is given the time in which it has to fetch again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType

from attestation.spiffe_id import SpiffeId
from ca.authority import Authority, AuthorityKind
from ca.errors import RotationRefused


class Lag(StrEnum):
    """Why somebody does not have a bundle, as far as is known."""

    NOT_CONNECTED = "not connected"
    NOT_ACKED = "not acknowledged"
    NACKED = "rejected"
    SETTLING = "just sent"


@dataclass(frozen=True, slots=True)
class Holder:
    """An agent (`stream_id` is empty) or a stream of one, and the trust bundle that it verifies by.

    `sequence` is the newest bundle's that it acknowledged; where nothing is ever acknowledged, that it was sent, which
    counts from `settles_at` on. `lag` and `detail` say why it has none that is newer. `spiffe_ids` are its workload's.
    """

    agent_id: SpiffeId
    sequence: int
    lag: Lag = Lag.NOT_ACKED
    detail: str = ""
    stream_id: str = ""
    pid: int = 0
    path: str = ""
    spiffe_ids: tuple[str, ...] = ()
    last_seen: datetime | None = None
    settles_at: datetime | None = None

    def has(self, sequence: int, now: datetime) -> bool:
        """Whether it verifies by bundle `sequence` or a newer one."""
        return self.sequence >= sequence and (self.settles_at is None or now >= self.settles_at)


@dataclass(frozen=True, slots=True)
class Straggler:
    """Somebody who would not accept what an authority issues, and why. The other fields are a Holder's."""

    agent_id: SpiffeId
    lag: Lag
    detail: str = ""
    stream_id: str = ""
    pid: int = 0
    path: str = ""
    spiffe_ids: tuple[str, ...] = ()
    last_seen: datetime | None = None
    sequence: int = 0


def _nothing() -> Mapping[str, datetime]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Fleet:
    """Everybody who verifies by the trust bundle and can say so, and what was issued to them.

    `ahead` counts those who have every bundle that any authority needs; they are not among the `holders`. `last_leaf`
    has, by authority ID, when the last certificate below it expires; intents count.
    """

    holders: tuple[Holder, ...] = ()
    last_leaf: Mapping[str, datetime] = field(default_factory=_nothing)
    ahead: int = 0

    def __bool__(self) -> bool:
        """Whether there is anybody."""
        return bool(self.holders) or self.ahead > 0


@dataclass(frozen=True, slots=True)
class Gate:
    """Open: nobody who is known would refuse what the authority issues. `reasons` say why it is closed.

    `total` and `acked` count holders. `waits_until` is when those who cannot acknowledge must have fetched the bundle;
    None where there are none.
    """

    authority_id: str
    sequence: int
    total: int = 0
    acked: int = 0
    stragglers: tuple[Straggler, ...] = ()
    waits_until: datetime | None = None
    reasons: tuple[str, ...] = ()

    @property
    def open(self) -> bool:
        return not self.reasons


class GateClosed(RotationRefused):
    """Activating the authority would cut somebody off; `gate` says whom."""

    def __init__(self, gate: Gate) -> None:
        super().__init__(
            f"authority {gate.authority_id} is not ready: {'; '.join(gate.reasons)}; wait, or force it and cut them off"
        )
        self.gate = gate


def judge(
    authority: Authority, slots: tuple[Authority, ...], fleet: Fleet, now: datetime, wait: timedelta = timedelta(0)
) -> Gate:
    """The gate of one of `slots`. `wait`: what those who cannot acknowledge get, from its publication on.

    JWT authorities are for verifiers far away, none of whom can say what it holds; only the wait counts for them.
    """
    needed = authority.published_sequence
    x509 = authority.kind is AuthorityKind.X509
    holders = fleet.holders if x509 else ()
    total = len(holders) + (fleet.ahead if x509 else 0)
    late = tuple(_straggler(one, needed) for one in holders if not one.has(needed, now))
    waits_until = published_at(authority, slots) + wait if wait else None
    reasons = []
    if late:
        reasons.append(f"{len(late)} of {total} have not acknowledged bundle {needed}")
    if waits_until is not None and now < waits_until:
        reasons.append(f"those who cannot acknowledge have until {waits_until.isoformat()} to fetch the bundle")
    return Gate(authority.id, needed, total, total - len(late), late, waits_until, tuple(reasons))


def published_at(authority: Authority, slots: tuple[Authority, ...]) -> datetime:
    """Since when the bundle has had all that the authority is verified by; another below the same root may have brought
    that before.
    """
    same = (
        one.created_at
        for one in slots
        if one.kind is authority.kind and one.published_sequence == authority.published_sequence and not one.revoked
    )
    return min(same, default=authority.created_at)


def _straggler(holder: Holder, needed: int) -> Straggler:
    return Straggler(
        agent_id=holder.agent_id,
        lag=Lag.SETTLING if holder.sequence >= needed else holder.lag,
        detail=holder.detail,
        stream_id=holder.stream_id,
        pid=holder.pid,
        path=holder.path,
        spiffe_ids=holder.spiffe_ids,
        last_seen=holder.last_seen,
        sequence=holder.sequence,
    )
