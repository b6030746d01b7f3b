"""sds agent: run one, look after all of them, and ask the one on this node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from sds.cli import agent_local, agent_run
from sds.cli.admin import Admin, with_admin
from sds.cli.fleet import exports, options
from sds.cli.options import DryRun, Format, Output, Yes

if TYPE_CHECKING:
    from sds.client.agents import Agent, AgentGone

app = typer.Typer(no_args_is_help=True, help="Agents: run one, look after all, ask the one on this node.")
app.command(name="run")(agent_run.run)
app.command(name="export")(exports.export)


AgentId = Annotated[str, typer.Argument(metavar="ID", help="The agent's SPIFFE ID.", show_default=False)]


@app.command(name="list")
@with_admin
def list_agents(
    admin: Admin,
    banned: Annotated[bool | None, typer.Option("--banned/--not-banned", help="Only those.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", help="At most so many.", min=1, metavar="N")] = None,
    output: Output = Format.TABLE,
) -> None:
    """List the agents that have proved themselves."""
    from sds.cli.output import show_list  # noqa: PLC0415  # keeps `sds --help` quick

    with admin.client() as client:
        found = list(client.agents.list(banned=banned, limit=limit))
    empty = "There are no agents; `sds token create` makes a join token for one."
    show_list(output, "agents", found, _HEADINGS, _row, empty)


_HEADINGS = ("SPIFFE ID", "STATE", "ATTESTED BY", "SVID EXPIRES", "LAST SEEN", "ENTRIES", "STREAMS")


def _row(agent: Agent) -> tuple[str, ...]:
    from sds.cli.text import moment  # noqa: PLC0415
    from sds.clock import SystemClock  # noqa: PLC0415

    now = SystemClock().now()
    return (
        agent.spiffe_id,
        _state(agent),
        agent.attestation_type,
        moment(agent.not_after, now),
        moment(agent.last_seen, now, "never"),
        str(agent.entries),
        str(agent.streams),
    )


@app.command()
@with_admin
def show(
    agent_id: AgentId,
    admin: Admin,
    output: Output = Format.TABLE,
) -> None:
    """Show one agent."""
    with admin.client() as client:
        _show(client.agents.get(agent_id), output)


@app.command()
@with_admin
def ban(
    agent_id: AgentId,
    admin: Admin,
    reason: Annotated[str, typer.Option("--reason", help="Kept with the agent and in the audit log.")] = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    output: Output = Format.TABLE,
) -> None:
    """Cut an agent off now, and refuse it until it is deleted.

    What its workloads hold stays valid until it expires; it gets nothing new.
    """
    from sds.cli.output import confirm  # noqa: PLC0415

    if not dry_run:
        confirm(f"Ban {agent_id}? None of its workloads gets a new certificate.", yes=yes)
    with admin.client() as client:
        agent = client.agents.ban(agent_id, reason, dry_run=dry_run)
    if not _only_said("ban", agent, output):
        _show(agent, output)


@app.command()
@with_admin
def delete(
    agent_id: AgentId,
    admin: Admin,
    dry_run: DryRun = False,
    yes: Yes = False,
    output: Output = Format.TABLE,
) -> None:
    """Forget an agent, ban included: it must attest anew, with a new join token. Its entries stay."""
    from sds.cli.output import confirm, print_json, say  # noqa: PLC0415
    from sds.cli.text import count  # noqa: PLC0415

    if not dry_run:
        confirm(f"Delete {agent_id}? It must attest anew.", yes=yes)
    with admin.client() as client:
        agent = client.agents.delete(agent_id, dry_run=dry_run)
    if _only_said("delete", agent, output):
        return
    if output is Format.JSON:
        print_json(agent.document)
        return
    say(f"Deleted agent {agent.spiffe_id}. Its SVID is refused from now on.")
    if agent.entries:
        say(f"{count(agent.entries, 'entry', 'entries')} still name it as their parent; `sds entry list` shows them.")


@app.command()
@with_admin
@options.with_streams
def streams(
    admin: Admin,
    chosen: dict[str, Any],
    limit: Annotated[int | None, typer.Option("--limit", help="At most so many.", min=1, metavar="N")] = None,
    output: Output = Format.TABLE,
) -> None:
    """Show what every sidecar was sent, and has accepted or refused. The socket may be the server's or an agent's.

    An agent shows all of its streams, whatever is asked for.
    """
    from sds.cli import streams_table  # noqa: PLC0415
    from sds.cli.output import print_json  # noqa: PLC0415

    with admin.client(program="sds server run` or `sds agent run") as client:
        found = list(client.streams.list(limit=limit, **chosen))
    if output is Format.JSON:
        print_json({"streams": [each.document for each in found]})
    else:
        streams_table.print_streams(found)


app.command()(agent_local.status)
app.command()(agent_local.explain)


def _state(agent: Agent) -> str:
    return "banned" if agent.banned else "connected" if agent.connected else "away"


def _only_said(verb: str, agent: AgentGone, output: Format) -> bool:
    """Whether it was a dry run, which is told here to people."""
    from sds.cli.revocation.display import print_dry_run  # noqa: PLC0415
    from sds.clock import SystemClock  # noqa: PLC0415

    if agent.blast_radius is None or output is Format.JSON:
        return False
    print_dry_run(f"{verb} agent {agent.spiffe_id}", agent.blast_radius, SystemClock().now())
    return True


def _show(agent: Agent, output: Format) -> None:
    from sds.cli.output import show as show_thing  # noqa: PLC0415
    from sds.cli.text import moment  # noqa: PLC0415
    from sds.clock import SystemClock  # noqa: PLC0415

    now = SystemClock().now()
    banned = [("Banned", moment(agent.banned_at, now)), ("Reason", agent.banned_reason)] if agent.banned else []
    show_thing(
        output,
        agent,
        [
            ("SPIFFE ID", agent.spiffe_id),
            ("State", _state(agent)),
            *banned,
            ("Attested by", agent.attestation_type),
            ("Selectors", list(agent.selectors)),
            ("Serial", agent.serial),
            ("SVID expires", moment(agent.not_after, now)),
            ("Attested", moment(agent.attested_at, now)),
            ("Renewed", moment(agent.renewed_at, now, "never")),
            ("Last seen", moment(agent.last_seen, now, "never")),
            ("Address", agent.address),
            ("Version", agent.version),
            *([("Downstream", "a server below this one: may get signing certificates")] if agent.downstream else []),
            ("Entries", str(agent.entries)),
            ("Streams", str(agent.streams)),
        ],
    )
