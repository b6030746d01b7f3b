"""The options that choose events, shared by search and export."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

import typer

from sds.cli.errors import CliError, ExitCode
from sds.cli.option_groups import option_group

Action = Annotated[str | None, typer.Option("--action", help="Only this, e.g. entry.create, or all of a kind: entry.")]
Outcome = Annotated[str | None, typer.Option("--outcome", help="Only success, refused or failure.")]
Actor = Annotated[str | None, typer.Option("--actor", help="Only by this actor, e.g. uid:0 or an agent's ID.")]
Target = Annotated[str | None, typer.Option("--target", help="Only on this target's ID.")]
Since = Annotated[
    str | None, typer.Option("--since", help="Not before: a time (RFC 3339), or so long ago: 2h, 7d.", metavar="WHEN")
]
Until = Annotated[str | None, typer.Option("--until", help="Before, as --since.", metavar="WHEN")]
RequestId = Annotated[str | None, typer.Option("--request-id", help="Only of this request.", metavar="ID")]

Chosen = Callable[[datetime], dict[str, Any]]
"""The filters that were given, once it is known what time it is. Raises CliError."""


def _make(
    _: typer.Context,
    action: str | None,
    outcome: str | None,
    actor: str | None,
    target: str | None,
    since: str | None,
    until: str | None,
    request_id: str | None,
) -> Chosen:
    plain = {"action": action, "outcome": outcome, "actor": actor, "target": target, "request_id": request_id}
    return lambda now: {**plain, "since": moment("--since", since, now), "until": moment("--until", until, now)}


with_chosen = option_group(
    "chosen",
    {
        "action": (Action, None),
        "outcome": (Outcome, None),
        "actor": (Actor, None),
        "target": (Target, None),
        "since": (Since, None),
        "until": (Until, None),
        "request_id": (RequestId, None),
    },
    _make,
)


def moment(option: str, text: str | None, now: datetime) -> datetime | None:
    """A time, or so long ago. Raises CliError."""
    from sds.durations import InvalidDuration, parse_duration  # noqa: PLC0415  # keeps `sds --help` quick

    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        try:
            return now - parse_duration(text)
        except (InvalidDuration, OverflowError):
            problem = f"{option} is no time like 2030-01-31T12:00:00Z and no duration like 2h"
            raise CliError(ExitCode.USAGE, problem) from None
    if found.tzinfo is None:
        raise CliError(ExitCode.USAGE, f"{option} lacks its offset from UTC: write 2030-01-31T12:00:00Z")
    return found
