"""sds agent status and explain: asks the agent on this node, which answers also when the server is away."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from sds.cli.options import AGENT_SOCKET, AgentSocket, Format, Output, Verbose


def status(
    admin_socket: AgentSocket = AGENT_SOCKET,
    output: Output = Format.TABLE,
    verbose: Verbose = False,
) -> None:
    """Show how the agent on this node is: its own SVID, its server, what it holds."""
    _ask("/v1/status", {}, admin_socket, output, verbose)


def explain(
    pid: Annotated[int, typer.Option("--pid", help="A process on this node.", min=1, metavar="N")],
    admin_socket: AgentSocket = AGENT_SOCKET,
    output: Output = Format.TABLE,
    verbose: Verbose = False,
) -> None:
    """Show what a process proves, which entries match it, and what the nearest others would need."""
    _ask("/v1/explain", {"pid": pid}, admin_socket, output, verbose)


def _ask(path: str, query: dict[str, object], admin_socket: Any, output: Format, verbose: bool) -> None:
    from sds.cli.client import AdminClient  # noqa: PLC0415  # keeps `sds --help` quick
    from sds.cli.output import print_json, print_tree  # noqa: PLC0415

    with AdminClient(admin_socket, verbose=verbose, program="sds agent run") as client:
        answer = client.get(path, query)
    if output is Format.JSON:
        print_json(answer)
    else:
        print_tree(answer)
