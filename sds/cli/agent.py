"""sds agent: run one, look after all of them, and ask the one on this node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from sds.cli import agent_local, agent_run
from sds.cli.options import SERVER_SOCKET, AdminSocket, Format, Output, Verbose, Yes

if TYPE_CHECKING:
    from sds.cli.models import Agent

app = typer.Typer(no_args_is_help=True, help="Agents: run one, look after all, ask the one on this node.")
app.command(name="run")(agent_run.run)

AgentId = Annotated[str, typer.Argument(metavar="ID", help="The agent's SPIFFE ID.", show_default=False)]


@app.command(name="list")
def list_agents(
    admin_socket: AdminSocket = SERVER_SOCKET,
    banned: Annotated[bool | None, typer.Option("--banned/--not-banned", help="Only those.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", help="At most so many.", min=1, metavar="N")] = None,
    output: Output = Format.TABLE,
    verbose: Verbose = False,
) -> None:
    """List the agents that have proved themselves."""
    from sds.cli import models  # noqa: PLC0415  # keeps `sds --help` quick
    from sds.cli.client import AdminClient  # noqa: PLC0415
    from sds.cli.output import print_json, print_table  # noqa: PLC0415
    from sds.cli.text import moment  # noqa: PLC0415
    from sds.clock import SystemClock  # noqa: PLC0415

    query = {"banned": None if banned is None else str(banned).lower()}
    with AdminClient(admin_socket, verbose=verbose) as client:
        found = list(client.pages("/v1/agents", "agents", query, limit=limit))
    agents = [models.read(models.Agent, each) for each in found]
    if output is Format.JSON:
        print_json({"agents": found})
        return
    now = SystemClock().now()
    rows = [
        (
            a.spiffe_id,
            _state(a),
            a.attestation_type,
            moment(a.not_after, now),
            moment(a.last_seen, now, "never"),
            str(a.entries),
            str(a.streams),
        )
        for a in agents
    ]
    headings = ("SPIFFE ID", "STATE", "ATTESTED BY", "SVID EXPIRES", "LAST SEEN", "ENTRIES", "STREAMS")
    print_table(headings, rows, "There are no agents; `sds token create` makes a join token for one.")


@app.command()
def show(
    agent_id: AgentId,
    admin_socket: AdminSocket = SERVER_SOCKET,
    output: Output = Format.TABLE,
    verbose: Verbose = False,
) -> None:
    """Show one agent."""
    from sds.cli.client import AdminClient, part  # noqa: PLC0415

    with AdminClient(admin_socket, verbose=verbose) as client:
        _show(client.get(f"/v1/agents/{part(agent_id)}"), output)


@app.command()
def ban(
    agent_id: AgentId,
    admin_socket: AdminSocket = SERVER_SOCKET,
    reason: Annotated[str, typer.Option("--reason", help="Kept with the agent and in the audit log.")] = "",
    yes: Yes = False,
    output: Output = Format.TABLE,
    verbose: Verbose = False,
) -> None:
    """Cut an agent off now, and refuse it until it is deleted.

    What its workloads hold stays valid until it expires; it gets nothing new.
    """
    from sds.cli.client import AdminClient, part  # noqa: PLC0415
    from sds.cli.output import confirm  # noqa: PLC0415

    confirm(f"Ban {agent_id}? None of its workloads gets a new certificate.", yes=yes)
    with AdminClient(admin_socket, verbose=verbose) as client:
        _show(client.post(f"/v1/agents/{part(agent_id)}/ban", {"reason": reason}), output)


@app.command()
def delete(
    agent_id: AgentId,
    admin_socket: AdminSocket = SERVER_SOCKET,
    yes: Yes = False,
    output: Output = Format.TABLE,
    verbose: Verbose = False,
) -> None:
    """Forget an agent, ban included: it must attest anew, with a new join token. Its entries stay."""
    from sds.cli import models  # noqa: PLC0415
    from sds.cli.client import AdminClient, part  # noqa: PLC0415
    from sds.cli.output import confirm, print_json, say  # noqa: PLC0415
    from sds.cli.text import count  # noqa: PLC0415

    confirm(f"Delete {agent_id}? It must attest anew.", yes=yes)
    with AdminClient(admin_socket, verbose=verbose) as client:
        answer = client.delete(f"/v1/agents/{part(agent_id)}")
    agent = models.read(models.Agent, answer)
    if output is Format.JSON:
        print_json(answer)
        return
    say(f"Deleted agent {agent.spiffe_id}. Its SVID is refused from now on.")
    if agent.entries:
        say(f"{count(agent.entries, 'entry', 'entries')} still name it as their parent; `sds entry list` shows them.")


@app.command()
def streams(
    admin_socket: AdminSocket = SERVER_SOCKET,
    agent_id: Annotated[str | None, typer.Option("--agent-id", help="Only of this agent.", metavar="ID")] = None,
    spiffe_id: Annotated[str | None, typer.Option("--spiffe-id", help="Only with this identity.", metavar="ID")] = None,
    output: Output = Format.TABLE,
    verbose: Verbose = False,
) -> None:
    """Show what every sidecar was sent, and has accepted or refused. The socket may be the server's or an agent's."""
    from sds.cli import models, streams_table  # noqa: PLC0415
    from sds.cli.client import AdminClient  # noqa: PLC0415
    from sds.cli.output import print_json  # noqa: PLC0415

    query = {"agent_id": agent_id, "spiffe_id": spiffe_id}
    with AdminClient(admin_socket, verbose=verbose, program="sds server run` or `sds agent run") as client:
        found = list(client.pages("/v1/streams", "streams", query))
    rows = [models.read(models.Stream, each) for each in found]
    if output is Format.JSON:
        print_json({"streams": found})
    else:
        streams_table.print_streams(rows)


app.command()(agent_local.status)
app.command()(agent_local.explain)


def _state(agent: Agent) -> str:
    return "banned" if agent.banned else "connected" if agent.connected else "away"


def _show(answer: Any, output: Format) -> None:
    from sds.cli import models  # noqa: PLC0415
    from sds.cli.output import show as show_thing  # noqa: PLC0415
    from sds.cli.text import moment  # noqa: PLC0415
    from sds.clock import SystemClock  # noqa: PLC0415

    agent = models.read(models.Agent, answer)
    now = SystemClock().now()
    banned = [("Banned", moment(agent.banned_at, now)), ("Reason", agent.banned_reason)] if agent.banned else []
    show_thing(
        output,
        answer,
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
