"""sds explain: who would get what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sds.cli.admin import Admin, with_admin
from sds.cli.options import Format, Output

if TYPE_CHECKING:
    from sds.client.insight import Explanation, NearMiss


@with_admin
def explain(
    selector: Annotated[
        list[str],
        typer.Option("--selector", help="What the process proves, e.g. unix:uid:1000. Repeat: all of it.", metavar="S"),
    ],
    admin: Admin,
    parent: Annotated[
        str | None, typer.Option("--parent", help="The agent that it is a workload of.", metavar="ID")
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Say what a process with these selectors would get, and what the entries that nearly match still want.

    `sds agent explain --pid` asks an agent about a process that runs.
    """
    from sds.cli.output import tell  # noqa: PLC0415  # keeps `sds --help` quick

    with admin.client() as client:
        found = client.insight.explain(selector, parent_id=parent)
    tell(output, found, _print)


def _print(found: Explanation) -> None:
    from sds.cli.output import print_table, say  # noqa: PLC0415

    if found.matching:
        rows = [
            (each.id, each.spiffe_id, each.parent_id, " ".join(each.selectors), _secrets(found, each.id))
            for each in found.matching
        ]
        print_table(("MATCHING ENTRY", "SPIFFE ID", "PARENT", "SELECTORS", "SECRETS"), rows, "")
        if found.matching_total > len(rows):
            say(f"and {found.matching_total - len(rows)} more")
    else:
        say("No entry matches: such a process gets nothing.")
    if found.near:
        say("")
        near = [(each.entry.id, each.entry.spiffe_id, _missing(each)) for each in found.near]
        print_table(("NEAR MISS", "SPIFFE ID", "WHAT IS MISSING"), near, "")


def _secrets(found: Explanation, entry_id: str) -> str:
    return " ".join(found.secrets.get(entry_id, ())) or "-"


def _missing(near: NearMiss) -> str:
    other = [f"another parent, {near.entry.parent_id}"] if near.parent_differs else []
    return ", ".join([*near.missing, *other])
