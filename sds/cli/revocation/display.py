"""Blast radii and blocks, for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from sds.cli.output import print_facts, print_table, say
from sds.cli.text import count, moment
from sds.client.revocations import BlastRadius, Block, Lifted, LiveStream, Revocation, Revoked
from sds.clock import SystemClock

HEADINGS = ("ID", "KIND", "VALUE", "REASON", "INCIDENT", "REVOKED", "STATE")

SHOWN = 20
"""Rows of one kind in a table; JSON output has up to a hundred, and the numbers count all."""

_TITLES = {
    "serial": "certificate",
    "spiffe_id": "SPIFFE ID",
    "key": "key",
    "entry": "entry",
    "agent": "agent",
    "authority": "authority",
}


def print_revocation(done: Revocation, now: datetime) -> None:
    """What it hits, or has hit."""
    radius = done.blast_radius
    verb = "Would revoke" if done.dry_run else "Revoked"
    print_facts([(verb, f"{_TITLES.get(done.kind, done.kind)} {done.value}"), *_facts(done, now)])
    _print_certificates(radius, now)
    _print_streams("These live streams hold one of them:", radius.streams, radius.streams_total)
    _print_unreached(radius)
    if radius.notes:
        say("")
        for note in radius.notes:
            say(f"Note: {note}.")
    if done.problem:
        say(f"It stands, but the CRLs do not say it yet: {done.problem}. The server goes on trying.")
    if done.dry_run:
        say("")
        say("This was a dry run: nothing was changed. Repeat it with --yes to revoke.")


def print_dry_run(what: str, radius: BlastRadius, now: datetime) -> None:
    """What would go with something that is taken away without being revoked."""
    print_facts([("Would", what), *_radius_facts(radius, now)])
    _print_certificates(radius, now)
    _print_streams("These live streams hold one of them:", radius.streams, radius.streams_total)
    say("")
    say("This was a dry run: nothing was changed.")


def _facts(done: Revocation, now: datetime) -> Iterator[tuple[str, str | Sequence[str]]]:
    radius = done.blast_radius
    if done.block is not None:
        yield "Block", done.block.id
    yield "Reason", done.reason
    if done.incident:
        yield "Incident", done.incident
    yield from _radius_facts(radius, now)
    yield "Out of reach", count(radius.unreached_total, "live stream")


def _radius_facts(radius: BlastRadius, now: datetime) -> Iterator[tuple[str, str | Sequence[str]]]:
    new = "" if radius.fresh == radius.certificates_total else f", {radius.fresh} of them newly"
    last = "" if radius.last_expiry is None else f"; the last expires {moment(radius.last_expiry, now)}"
    yield "Certificates", f"{radius.certificates_total}{new}{last}"
    yield "Identities", _some(radius.identities, radius.identities_total)
    yield "Entries", _some(radius.entries, radius.entries_total)
    yield "Owners", list(radius.owners)
    yield "Agents", _some(radius.agents, radius.agents_total)
    yield "Live streams", str(radius.streams_total)


def _some(names: Sequence[str], total: int) -> list[str]:
    shown = list(names[:SHOWN])
    return shown if total <= len(shown) else [*shown, f"and {total - len(shown)} more"]


def _print_certificates(radius: BlastRadius, now: datetime) -> None:
    if not radius.certificates:
        return
    say("")
    rows = [
        (one.serial, one.spiffe_id, one.profile, moment(one.not_after, now), "before" if one.revoked else "-")
        for one in radius.certificates[:SHOWN]
    ]
    print_table(("SERIAL", "SPIFFE ID", "PROFILE", "EXPIRES", "REVOKED"), rows, "")
    _more(radius.certificates_total, len(rows))


def _print_streams(title: str, streams: Sequence[LiveStream], total: int) -> None:
    if not streams:
        return
    say("")
    say(title)
    rows = [
        (one.agent_id, str(one.pid), one.path or "-", one.protocol, ", ".join(one.spiffe_ids))
        for one in streams[:SHOWN]
    ]
    print_table(("AGENT", "PID", "PROCESS", "PROTOCOL", "SPIFFE IDS"), rows, "")
    _more(total, len(rows))


def _print_unreached(radius: BlastRadius) -> None:
    if not radius.unreached:
        return
    say("")
    say("These live streams go on accepting what is revoked, for a CRL does not reach them:")
    rows = [
        (one.stream.agent_id, str(one.stream.pid), one.stream.path or "-", one.why) for one in radius.unreached[:SHOWN]
    ]
    print_table(("AGENT", "PID", "PROCESS", "WHY"), rows, "")
    _more(radius.unreached_total, len(rows))


def _more(total: int, shown: int) -> None:
    if total > shown:
        say(f"and {total - shown} more")


def block_row(one: Block) -> tuple[str, ...]:
    now = SystemClock().now()
    made = moment(one.created_at, now)
    return one.id, one.kind, one.value, one.reason, one.incident or "-", made, _state(one, now)


def _state(block: Block, now: datetime) -> str:
    return "stands" if block.lifted_at is None else f"lifted {moment(block.lifted_at, now)}"


def block_facts(block: Block, now: datetime) -> list[tuple[str, str | Sequence[str]]]:
    lifted = [] if block.lifted_at is None else [("Lifted", moment(block.lifted_at, now)), ("By", block.lifted_by)]
    return [
        ("ID", block.id),
        ("Blocks", f"{_TITLES.get(block.kind, block.kind)} {block.value}"),
        ("Reason", block.reason),
        ("Incident", block.incident),
        ("Revoked", moment(block.created_at, now)),
        ("By", block.created_by),
        *lifted,
    ]


def print_revoked(revoked: Sequence[Revoked], now: datetime) -> None:
    rows = [(one.serial, one.reason, moment(one.revoked_at, now), moment(one.not_after, now)) for one in revoked]
    print_table(("SERIAL", "REASON", "REVOKED", "EXPIRES"), rows, "No certificate is revoked by it.")


def print_lifted(lifted: Lifted) -> None:
    block = lifted.block
    say(f"Lifted block {block.id}: {_TITLES.get(block.kind, block.kind)} {block.value} may be issued to again.")
    if lifted.released:
        say("Its certificates were only held: they are good again.")
    elif block.kind != "key":
        say("Certificates that were revoked stay revoked until they expire; new ones are issued.")
    if block.kind == "agent":
        say("The agent attests anew, with a new join token (`sds token create`).")
    if lifted.problem:
        say(f"The CRLs do not say it yet: {lifted.problem}. The server goes on trying.")
