"""What a message says: notices by kind, bounded, as data for templates and as JSON for webhooks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sds.durations import format_duration
from sds.notices.notice import Kind, Notice, line
from sds.notices.plan import Mode

TITLES = {
    Kind.CERTIFICATE: "Certificates that are not renewed",
    Kind.AUTHORITY: "Authorities that end",
    Kind.SECRET_EXPIRY: "Secrets that end",
    Kind.SECRET_ROTATION: "Secrets due for rotation",
    Kind.SECRET_PROBLEM: "Secrets in trouble",
    Kind.TOKEN: "API tokens that end",
    Kind.AGENT_SILENT: "Silent agents",
    Kind.SIDECAR_REJECTS: "Sidecars that reject what they get",
    Kind.SIDECAR_BEHIND: "Sidecars on an old version",
    Kind.ENTRY_UNUSED: "Entries that were never used",
    Kind.ENTRY_STALE: "Entries that are not used any more",
    Kind.GRANT_UNUSED: "Grants that were never used",
    Kind.GRANT_STALE: "Grants that are not used any more",
}
MOST_LINES = 50
"""Notices of one kind that a message for people names; of the others it tells the number."""


@dataclass(frozen=True, slots=True)
class Line:
    """One notice as templates see it. `when` is RFC 3339, or ""; `distance`: how far off that is, e.g. ``in 2h``."""

    text: str
    owner: str
    urgent: bool
    over: bool
    when: str
    distance: str


@dataclass(frozen=True, slots=True)
class Group:
    """All of a kind. `more`: how many lines were left out."""

    kind: str
    title: str
    lines: tuple[Line, ...]
    more: int
    count: int


@dataclass(frozen=True, slots=True)
class Message:
    """What templates see. `over`: notices of what is the case no longer, in groups of their own."""

    trust_domain: str
    server: str
    mode: str
    now: str
    groups: tuple[Group, ...]
    over: tuple[Group, ...]
    count: int
    count_over: int
    count_urgent: int


def compose(
    notices: Sequence[Notice], mode: Mode, now: datetime, trust_domain: str, server: str, most: int = MOST_LINES
) -> Message:
    """`server` names the host that writes it."""
    stands = [one for one in notices if one.ended_at is None]
    over = [one for one in notices if one.ended_at is not None]
    return Message(
        trust_domain=trust_domain,
        server=server,
        mode=mode.value,
        now=rfc3339(now),
        groups=_groups(stands, now, most),
        over=_groups(over, now, most),
        count=len(stands),
        count_over=len(over),
        count_urgent=sum(one.urgent for one in stands),
    )


def document(
    message_id: str, notices: Sequence[Notice], mode: Mode, now: datetime, trust_domain: str
) -> dict[str, Any]:
    """The body of a webhook call, without what is only of concern here."""
    return {
        "id": message_id,
        "type": f"sds.notices.{mode.value}",
        "trust_domain": trust_domain,
        "sent_at": rfc3339(now),
        "notices": [
            {
                "id": one.id,
                "kind": one.kind.value,
                "subject": one.subject,
                "owner": one.owner,
                "text": one.text,
                "stage": one.stage,
                "urgent": one.urgent,
                "due_at": None if one.due_at is None else rfc3339(one.due_at),
                "first_seen_at": rfc3339(one.first_seen_at),
                "ended_at": None if one.ended_at is None else rfc3339(one.ended_at),
            }
            for one in notices
        ],
    }


def rfc3339(moment: datetime) -> str:
    """UTC, to the second, with a Z."""
    return moment.astimezone(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")


def _groups(notices: Sequence[Notice], now: datetime, most: int) -> tuple[Group, ...]:
    found = []
    for kind in Kind:
        mine = [one for one in notices if one.kind is kind]
        if mine:
            lines = tuple(_line(one, now) for one in mine[:most])
            found.append(Group(kind.value, TITLES[kind], lines, len(mine) - len(lines), len(mine)))
    return tuple(found)


def _line(notice: Notice, now: datetime) -> Line:
    when = notice.ended_at or notice.due_at
    return Line(
        text=notice.text,
        owner=line(notice.owner),
        urgent=notice.urgent,
        over=notice.ended_at is not None,
        when="" if when is None else rfc3339(when),
        distance="" if when is None else _distance(when - now),
    )


def _distance(distance: timedelta) -> str:
    """To two units at most: ``in 2d3h``, ``5m ago``."""
    size = abs(distance)
    for unit in (timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)):
        if size >= 24 * unit or unit == timedelta(seconds=1):
            size -= size % unit
            break
    text = format_duration(size)
    return f"in {text}" if distance > timedelta(0) else f"{text} ago"
