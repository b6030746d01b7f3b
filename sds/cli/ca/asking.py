"""What the commands about authorities share: finding one, asking for its activation, asking a person."""

from __future__ import annotations

import sys

from sds.cli.ca import words
from sds.cli.errors import CliError, ExitCode
from sds.cli.output import confirm, note
from sds.cli.text import count
from sds.client import Client
from sds.client.authorities import Authority, Overview, closed_gate
from sds.client.errors import GateClosed
from sds.clock import SystemClock


def find(overview: Overview, text: str) -> Authority:
    """The authority whose ID begins so. Raises CliError where that is none, or several."""
    found = [one for one in overview.authorities if text and one.id.startswith(text)]
    if len(found) == 1:
        return found[0]
    if found:
        raise CliError(ExitCode.USAGE, f"several authorities' IDs begin with {text}")
    raise CliError(ExitCode.NOT_FOUND, f"there is no authority {text}", advice="`sds ca show` lists them.")


def prepared(overview: Overview, kind: str) -> Authority:
    """The one that is next. Raises CliError if there is none."""
    found = [one for one in overview.authorities if one.kind == kind and one.state == "prepared" and one.sound]
    if not found:
        raise CliError(ExitCode.NOT_FOUND, f"no {kind} authority is prepared", advice="`sds ca prepare` makes one.")
    return found[-1]


def activate(client: Client, authority_id: str, *, force: bool, cross_sign: bool) -> Authority:
    """Raises ClientError; CliError with GATE_CLOSED, who it waits for among the problems."""
    try:
        return client.authorities.activate(authority_id, force=force, cross_sign=cross_sign)
    except GateClosed as error:
        raise CliError(
            ExitCode.GATE_CLOSED,
            error.message,
            problems=words.stragglers(closed_gate(error), SystemClock().now()),
            problem=error.document,
            advice="`sds ca rotate` waits for them; --force cuts them off.",
        ) from None


def confirm_force(one: Authority, *, yes: bool) -> None:
    """Say whom it would cut off, and ask. Raises CliError when the answer is no."""
    gate, now = one.gate, SystemClock().now()
    if gate is None or gate.open:
        return
    note(f"The gate of authority {one.id} is closed: {'; '.join(gate.reasons)}")
    for line in words.stragglers(gate, now):
        note(f"  {line}")
    late = count(gate.stragglers_total, "holder of the bundle", "holders of the bundle")
    if gate.waits_until is not None and gate.waits_until > now:
        late += ", and whoever has not fetched the bundle yet,"
    must_confirm(f"Activate it all the same? {late} would refuse what it issues.", yes=yes)


def must_confirm(question: str, *, yes: bool) -> None:
    """Ask; where nobody can be asked, only --yes will do. Raises CliError."""
    can_confirm(yes=yes)
    confirm(question, yes=yes)


def can_confirm(*, yes: bool) -> None:
    """Raises CliError where somebody has to be asked and nobody can be."""
    if not yes and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise CliError(ExitCode.USAGE, "nothing was done: this has to be confirmed", advice="Say so with --yes.")
