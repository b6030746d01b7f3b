"""How long a certificate is valid and when it is renewed. Pure: `now` and jitter are arguments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from ca.errors import AuthorityUnavailable

BACKDATE = timedelta(seconds=10)
"""How far notBefore lies in the past, for peers whose clocks are behind."""
BACKDATE_SHARE = 5
"""Backdating never exceeds this part of the lifetime, so that short-lived certificates are not born half spent."""


@dataclass(frozen=True, slots=True)
class Validity:
    """notBefore and notAfter of a certificate: aware UTC, whole seconds (RFC 5280 section 4.1.2.5)."""

    not_before: datetime
    not_after: datetime

    def covers(self, now: datetime) -> bool:
        """Whether `now` lies within, both ends included."""
        return self.not_before <= now <= self.not_after


def clamp(
    now: datetime,
    ttl: timedelta,
    issuer: Validity,
    *,
    backdate: timedelta = BACKDATE,
    margin: timedelta = timedelta(0),
    minimum: timedelta = timedelta(0),
) -> Validity:
    """The validity of a certificate issued now for `ttl`.

    Never before the issuer's notBefore, never after its notAfter less `margin`, never longer than `ttl` from now.
    Raises AuthorityUnavailable when the issuer is not yet valid, or leaves less than both `ttl` and `minimum`.
    """
    if now < issuer.not_before:
        raise AuthorityUnavailable(f"the authority is valid only from {issuer.not_before.isoformat()}: check the clock")
    latest = floor_second(issuer.not_after - margin)
    not_after = min(floor_second(now + ttl), latest)
    if not_after <= now or latest - now < min(minimum, ttl):
        raise AuthorityUnavailable(
            f"the authority expires at {issuer.not_after.isoformat()}, too soon to sign with: rotate it"
        )
    not_before = max(floor_second(now - min(backdate, ttl / BACKDATE_SHARE)), issuer.not_before)
    return Validity(not_before, not_after)


def renew_at(not_before: datetime, not_after: datetime, jitter: float) -> datetime:
    """When to replace a certificate: at half of its life, give or take a tenth of that half.

    `jitter` in [0, 1) spreads the load: 0.5 means exactly half. Raises ValueError for other values.
    """
    if not 0 <= jitter < 1:
        raise ValueError("jitter lies in [0, 1)")
    half = max(not_after - not_before, timedelta(0)) / 2
    return not_before + half * (0.9 + 0.2 * jitter)


def floor_second(moment: datetime) -> datetime:
    """The whole second at or before `moment`: certificates know no fractions."""
    return moment.replace(microsecond=0)
