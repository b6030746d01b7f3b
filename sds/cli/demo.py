"""sds demo: all of it in one go, on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from sds.cli import parameters


def demo(
    rotations: Annotated[
        int | None, typer.Option("--rotations", help="End after so many. Default: Ctrl-C.", min=1, metavar="N")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="No table; one JSON object at the end.")] = False,
    ttl: Annotated[
        str, typer.Option("--ttl", callback=parameters.duration, help="Lifetime of the certificates.")
    ] = "10s",
    vault: Annotated[
        bool, typer.Option("--vault", help="With a real Vault (OpenBao), where a secret changes that both Envoys use.")
    ] = False,
) -> None:
    """Two real Envoys talk mTLS while their certificates rotate; exit code 1 if one request fails."""
    from sds.cli.errors import CliError, ExitCode  # noqa: PLC0415  # keeps `sds --help` quick
    from sds.durations import parse_duration  # noqa: PLC0415

    if as_json and rotations is None:
        raise typer.BadParameter("--json needs --rotations N, or it would never end")
    try:
        from sds.demo.run import DemoOptions, main  # noqa: PLC0415
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        raise CliError(
            ExitCode.FAILED,
            f"the demo needs {name}, which is not installed",
            advice="Run `make demo`, or install the extra `demo` from the source folder: `pip install '.[demo]'`.",
        ) from None
    lifetime = parse_duration(ttl)
    raise typer.Exit(main(DemoOptions(rotations=rotations, as_json=as_json, lifetime=lifetime, vault=vault)))
