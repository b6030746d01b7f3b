"""sds agent run: the process on each node that serves its workloads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sds.cli.options import Config

if TYPE_CHECKING:
    from sds.config import AgentConfig


# What the flags of `sds agent run` take, one name a flag.
Server = Annotated[str | None, typer.Option("--server", help="The server's --listen address.", metavar="HOST:PORT")]
AttestServer = Annotated[
    str | None,
    typer.Option(
        "--attest-server", help="The server's --attest-listen address. Default: the next port.", metavar="HOST:PORT"
    ),
]
TrustBundle = Annotated[
    Path | None,
    typer.Option("--trust-bundle", help="What `sds bundle show` printed; needed once.", metavar="FILE"),
]
JoinTokenFile = Annotated[
    Path | None,
    typer.Option("--join-token-file", help="A token of `sds token create`; needed once.", metavar="FILE"),
]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder for its own SVID and key; made 0700.", metavar="DIR")
]
Socket = Annotated[
    Path | None, typer.Option("--socket", help="The Unix socket that sidecars connect to.", metavar="PATH")
]
AdminSocket = Annotated[
    Path | None,
    typer.Option("--admin-socket", help="Its own admin socket (0600). Default: in the data folder.", metavar="PATH"),
]
ApiSocket = Annotated[
    Path | None,
    typer.Option("--api-socket", help="The Unix socket by which applications read secrets over HTTP.", metavar="PATH"),
]
LogLevel = Annotated[str | None, typer.Option("--log-level", help="debug, info, warning or error.", metavar="LEVEL")]


def run(
    config: Config = None,
    server: Server = None,
    attest_server: AttestServer = None,
    trust_bundle: TrustBundle = None,
    join_token_file: JoinTokenFile = None,
    data_dir: DataDir = None,
    socket: Socket = None,
    admin_socket: AdminSocket = None,
    api_socket: ApiSocket = None,
    log_level: LogLevel = None,
) -> None:
    """Run the agent until SIGTERM. Each flag is also a config key and an environment variable (SDS_AGENT_...)."""
    from sds.lifecycle import collect_no_garbage_yet  # noqa: PLC0415  # keeps `sds --help` quick

    collect_no_garbage_yet()

    from sds.cli.running import load  # noqa: PLC0415
    from sds.config import AGENT_PREFIX, load_agent_config  # noqa: PLC0415

    flags = {
        "server": server,
        "attest_server": attest_server,
        "trust_bundle": trust_bundle,
        "join_token_file": join_token_file,
        "data_dir": data_dir,
        "socket": socket,
        "admin_socket": admin_socket,
        "api_socket": api_socket,
        "log.level": log_level,
    }

    def read() -> AgentConfig:
        return load(load_agent_config, AGENT_PREFIX, config, flags)

    loaded = read()

    from sds.agent import process  # noqa: PLC0415

    raise typer.Exit(process.run(loaded, read))
