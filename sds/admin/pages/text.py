"""Values as people read them: times, durations, SPIFFE IDs. Pure; what comes out is escaped by the templates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ca.rotation import SKEW

_UNITS = ((86400 * 365, "y"), (86400 * 30, "mo"), (86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def parse_time(text: str | datetime) -> datetime:
    """A time as the API writes it (RFC 3339)."""
    return text if isinstance(text, datetime) else datetime.fromisoformat(text).astimezone(UTC)


def exact(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def machine(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def span(duration: timedelta) -> str:
    """The largest unit that fits, or two where the first alone says little: ``45 s``, ``1 h 20 min``, ``12 d``."""
    seconds = max(int(duration.total_seconds()), 0)
    for index, (size, unit) in enumerate(_UNITS):
        if seconds >= size:
            count, rest = divmod(seconds, size)
            if count < 3 and index + 1 < len(_UNITS):
                smaller, name = _UNITS[index + 1]
                if rest // smaller:
                    return f"{count} {unit} {rest // smaller} {name}"
            return f"{count} {unit}"
    return "0 s"


def relative(when: datetime, now: datetime) -> str:
    """``3 min ago``, ``in 2 h``, ``now``."""
    away = when - now
    if abs(away) < timedelta(seconds=1):
        return "now"
    return f"in {span(away)}" if away > timedelta(0) else f"{span(-away)} ago"


def past(when: datetime, now: datetime) -> datetime:
    """What has happened is not still to come: a page's `now` is taken before what it shows is read, and clocks of
    replicas differ a little. What lies further ahead than they may is left as it is, so that it is seen.
    """
    return now if now < when <= now + SKEW else when


def duration(seconds: float | None) -> str:
    """Seconds, as the API has them."""
    return "" if seconds is None else span(timedelta(seconds=seconds))


def split_id(spiffe_id: str) -> tuple[str, str]:
    """The trust domain's part and the path: ``spiffe://example.org`` and ``/web``."""
    scheme = "spiffe://"
    if not spiffe_id.startswith(scheme):
        return "", spiffe_id
    domain, slash, path = spiffe_id[len(scheme) :].partition("/")
    return scheme + domain, slash + path


def short(text: str, most: int = 16) -> str:
    """The beginning of a long hex string."""
    return text if len(text) <= most else f"{text[:most]}\N{HORIZONTAL ELLIPSIS}"


def plural(count: int, one: str, many: str = "") -> str:
    """``1 entry``, ``12,345 entries``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
