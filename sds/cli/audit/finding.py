"""sds audit search, show, export: events by what they say, one event with its proof, and the log as a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sds.cli.admin import Admin, with_admin
from sds.cli.audit.filters import Chosen, with_chosen
from sds.cli.errors import CliError, ExitCode
from sds.cli.options import ExportAs, ExportFile, ExportFormat, Format, Output

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sds.client import Client
    from sds.client.audit import Event, EventDetail, Proof

_PAGE = 500
HEADINGS = ("SEQUENCE", "TIME", "OUTCOME", "ACTION", "TARGET", "BY", "REASON")
EMPTY = "No event matches."

Sequence = Annotated[int, typer.Argument(metavar="SEQUENCE", min=1, help="As `search` shows it.", show_default=False)]


@with_admin
@with_chosen
def search(
    admin: Admin,
    chosen: Chosen,
    limit: Annotated[
        int, typer.Option("--limit", help="At most so many; `export` has all.", min=1, max=100_000, metavar="N")
    ] = 100,
    output: Output = Format.TABLE,
) -> None:
    """Find events by what they say, the newest first."""
    from sds.cli.output import note, show_list  # noqa: PLC0415  # keeps `sds --help` quick
    from sds.clock import SystemClock  # noqa: PLC0415

    wanted = chosen(SystemClock().now())
    with admin.client() as client:
        found = _newest(client, wanted, limit)
    show_list(output, "events", found, HEADINGS, _row, EMPTY)
    if len(found) == limit and output is Format.TABLE:
        note(f"These are the newest {limit}; --limit gives more, and `sds audit export` all.")


@with_admin
def show(sequence: Sequence, admin: Admin, output: Output = Format.TABLE) -> None:
    """Show one event, and verify here that it is under the log's newest checkpoint."""
    from sds.cli.audit.state import open_state  # noqa: PLC0415
    from sds.cli.output import print_json, say  # noqa: PLC0415
    from sds.client.errors import Refused  # noqa: PLC0415

    with admin.client() as client:
        event = client.audit.show(sequence)
        try:
            proof: Proof | None = client.audit.proof(sequence)
            pending = ""
        except Refused as error:
            proof, pending = None, str(error)
        keys = client.audit.keys()
    origin, problem = _judged(
        event, proof, [(key.verifier, key.endorsement) for key in keys.keys], open_state(admin).keys
    )
    if output is Format.JSON:
        body = {"event": event.document, "proof": None if proof is None else proof.document}
        print_json({**body, "verified": proof is not None and not problem, "problem": problem or pending})
    else:
        for line in _lines(event):
            say(line)
        if proof is not None and not problem:
            say(f"\nVerified here: leaf {proof.leaf} of {proof.size}, under a checkpoint signed by {origin}.")
        elif not problem:
            say(f"\nNot proved yet: {pending}.")
    if problem:
        raise CliError(ExitCode.UNPROVED, f"event {sequence} is not what was signed: {problem}")


@with_admin
@with_chosen
def export(admin: Admin, chosen: Chosen, form: ExportAs = ExportFormat.JSONL, file: ExportFile = None) -> None:
    """Write the log as it comes. JSON Lines without filters can be verified offline (`sds audit verify --export`)."""
    from sds.cli.exporting import export_lines  # noqa: PLC0415
    from sds.clock import SystemClock  # noqa: PLC0415

    wanted = chosen(SystemClock().now())
    with admin.client() as client:
        export_lines(client.audit.export(form.value, wanted), file)


def _newest(client: Client, wanted: Mapping[str, object], limit: int) -> list[Event]:
    found: list[Event] = []
    before: int | None = None
    while len(found) < limit:
        asked = min(_PAGE, limit - len(found))
        page = client.audit.tail(**wanted, before=before, limit=asked).events  # type: ignore[arg-type]
        found += reversed(page)
        if len(page) < asked:
            break
        before = page[0].sequence
    return found


def _row(event: Event) -> tuple[str, ...]:
    from sds.cli.text import exact, short  # noqa: PLC0415

    if event.unreadable:
        return (str(event.sequence), "-", event.outcome, event.action, "-", "-", short(event.reason))
    target = f"{event.target.kind}:{event.target.id}"
    who = f"{event.actor.kind}:{event.actor.id or event.actor.address}"
    return (str(event.sequence), exact(event.time), event.outcome, event.action, target, who, short(event.reason))


def _lines(event: EventDetail) -> list[str]:
    import json  # noqa: PLC0415

    from sds.cli.text import exact  # noqa: PLC0415

    if event.unreadable:
        return [
            f"Sequence    {event.sequence}",
            f"Unreadable  {event.reason}: it was altered in the database",
            f"Leaf        {'-' if event.leaf is None else event.leaf}",
            f"Leaf hash   {event.leaf_hash} (of what stands there now)",
        ]
    details = json.dumps(event.document["details"], indent=2, sort_keys=True)
    return [
        f"Sequence    {event.sequence}",
        f"Time        {exact(event.time)}",
        f"Action      {event.action} ({event.outcome})",
        f"Actor       {event.actor.kind}:{event.actor.id} {event.actor.address}".rstrip(),
        f"Target      {event.target.kind}:{event.target.id}",
        *([f"Reason      {event.reason}"] if event.reason else []),
        f"Request     {event.request_id or '-'}",
        f"Node        {event.node}",
        f"Leaf hash   {event.leaf_hash}",
        *(f"{'Details' if not place else '':<12}{line}" for place, line in enumerate(details.splitlines())),
    ]


def _shows(event: EventDetail) -> bool:
    """Whether what is shown is what the canonical bytes say."""
    import json  # noqa: PLC0415
    from datetime import datetime  # noqa: PLC0415

    names = ("id", "action", "outcome", "reason", "request_id", "node", "details", "actor", "target")
    try:
        document = json.loads(event.canonical)
        same = {name: document[name] for name in names} == {name: event.document[name] for name in names}
        return same and datetime.fromisoformat(document["time"]) == event.time
    except (KeyError, TypeError, ValueError, RecursionError):
        return False


def _judged(
    event: EventDetail, proof: Proof | None, keys: list[tuple[str, str]], trusted: list[str]
) -> tuple[str, str]:
    """The log's name, and what is wrong: the bytes against their leaf, the leaf against the signed root."""
    import base64  # noqa: PLC0415

    from sds.audit.checkpoint import chain_of_keys, parse_checkpoint  # noqa: PLC0415
    from sds.audit.merkle import leaf_hash, verify_inclusion  # noqa: PLC0415
    from sds.audit.note import InvalidNote, parse_vkey  # noqa: PLC0415

    if event.unreadable:
        return "", "what stands there is no event, so it was altered"
    if not _shows(event):
        return "", "what the server says of it is not what its bytes say"
    if proof is None:
        return "", ""
    hashed = leaf_hash(event.canonical.encode())
    try:
        start = [parse_vkey(text) for text in trusted] or [parse_vkey(keys[0][0])]
        notes = [endorsement for _, endorsement in keys if endorsement]
        believed = {key for one in start for key in chain_of_keys(one, notes)}
        checkpoint = parse_checkpoint(proof.checkpoint, believed)
        path = [base64.b64decode(step, validate=True) for step in proof.path]
    except (InvalidNote, ValueError, IndexError) as error:
        return "", str(error)
    if checkpoint.size != proof.size or not verify_inclusion(proof.leaf, proof.size, hashed, path, checkpoint.root):
        return checkpoint.origin, "the proof does not lead from its bytes to the signed root"
    return checkpoint.origin, ""
