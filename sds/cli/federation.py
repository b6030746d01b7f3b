"""sds federation: other trust domains, whose workloads ours may talk to."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sds.cli.admin import Admin, with_admin
from sds.cli.errors import CliError, ExitCode
from sds.cli.options import DryRun, Format, Output, Yes

if TYPE_CHECKING:
    from sds.client.federations import Federation

app = typer.Typer(no_args_is_help=True, help="Other trust domains: how their bundles are had.")


class Profile(StrEnum):
    HTTPS_WEB = "https_web"
    HTTPS_SPIFFE = "https_spiffe"
    STATIC = "static"


Domain = Annotated[str, typer.Argument(metavar="TRUST_DOMAIN", help="Its name.", show_default=False)]
Url = Annotated[
    str,
    typer.Option("--endpoint-url", help="Where its bundle is served, https://...", metavar="URL", show_default=False),
]
ProfileOption = Annotated[
    Profile,
    typer.Option(
        "--profile",
        help="How the endpoint proves itself: by a web certificate or by an X.509-SVID. static: there is none.",
    ),
]
EndpointId = Annotated[
    str | None,
    typer.Option("--endpoint-id", help="The endpoint's SPIFFE ID, for https_spiffe.", metavar="ID"),
]
BundleFile = Annotated[
    Path | None,
    typer.Option(
        "--bundle",
        help="The bundle to start from, PEM or SPIFFE, from a way that can be trusted; - for standard input.",
        metavar="FILE",
    ),
]


@app.command()
@with_admin
def add(
    trust_domain: Domain,
    profile: ProfileOption,
    admin: Admin,
    endpoint_url: Url = "",
    endpoint_id: EndpointId = None,
    bundle: BundleFile = None,
    output: Output = Format.TABLE,
) -> None:
    """Federate with a trust domain, and fetch its bundle. Repeating it changes nothing and succeeds.

    Which workloads get the bundle is told with --federates-with of their entries.
    """
    from sds.cli.files import read_bytes  # noqa: PLC0415
    from sds.cli.output import note  # noqa: PLC0415

    first = None if bundle is None else as_text(read_bytes(str(bundle)))
    with admin.client() as client:
        federation = client.federations.create(
            trust_domain, profile.value, endpoint_url=endpoint_url, endpoint_id=endpoint_id, bundle=first
        )
        if profile is not Profile.STATIC:
            federation = client.federations.refresh(federation.trust_domain)
    show_one(federation, output)
    if federation.problem:
        note(f"The first fetch failed: {federation.problem}. It is tried again and again; see `sds federation show`.")


@app.command(name="list")
@with_admin
def list_federations(
    admin: Admin,
    output: Output = Format.TABLE,
) -> None:
    """List the trust domains that this one federates with."""
    from sds.cli.output import show_list  # noqa: PLC0415

    with admin.client() as client:
        found = client.federations.list()
    show_list(output, "federations", found, _HEADINGS, _row, "There are none; `sds federation add` begins with one.")


_HEADINGS = ("TRUST DOMAIN", "PROFILE", "SEQUENCE", "X509+JWT", "FETCHED", "ENTRIES", "PROBLEM")


def _row(one: Federation) -> tuple[str, ...]:
    from sds.cli.text import moment, short  # noqa: PLC0415
    from sds.clock import SystemClock  # noqa: PLC0415

    return (
        one.trust_domain,
        one.profile,
        "-" if one.sequence is None else str(one.sequence),
        f"{one.x509_authorities}+{one.jwt_authorities}",
        moment(one.fetched_at, SystemClock().now(), "-" if one.profile == Profile.STATIC else "never"),
        str(one.entries),
        short(one.problem) or "-",
    )


@app.command()
@with_admin
def show(
    trust_domain: Domain,
    admin: Admin,
    output: Output = Format.TABLE,
) -> None:
    """Show one; `sds bundle show --trust-domain` prints its bundle."""
    with admin.client() as client:
        show_one(client.federations.get(trust_domain), output)


@app.command()
@with_admin
def refresh(
    trust_domain: Domain,
    admin: Admin,
    output: Output = Format.TABLE,
) -> None:
    """Ask the endpoint now. If that fails the last good bundle stays, and the exit code is 1."""
    with admin.client() as client:
        federation = client.federations.refresh(trust_domain)
    show_one(federation, output)
    if federation.problem:
        raise CliError(
            ExitCode.FAILED,
            f"no bundle was had: {federation.problem}",
            advice="The last good bundle stays, and the endpoint is asked again by itself.",
        )


@app.command()
@with_admin
def update(
    trust_domain: Domain,
    profile: ProfileOption,
    admin: Admin,
    endpoint_url: Url = "",
    endpoint_id: EndpointId = None,
    output: Output = Format.TABLE,
) -> None:
    """Give it another endpoint, all of whose parameters are told. The bundle stays until that one answers."""
    with admin.client() as client:
        made = client.federations.update(
            trust_domain, profile.value, endpoint_url=endpoint_url, endpoint_id=endpoint_id
        )
    show_one(made, output)


@app.command()
@with_admin
def delete(
    trust_domain: Domain,
    admin: Admin,
    dry_run: DryRun = False,
    yes: Yes = False,
    output: Output = Format.TABLE,
) -> None:
    """End the relationship: workloads here trust nobody of that trust domain any more, from now on."""
    from sds.cli.output import confirm, print_json, say  # noqa: PLC0415
    from sds.cli.text import count  # noqa: PLC0415

    if not dry_run:
        confirm(f"End the federation with {trust_domain}? Its workloads are refused from then on.", yes=yes)
    with admin.client() as client:
        federation = client.federations.delete(trust_domain, dry_run=dry_run)
    if output is Format.JSON:
        print_json(federation.document)
        return
    if federation.dry_run:
        say(f"The workloads of {count(federation.entries, 'entry', 'entries')} would trust nobody of it any more.")
        say("This was a dry run: nothing was changed.")
        return
    say(f"No workload trusts {federation.trust_domain} any more. Open connections live on until they are closed.")
    if federation.entries:
        say(f"{count(federation.entries, 'entry', 'entries')} still name it; they get its bundle if it comes back.")


def as_text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise CliError(ExitCode.USAGE, "the bundle is neither PEM nor JSON: it is not UTF-8 text") from None


def show_one(federation: Federation, output: Format) -> None:
    from sds.cli.output import show as show_thing  # noqa: PLC0415
    from sds.cli.text import count, moment, span  # noqa: PLC0415
    from sds.clock import SystemClock  # noqa: PLC0415

    now = SystemClock().now()
    x509 = count(federation.x509_authorities, "X.509 authority", "X.509 authorities")
    jwt = count(federation.jwt_authorities, "JWT authority", "JWT authorities")
    bundle = "none yet" if federation.sequence is None else f"sequence {federation.sequence}, {x509}, {jwt}"
    show_thing(
        output,
        federation,
        [
            ("Trust domain", federation.trust_domain),
            ("Profile", federation.profile),
            ("Endpoint", federation.endpoint_url),
            ("Endpoint ID", federation.endpoint_id or ""),
            ("Bundle", bundle),
            ("Refresh hint", span(federation.refresh_hint, "-")),
            ("Fetched", moment(federation.fetched_at, now, "never")),
            ("Tried", moment(federation.tried_at, now, "never")),
            ("Problem", federation.problem),
            ("Entries", str(federation.entries)),
        ],
    )
