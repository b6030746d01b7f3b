"""sds jwt: JWT-SVIDs by hand, minted and verified."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sds.cli import parameters
from sds.cli.admin import Admin, with_admin
from sds.cli.options import Format, Output

if TYPE_CHECKING:
    from sds.client.jwt import VerifiedToken

app = typer.Typer(no_args_is_help=True, help="JWT-SVIDs by hand.")


@app.command()
@with_admin
def mint(
    audience: Annotated[
        list[str],
        typer.Option("--audience", help="For whom it is; again for each. One is best.", metavar="TEXT"),
    ],
    admin: Admin,
    spiffe_id: Annotated[
        str | None,
        typer.Option("--spiffe-id", help="Whose token it is, whether or not there is an entry.", metavar="ID"),
    ] = None,
    entry: Annotated[str | None, typer.Option("--entry", help="The entry whose token it is.", metavar="ID")] = None,
    ttl: Annotated[
        str | None,
        typer.Option(
            "--ttl",
            callback=parameters.duration,
            help="How long it is good, e.g. 10m.",
            metavar="DURATION",
            show_default="the entry's, or the server's",
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", help="Write the token there (0600) instead of showing it.", metavar="FILE"),
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Make a JWT-SVID. It is shown once and kept nowhere; that it was made, and by whom, is audited."""
    from sds.cli import files  # noqa: PLC0415  # keeps `sds --help` quick
    from sds.cli.output import print_json, say  # noqa: PLC0415
    from sds.cli.text import exact  # noqa: PLC0415
    from sds.durations import parse_duration  # noqa: PLC0415

    if (spiffe_id is None) == (entry is None):
        raise typer.BadParameter("give either --spiffe-id or --entry")
    if token_file is not None:
        files.check_writable(token_file)
    seconds = None if ttl is None else parse_duration(ttl).total_seconds()
    with admin.client() as client:
        minted = client.jwt.mint(audience, spiffe_id=spiffe_id, entry_id=entry, ttl_seconds=seconds)
    shown = files.shown_secret("token", minted.token, token_file)
    if output is Format.JSON:
        print_json({**shown, **minted.document})
        return
    for name, value in shown.items():
        say(f"{name.replace('_', ' ').capitalize():<11} {value}")
    say(f"{'SPIFFE ID':<11} {minted.spiffe_id}")
    say(f"{'Audience':<11} {', '.join(minted.audience)}")
    say(f"{'Expires':<11} {exact(minted.expires_at)}")


@app.command()
@with_admin
def verify(
    admin: Admin,
    audience: Annotated[str, typer.Option("--audience", help="For whom the token must be, exactly.", metavar="TEXT")],
    token: Annotated[
        str | None, typer.Argument(help="The token, or - for standard input; better than an argument, which ps shows.")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="Read the token from there.", metavar="FILE")
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            "--bundle",
            help="Verify by the JWT keys of this SPIFFE bundle, without the server. Needs --trust-domain.",
            metavar="FILE",
        ),
    ] = None,
    trust_domain: Annotated[
        str | None, typer.Option("--trust-domain", help="The trust domain that --bundle is of.", metavar="NAME")
    ] = None,
    leeway: Annotated[
        str,
        typer.Option(
            "--leeway",
            callback=parameters.duration,
            help="With --bundle: how far clocks may differ.",
            metavar="DURATION",
        ),
    ] = "30s",
    output: Output = Format.TABLE,
) -> None:
    """Say what a JWT-SVID says, if it may be believed here and now; else why not, with exit code 1."""
    from ca.masked import Masked  # noqa: PLC0415
    from sds.cli.output import tell  # noqa: PLC0415

    if (bundle is None) != (trust_domain is None):
        raise typer.BadParameter("--bundle and --trust-domain belong together: a bundle does not say whose it is")
    unverified = _token(token, token_file)
    if bundle is not None and trust_domain is not None:
        found = _offline(unverified, audience, bundle, trust_domain, leeway)
    else:
        with admin.client() as client:
            found = client.jwt.verify(Masked(unverified), audience)
    tell(output, found, _show)


def _token(argument: str | None, file: Path | None) -> str:
    """The token from where it is. Raises CliError."""
    from sds.cli import files  # noqa: PLC0415
    from sds.cli.errors import CliError, ExitCode  # noqa: PLC0415

    if (argument is None) == (file is None):
        raise typer.BadParameter("give the token, - for standard input, or --token-file")
    if argument is not None and argument != files.STDIN:
        return argument.strip()
    try:
        return files.read_bytes(files.STDIN if file is None else str(file)).decode("ascii").strip()
    except UnicodeDecodeError:
        raise CliError(ExitCode.USAGE, "what was given is no token: it is not ASCII") from None


def _offline(unverified: str, audience: str, bundle: Path, name: str, leeway: str) -> VerifiedToken:
    """The answer that the server would give. Raises CliError."""
    from attestation.errors import InvalidSpiffeId  # noqa: PLC0415
    from attestation.spiffe_id import TrustDomain  # noqa: PLC0415
    from ca.bundle import parse_spiffe_json  # noqa: PLC0415
    from ca.errors import InvalidBundle, InvalidJwtSvid  # noqa: PLC0415
    from ca.jwt_verify import validate  # noqa: PLC0415
    from sds.cli import files  # noqa: PLC0415
    from sds.cli.errors import CliError, ExitCode  # noqa: PLC0415
    from sds.cli.text import exact  # noqa: PLC0415
    from sds.client.jwt import VerifiedToken  # noqa: PLC0415
    from sds.client.results import read  # noqa: PLC0415
    from sds.clock import SystemClock  # noqa: PLC0415
    from sds.durations import parse_duration  # noqa: PLC0415

    try:
        trust_domain = TrustDomain.parse(name)
        keys = parse_spiffe_json(trust_domain, files.read_bytes(str(bundle)))
    except InvalidSpiffeId as error:
        raise CliError(ExitCode.USAGE, f"--trust-domain: {error}") from None
    except InvalidBundle as error:
        advice = "It must be a SPIFFE bundle: `sds bundle show --format spiffe`."
        raise CliError(ExitCode.USAGE, f"{bundle}: {error}", advice=advice) from None
    try:
        svid = validate(unverified, {trust_domain: keys}, audience, SystemClock().now(), parse_duration(leeway))
    except InvalidJwtSvid as error:
        raise CliError(ExitCode.FAILED, str(error)) from None
    document = {
        "spiffe_id": str(svid.spiffe_id),
        "audience": list(svid.audience),
        "expires_at": exact(svid.expires_at),
        "key_id": svid.key_id,
        "claims": dict(svid.claims),
    }
    return read(VerifiedToken, document)


def _show(found: VerifiedToken) -> None:
    import json  # noqa: PLC0415

    from sds.cli.output import say  # noqa: PLC0415
    from sds.cli.text import exact, short  # noqa: PLC0415

    say(f"{'SPIFFE ID':<11} {found.spiffe_id}")
    say(f"{'Audience':<11} {', '.join(found.audience)}")
    say(f"{'Expires':<11} {exact(found.expires_at)}")
    say(f"{'Key':<11} {found.key_id}")
    for name, value in found.claims.items():
        if name not in {"sub", "aud", "exp"}:
            say(f"{short(name):<11} {short(value if isinstance(value, str) else json.dumps(value))}")
