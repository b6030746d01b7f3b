"""The command `sds`: puts the commands together, and turns errors into messages and exit codes."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer
from typer.core import TyperGroup

from sds import __version__
from sds.cli import (
    access,
    agent,
    audit,
    bundle,
    ca,
    certificate,
    config,
    db,
    demo,
    entry,
    explain,
    federation,
    grant,
    jwt,
    kek,
    notice,
    secret,
    server,
    stats,
    token,
)
from sds.cli.errors import CliError, ExitCode
from sds.cli.options import Format, Output
from sds.cli.revocation import block, revoke


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


app = typer.Typer(
    cls=_Root,
    name="sds",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # would show local variables, and so secrets
    help="Gives every workload a cryptographic identity and keeps it fresh. Exit codes and examples: docs/cli.md.",
)
app.add_typer(server.app, name="server")
app.add_typer(agent.app, name="agent")
app.add_typer(entry.app, name="entry")
app.add_typer(token.app, name="token")
app.add_typer(bundle.app, name="bundle")
app.add_typer(federation.app, name="federation")
app.add_typer(ca.app, name="ca")
app.add_typer(jwt.app, name="jwt")
app.add_typer(secret.app, name="secret")
app.add_typer(grant.app, name="grant")
app.add_typer(notice.app, name="notice")
app.add_typer(audit.app, name="audit")
app.add_typer(access.app, name="access")
app.add_typer(kek.app, name="kek")
app.add_typer(config.app, name="config")
app.add_typer(db.app, name="db")
app.command()(revoke.revoke)
app.add_typer(block.app, name="block")
app.add_typer(certificate.app, name="certificate")
app.command()(explain.explain)
app.command()(stats.stats)
app.command()(demo.demo)


@app.command()
def version(output: Output = Format.TABLE) -> None:
    """Show the version."""
    _print_version(output)


def _version_and_exit(wanted: bool) -> None:
    if wanted:
        _print_version(Format.TABLE)
        raise typer.Exit


@app.callback()
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
    app()


if __name__ == "__main__":
    main()
