"""sds config: is a configuration right, and what does it come to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sds.cli.errors import CliError, ExitCode
from sds.cli.options import Format, Output

if TYPE_CHECKING:
    from sds.config import AgentConfig, ServerConfig

app = typer.Typer(no_args_is_help=True, help="Check and show configuration.")

ServerFile = Annotated[
    Path | None,
    typer.Option("--server", "--config", help="A server's file. Default: $SDS_SERVER_CONFIG, if any.", metavar="FILE"),
]
AgentFile = Annotated[
    Path | None,
    typer.Option("--agent", help="An agent's file. Default: $SDS_AGENT_CONFIG, if any.", metavar="FILE"),
]


@app.command()
def check(server: ServerFile = None, agent: AgentFile = None, output: Output = Format.TABLE) -> None:
    """Check files and environment (SDS_SERVER_..., SDS_AGENT_...) as `run` would, and tell every problem.

    Without a file, whichever of the two the environment configures; a server if neither.
    """
    from sds.cli.output import print_json, say  # noqa: PLC0415  # keeps `sds --help` quick

    checked = [kind for kind, _ in _load(server, agent)]
    if output is Format.JSON:
        print_json({"checked": checked, "problems": []})
    else:
        say(f"The configuration of the {' and of the '.join(checked)} is right.")


@app.command()
def show(server: ServerFile = None, agent: AgentFile = None, output: Output = Format.TABLE) -> None:
    """Show every key as it would be in force, defaults included; secrets are masked."""
    from sds.cli.output import print_json, print_table  # noqa: PLC0415
    from sds.config import describe  # noqa: PLC0415

    loaded = [(kind, describe(config)) for kind, config in _load(server, agent)]
    if output is Format.JSON:
        print_json(dict(loaded))
        return
    rows = [
        (kind, key, "-" if value is None else str(value).lower() if isinstance(value, bool) else str(value))
        for kind, values in loaded
        for key, value in values.items()
    ]
    print_table(("OF", "KEY", "VALUE"), rows, "")


def _load(server: Path | None, agent: Path | None) -> list[tuple[str, ServerConfig | AgentConfig]]:
    """What was asked for. Raises CliError with the problems of all of it."""
    from sds.cli.running import load  # noqa: PLC0415
    from sds.config import AGENT_PREFIX, SERVER_PREFIX, load_agent_config, load_server_config  # noqa: PLC0415

    named = server is not None or agent is not None
    with_agent = agent is not None or (not named and _set(AGENT_PREFIX))
    with_server = server is not None or (not named and (_set(SERVER_PREFIX) or not with_agent))
    loaded: list[tuple[str, ServerConfig | AgentConfig]] = []
    problems: list[str] = []
    if with_server:
        try:
            loaded.append(("server", load(load_server_config, SERVER_PREFIX, server, {})))
        except CliError as error:
            problems += [f"server: {each}" for each in error.problems]
    if with_agent:
        try:
            loaded.append(("agent", load(load_agent_config, AGENT_PREFIX, agent, {})))
        except CliError as error:
            problems += [f"agent: {each}" for each in error.problems]
    if problems:
        many = "is 1 problem" if len(problems) == 1 else f"are {len(problems)} problems"
        raise CliError(
            ExitCode.CONFIG,
            f"there {many} in the configuration",
            problems=problems,
            advice="docs/config.md lists every key.",
        )
    return loaded


def _set(prefix: str) -> bool:
    return any(name.startswith(prefix) for name in os.environ)
