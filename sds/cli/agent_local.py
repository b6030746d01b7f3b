"""sds agent status and explain: asks the agent on this node, which answers also when the server is away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sds.cli.admin import Admin, with_agent
from sds.cli.options import Format, Output

if TYPE_CHECKING:
    from sds.client.node import Explained, Match, Status


@with_agent
def status(
    admin: Admin,
    output: Output = Format.TABLE,
) -> None:
    """Show how the agent on this node is: its own SVID, its server, what it holds."""
    from sds.cli.output import show  # noqa: PLC0415  # keeps `sds --help` quick

    with admin.client() as client:
        found = client.node.status()
    show(output, found, _facts(found))


@with_agent
def explain(
    pid: Annotated[int, typer.Option("--pid", help="A process on this node.", min=1, metavar="N")],
    admin: Admin,
    output: Output = Format.TABLE,
) -> None:
    """Show what a process proves, which entries match it, and what the nearest others would need."""
    from sds.cli.output import tell  # noqa: PLC0415

    with admin.client() as client:
        explained = client.node.explain(pid)
    tell(output, explained, _print)


def _secrets(found: Status) -> str | list[str]:
    secrets = found.secrets
    lines = [f"{secrets.wanted} wanted, {secrets.held} held"]
    lines += [f"{one.name} of {one.spiffe_id}: {one.state.replace('_', ' ')}" for one in secrets.attention]
    more = secrets.attention_total - len(secrets.attention)
    return [*lines, f"and {more} more"] if more else lines if len(lines) > 1 else lines[0]


def _audit(found: Status) -> list[tuple[str, str | list[str]]]:
    """Nothing of an agent that was not told of any checkpoint."""
    from sds.cli.text import count, moment  # noqa: PLC0415

    if found.audit is None:
        return []
    told = f"{count(found.audit.size, 'event')}, told {moment(found.audit.seen_at, found.now)}"
    return [("Audit log", [told, *([f"ALARM: {found.audit.contradiction}"] if found.audit.contradiction else [])])]


def _facts(found: Status) -> list[tuple[str, str | list[str]]]:
    from sds.cli.text import count, moment  # noqa: PLC0415

    now, own, server, bundle = found.now, found.agent, found.server, found.bundle
    since = moment(server.since, now, "it started")
    link = f"connected since {since}" if server.connected else f"away since {since}"
    authorities = count(bundle.x509_authorities, "authority", "authorities")
    skew = server.clock_skew_seconds
    return [
        ("Agent", own.spiffe_id),
        ("Version", found.version),
        ("Running since", moment(found.started_at, now)),
        ("SVID serial", own.serial),
        ("SVID expires", moment(own.not_after, now)),
        ("SVID renewed", moment(own.renew_at, now)),
        ("Server", [f"{server.address}, {link}", *([server.problem] if server.problem else [])]),
        ("Clock skew", "unknown" if skew is None else f"{skew:+.3f}s"),
        ("Bundle", f"{bundle.trust_domain}, sequence {bundle.sequence}, {authorities}"),
        ("Socket", found.socket),
        ("Synced", "yes" if found.synced else "not yet: the server has not said what this agent may serve"),
        ("Entries", str(found.entries)),
        ("Certificates", str(found.svids)),
        ("Streams", str(found.streams)),
        ("Secrets", _secrets(found)),
        *_audit(found),
        ("First expiry", f"{moment(found.first_expiry, now)}, if nothing renews from now"),
    ]


def _print(found: Explained) -> None:
    from sds.cli.output import print_facts, print_table, say  # noqa: PLC0415
    from sds.cli.text import count  # noqa: PLC0415

    process = found.process
    streams = count(found.streams, "stream")
    print_facts(
        [
            ("Process", f"pid {process.pid}, uid {process.uid}, gid {process.gid}"),
            ("Connected", f"yes, {streams}" if found.connected else "no"),
            ("Selectors", list(found.selectors)),
        ]
    )
    say("")
    if found.matching:
        headings = ("MATCHING ENTRY", "REVISION", "SPIFFE ID", "SERIAL", "EXPIRES", "RENEWED", "PROBLEM")
        print_table(headings, [_row(each) for each in found.matching], "")
    elif found.synced:
        say("No entry of this agent matches: the process gets nothing.")
    else:
        say("The agent has not heard from its server yet which entries it has.")
    if found.near_misses:
        say("")
        rows = [(each.entry_id, each.spiffe_id, " ".join(each.missing)) for each in found.near_misses]
        print_table(("NEAR MISS", "SPIFFE ID", "THE PROCESS LACKS"), rows, "")


def _row(match: Match) -> tuple[str, ...]:
    from sds.cli.text import moment  # noqa: PLC0415
    from sds.clock import SystemClock  # noqa: PLC0415

    now = SystemClock().now()
    return (
        match.entry_id,
        str(match.entry_revision),
        match.spiffe_id,
        match.serial or "-",
        moment(match.not_after, now),
        moment(match.renew_at, now),
        match.problem or "-",
    )
