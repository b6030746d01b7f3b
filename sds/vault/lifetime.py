"""When a token is renewed or another one is asked for. Pure; times are those of a monotonic clock, in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

from ca.masked import Masked
from sds.vault.answers import VaultAuth

_SHARE = 2 / 3
_SPREAD = 0.1
"""Replicas that logged in together renew apart."""


class Due(Enum):
    """What is to be done about a token now."""

    NOTHING = auto()
    RENEWAL = auto()
    LOGIN = auto()


@dataclass(frozen=True, slots=True)
class HeldToken:
    """`seconds`: how long it lives from `obtained` on, 0: for ever. `full`: what it got at first."""

    token: Masked[str] = field(repr=False)
    obtained: float
    seconds: float
    full: float
    renewable: bool
    jitter: float

    @classmethod
    def of(cls, auth: VaultAuth, asked: float, jitter: float) -> HeldToken:
        """`asked`: when it was asked for, before which its life has not begun."""
        seconds = float(auth.lease_seconds)
        return cls(auth.token, asked, seconds, seconds, auth.renewable, jitter)

    def renewed(self, auth: VaultAuth, asked: float, jitter: float) -> HeldToken:
        """After a renewal. One that grants less than half of what there was at first has met the longest lifetime."""
        seconds = float(auth.lease_seconds)
        lasting = auth.renewable and (seconds == 0 or seconds >= self.full / 2)
        return HeldToken(self.token, asked, seconds, self.full, lasting, jitter)

    @property
    def due_at(self) -> float | None:
        """None: never."""
        if self.seconds <= 0:
            return None
        return self.obtained + self.seconds * _SHARE * (1 - _SPREAD * self.jitter)

    def ended(self, now: float) -> bool:
        return 0 < self.seconds <= now - self.obtained

    def due(self, now: float) -> Due:
        due_at = self.due_at
        if due_at is None or now < due_at:
            return Due.NOTHING
        return Due.RENEWAL if self.renewable and not self.ended(now) else Due.LOGIN

    def left(self, now: float) -> float | None:
        """Seconds that it still lives; None: for ever."""
        return None if self.seconds <= 0 else max(0.0, self.obtained + self.seconds - now)
