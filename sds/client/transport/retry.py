"""Whether a call that was refused for the moment is made once more, and when. Pure."""

from __future__ import annotations

import email.utils
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Retry:
    """`attempts` at most in all. One that the server would put off for longer than `longest` seconds is not made."""

    attempts: int = 3
    longest: float = 30.0

    def pause(self, attempt: int, status: int, retry_after: float | None, *, repeatable: bool) -> float | None:
        """Seconds to wait after the `attempt`-th (1 is the first), or None to give up.

        429 says that nothing was done, so any call may be repeated; after 503 only what does no harm if it was done.
        Neither is repeated unless the server says when (RFC 9110 section 10.2.3).
        """
        if attempt >= self.attempts or retry_after is None or not 0 <= retry_after <= self.longest:
            return None
        return retry_after if status == 429 or (status == 503 and repeatable) else None


NEVER = Retry(attempts=1)


def retry_after_seconds(value: str | None, now: datetime) -> float | None:
    """Seconds from a Retry-After header: a number or a date. None for what is neither."""
    if value is None or len(value) > 64:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        when = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    when = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
    return max(0.0, (when - now).total_seconds())
