"""sds stats: the numbers of the whole."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from sds.cli.admin import Admin, with_admin
from sds.cli.options import Format, Output

if TYPE_CHECKING:
    from sds.client.insight import AuditHealth, Statistics

_SPARKS = "▁▂▃▄▅▆▇█"


@with_admin
def stats(admin: Admin, output: Output = Format.TABLE) -> None:
    """Show the overview: identities, agents, streams, issuance, what expires soon, and how the audit log is."""
    from sds.cli.output import show  # noqa: PLC0415  # keeps `sds --help` quick

    with admin.client() as client:
        found = client.insight.statistics()
    show(output, found, _facts(found))


def _facts(found: Statistics) -> list[tuple[str, str | list[str]]]:
    from sds.cli.text import exact  # noqa: PLC0415

    return [
        ("As of", exact(found.at)),
        ("Identities", f"{found.identities}, by {found.entries} entries"),
        ("Certificates", f"{found.certificates} are good now"),
        (
            "Agents",
            (
                f"{found.agents}; {found.agents_connected} connected here, "
                f"{found.agents_silent} silent, {found.agents_banned} banned"
            ),
        ),
        ("Streams", f"{found.streams}; {found.streams_nacked} refused something, {found.streams_behind} owe an answer"),
        ("Secrets", f"{found.secrets}, {found.grants} grants; {found.secrets_in_trouble} in trouble"),
        ("Issued", _rate(found.issued_a_minute)),
        ("Refused", _rate(found.refused_a_minute)),
        ("Expiring", [f"{exact(one.start)} to {exact(one.end)}: {one.count}" for one in found.expiring if one.count]),
        ("Rotation", found.rotation),
        ("Audit log", _audit(found.audit, found)),
    ]


def _rate(minutes: tuple[int, ...]) -> str:
    """The last hour, as a line that rises and falls."""
    most = max(minutes, default=0)
    line = "".join(_SPARKS[each * (len(_SPARKS) - 1) // most] for each in minutes) if most else ""
    return f"{sum(minutes)} in the last hour {line}".rstrip()


def _audit(health: AuditHealth, found: Statistics) -> list[str]:
    from sds.cli.text import moment, rough  # noqa: PLC0415

    lag = rough(timedelta(seconds=health.oldest_lag_seconds))
    return [
        f"{health.size} events, last checkpoint {moment(health.checkpoint_at, found.at, 'never')}",
        f"{health.events_waiting} events not under a checkpoint yet",
        f"{health.sinks} sinks, {health.sinks_in_trouble} in trouble; the slowest is {lag} behind",
    ]
