"""Which admin API a command calls, and as whom: the options that every such command has, and the client for them.

A command takes ``admin: Admin`` and is decorated with `with_admin`, which puts the options in its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from sds.cli.errors import CliError, ExitCode
from sds.cli.option_groups import Option, option, option_group
from sds.cli.options import ADMIN_PANEL, AGENT_SOCKET, SERVER_SOCKET, AdminSocket, AgentSocket, Verbose

if TYPE_CHECKING:
    from attestation.spiffe_id import SpiffeId
    from sds.client import Call, Client, Target

SERVER = "sds server run"
AGENT = "sds agent run"


@dataclass(frozen=True, slots=True)
class Admin:
    """Where, as whom, and whether each call is named on standard error. `program`: what should be running there."""

    socket: Path
    url: str | None = None
    token_file: Path | None = None
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    server_name: str | None = None
    server_id: str | None = None
    verbose: bool = False
    program: str = SERVER

    @contextmanager
    def client(self, *, program: str = "") -> Iterator[Client]:
        """A client, whose errors are CliErrors outside of the block and ClientErrors in it."""
        from sds.cli.refusals import cli_error  # noqa: PLC0415
        from sds.client import Client, ClientError  # noqa: PLC0415  # keeps `sds --help` quick

        try:
            with Client(self._target(), on_call=_name if self.verbose else None) as client:
                yield client
        except ClientError as error:
            raise cli_error(error, program or self.program, remote=self.url is not None) from None

    def _target(self) -> Target:
        from sds.client import ClientCertificate, Https, UnixSocket  # noqa: PLC0415
        from sds.client import TokenFile as Token  # noqa: PLC0415

        if self.url is None:
            return UnixSocket(self.socket)
        if (self.certificate_file is None) != (self.key_file is None):
            raise CliError(ExitCode.USAGE, "--admin-certificate-file and --admin-key-file belong together")
        pair = (
            None
            if self.certificate_file is None or self.key_file is None
            else ClientCertificate(self.certificate_file, self.key_file)
        )
        token = None if self.token_file is None else Token(self.token_file)
        return Https(self.url, self.ca_file, token, pair, self.server_name, _spiffe_id(self.server_id))


def _spiffe_id(text: str | None) -> SpiffeId | None:
    from attestation.errors import InvalidSpiffeId  # noqa: PLC0415
    from attestation.spiffe_id import SpiffeId  # noqa: PLC0415

    try:
        return None if text is None else SpiffeId.parse(text)
    except InvalidSpiffeId as error:
        raise CliError(ExitCode.USAGE, f"--admin-server-id: {error}") from None


def _name(call: Call) -> None:
    from sds.cli.output import note  # noqa: PLC0415

    note(f"{call.method} {call.path}: {call.status} in {call.seconds * 1000:.1f} ms ({call.request_id})")


def _server(
    context: typer.Context,
    admin_socket: Path,
    admin_url: str | None,
    admin_token_file: Path | None,
    admin_ca_file: Path | None,
    admin_certificate_file: Path | None,
    admin_key_file: Path | None,
    admin_server_name: str | None,
    admin_server_id: str | None,
    verbose: bool,
) -> Admin:
    """A socket on the command line wins over a URL in the environment. Raises typer.BadParameter."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    typed = {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}
    if "admin_socket" in typed and "admin_url" in typed:
        raise typer.BadParameter("give --admin-socket or --admin-url, not both")
    if admin_url is None or "admin_socket" in typed:
        stray = sorted(name for name in typed if name.startswith("admin_") and name != "admin_socket")
        if stray:
            raise typer.BadParameter(f"--{stray[0].replace('_', '-')} needs --admin-url")
        return Admin(admin_socket, verbose=verbose)
    return Admin(
        admin_socket,
        admin_url,
        admin_token_file,
        admin_ca_file,
        admin_certificate_file,
        admin_key_file,
        admin_server_name,
        admin_server_id,
        verbose,
    )


def _agent(_: typer.Context, admin_socket: Path, verbose: bool) -> Admin:
    return Admin(admin_socket, verbose=verbose, program=AGENT)


def _reach(kind: Any, flag: str, told: str, metavar: str) -> Option:
    """Every one has an environment variable of its name."""
    variable = f"SDS_{flag.removeprefix('--').replace('-', '_').upper()}"
    return option(kind, flag, help=told, metavar=metavar, envvar=variable, rich_help_panel=ADMIN_PANEL)


with_admin = option_group(
    "admin",
    {
        "admin_socket": (AdminSocket, SERVER_SOCKET),
        "admin_url": _reach(str | None, "--admin-url", "The admin API over TLS instead.", "https://..."),
        "admin_token_file": _reach(
            Path | None, "--admin-token-file", "With --admin-url: an API token, or one of OIDC.", "FILE"
        ),
        "admin_ca_file": _reach(
            Path | None,
            "--admin-ca-file",
            "With --admin-url: what its certificate chains to, PEM; else what this system trusts.",
            "FILE",
        ),
        "admin_certificate_file": _reach(
            Path | None,
            "--admin-certificate-file",
            "With --admin-url: prove yourself by this X.509-SVID, PEM.",
            "FILE",
        ),
        "admin_key_file": _reach(Path | None, "--admin-key-file", "The key of that certificate, PEM.", "FILE"),
        "admin_server_name": _reach(
            str | None,
            "--admin-server-name",
            "With --admin-url: the DNS name in its certificate, if it is another one.",
            "NAME",
        ),
        "admin_server_id": _reach(
            str | None,
            "--admin-server-id",
            "With --admin-url: the SPIFFE ID in its certificate, instead of a name. Needs --admin-ca-file.",
            "ID",
        ),
        "verbose": (Verbose, False),
    },
    _server,
)
"""The command with the options of `Admin` where its parameter ``admin`` stands."""

with_agent = option_group("admin", {"admin_socket": (AgentSocket, AGENT_SOCKET), "verbose": (Verbose, False)}, _agent)
"""Likewise for what only the agent on this node answers, at its socket."""
