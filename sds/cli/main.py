"""The command `sds`: puts the commands together, and turns errors into messages and exit codes."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Annotated

import typer
from typer.core import TyperGroup

from sds import __version__
from sds.cli.errors import CliError, ExitCode
from sds.cli.options import Format, Output


class _Root(TyperGroup):
    """Every error of ours becomes a message on standard error and its exit code; none becomes a traceback."""

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]  # typer's own class, by another name
        try:
            return super().invoke(ctx)
        except CliError as error:
            from sds.cli.output import print_error  # noqa: PLC0415  # only when it is needed

            print_error(error, ctx.obj if isinstance(ctx.obj, Format) else Format.TABLE)
            raise typer.Exit(error.code) from None
        except BrokenPipeError:
            _let_go_of_stdout()
            raise typer.Exit(ExitCode.BROKEN_PIPE) from None
        except KeyboardInterrupt:
            raise typer.Exit(ExitCode.INTERRUPTED) from None


_GROUPS = {
    "server": "sds.cli.server",
    "agent": "sds.cli.agent",
    "stream": "sds.cli.fleet.exports",
    "entry": "sds.cli.entry",
    "token": "sds.cli.token",
    "bundle": "sds.cli.bundle",
    "federation": "sds.cli.federation",
    "ca": "sds.cli.ca",
    "jwt": "sds.cli.jwt",
    "secret": "sds.cli.secret",
    "grant": "sds.cli.grant",
    "notice": "sds.cli.notice",
    "audit": "sds.cli.audit",
    "access": "sds.cli.access",
    "kek": "sds.cli.kek",
    "config": "sds.cli.config",
    "db": "sds.cli.db",
    "block": "sds.cli.revocation.block",
    "certificate": "sds.cli.certificate",
}
"""Where the commands of each noun are."""

_COMMANDS = {
    "revoke": "sds.cli.revocation.revoke",
    "explain": "sds.cli.explain",
    "stats": "sds.cli.stats",
    "demo": "sds.cli.demo",
}
"""Where the commands are that stand alone: functions by their own name."""


def program(first: str | None = None) -> typer.Typer:
    """The command line. If `first`, the first argument, names a command or a noun: only what belongs to that.

    Loading all of them and reading all of their options takes longer than most commands do.
    """
    alone = first in _GROUPS or first in _COMMANDS
    made = typer.Typer(
        cls=_Root,
        name="sds",
        no_args_is_help=True,
        pretty_exceptions_enable=False,  # would show local variables, and so secrets
        help="Gives every workload a cryptographic identity and keeps it fresh. Exit codes and examples: docs/cli.md.",
    )
    made.callback()(_options)
    for name, module in _GROUPS.items():
        if name == first or not alone:
            made.add_typer(import_module(module).app, name=name)
    for name, module in _COMMANDS.items():
        if name == first or not alone:
            made.command()(getattr(import_module(module), name))
    if not alone:
        made.command()(version)
    return made


def version(output: Output = Format.TABLE) -> None:
    """Show the version."""
    _print_version(output)


def _version_and_exit(wanted: bool) -> None:
    if wanted:
        _print_version(Format.TABLE)
        raise typer.Exit


def _options(
    show_version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_version_and_exit),
    ] = False,
) -> None:
    _ = show_version  # its callback has done it


def _print_version(output: Format) -> None:
    from sds.cli.output import print_json, say  # noqa: PLC0415

    if output is Format.JSON:
        print_json({"version": __version__, "python": sys.version.split()[0]})
    else:
        say(f"sds {__version__}")


def _let_go_of_stdout() -> None:
    """Python flushes standard output once more at its end, and would complain about the broken pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _standard_streams() -> None:
    """Open to nothing whichever of the three were closed at the start.

    Else the next socket gets such a number: libuv ends the process over that, and log lines go to whoever is connected.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number: this one
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115 - None until now


def main() -> None:
    """The console script."""
    _standard_streams()
    # C-core reads this when grpc is imported, which no command has done yet. Else it writes lines of its own kind to
    # standard error, one for each handshake that fails; agents say why theirs did.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")  # what the locale cannot spell must not end the command
    program(sys.argv[1] if len(sys.argv) > 1 else None)()


if __name__ == "__main__":
    main()
