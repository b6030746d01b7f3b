"""sds federation: other trust domains, whose workloads ours may talk to."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sds.cli.errors import CliError, ExitCode
from sds.cli.options import SERVER_SOCKET, AdminSocket, Format, Output, Verbose, Yes

if TYPE_CHECKING:
    from sds.cli.models_federation import Federation

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
def add(
    trust_domain: Domain,
    profile: ProfileOption,
    admin_socket: AdminSocket = SERVER_SOCKET,
    endpoint_url: Url = "",
    endpoint_id: EndpointId = None,
    bundle: BundleFile = None,
    output: Output = Format.TABLE,
    verbose: Verbose = False,
) -> None:
    """Federate with a trust domain, and fetch its bundle. Repeating it changes nothing and succeeds.

    Which workloads get the bundle is told with --federates-with of their entries.
    """
    from sds.cli.client import AdminClient  # noqa: PLC0415  # keeps `sds --help` quick
    from sds.cli.files import read_bytes  # noqa: PLC0415
    from sds.cli.output import note  # noqa: PLC0415

    body = {"trust_domain": trust_domain, **_source(profile, endpoint_url, endpoint_id)}
    if bundle is not None:
        body["bundle"] = as_text(read_bytes(str(bundle)))
    with AdminClient(admin_socket, verbose=verbose) as client:
        answer = client.post("/v1/federations", body)
        if profile is not Profile.STATIC:
            answer = client.post(_path(answer["trust_domain"]) + ":refresh", timeout=_PATIENCE)
    federation = show_one(answer, output)
    if federation.problem:
        note(f"The first fetch failed: {federation.problem}. It is tried again and again; see `sds federation show`.")


@app.command(name="list")
def list_federations(
    admin_socket: AdminSocket = SERVER_SOCKET, output: Output = Format.TABLE, verbose: Verbose = False
) -> None:
    """List the trust domains that this one federates with."""
    from sds.cli import models  # noqa: PLC0415
    from sds.cli.client import AdminClient  # noqa: PLC0415
    from sds.cli.models_federation import Federation  # noqa: PLC0415
    from sds.cli.output import print_json, print_table  # noqa: PLC0415
    from sds.cli.text import moment, short  # noqa: PLC0415
    from sds.clock import SystemClock  # noqa: PLC0415

    with AdminClient(admin_socket, verbose=verbose) as client:
        answer = client.get("/v1/federations")
    if output is Format.JSON:
        print_json(answer)
        return
    now = SystemClock().now()
    found = [models.read(Federation, each) for each in answer.get("federations", [])]
    rows = [
        (
            f.trust_domain,
            f.profile,
            "-" if f.sequence is None else str(f.sequence),
            f"{f.x509_authorities}+{f.jwt_authorities}",
            moment(f.fetched_at, now, "-" if f.profile == Profile.STATIC else "never"),
            str(f.entries),
            short(f.problem) or "-",
        )
        for f in found
    ]
    headings = ("TRUST DOMAIN", "PROFILE", "SEQUENCE", "X509+JWT", "FETCHED", "ENTRIES", "PROBLEM")
    print_table(headings, rows, "There are none; `sds federation add` begins with one.")


@app.command()
def show(
    trust_domain: Domain,
    admin_socket: AdminSocket = SERVER_SOCKET,
    output: Output = Format.TABLE,
    verbose: Verbose = False,
) -> None:
    """Show one; `sds bundle show --trust-domain` prints its bundle."""
    from sds.cli.client import AdminClient  # noqa: PLC0415

    with AdminClient(admin_socket, verbose=verbose) as client:
        show_one(client.get(_path(trust_domain)), output)


@app.command()
def refresh(
    trust_domain: Domain,
    admin_socket: AdminSocket = SERVER_SOCKET,
    output: Output = Format.TABLE,
    verbose: Verbose = False,
) -> None:
    """Ask the endpoint now. If that fails the last good bundle stays, and the exit code is 1."""
    from sds.cli.client import AdminClient  # noqa: PLC0415

    with AdminClient(admin_socket, verbose=verbose) as client:
        federation = show_one(client.post(_path(trust_domain) + ":refresh", timeout=_PATIENCE), output)
    if federation.problem:
        raise CliError(
            ExitCode.FAILED,
            f"no bundle was had: {federation.problem}",
            advice="The last good bundle stays, and the endpoint is asked again by itself.",
        )


@app.command()
def update(
    trust_domain: Domain,
    profile: ProfileOption,
    admin_socket: AdminSocket = SERVER_SOCKET,
    endpoint_url: Url = "",
    endpoint_id: EndpointId = None,
    output: Output = Format.TABLE,
    verbose: Verbose = False,
) -> None:
    """Give it another endpoint, all of whose parameters are told. The bundle stays until that one answers."""
    from sds.cli.client import AdminClient  # noqa: PLC0415

    with AdminClient(admin_socket, verbose=verbose) as client:
        show_one(client.put(_path(trust_domain), _source(profile, endpoint_url, endpoint_id)), output)


@app.command()
def delete(
    trust_domain: Domain,
    admin_socket: AdminSocket = SERVER_SOCKET,
    yes: Yes = False,
    output: Output = Format.TABLE,
    verbose: Verbose = False,
) -> None:
    """End the relationship: workloads here trust nobody of that trust domain any more, from now on."""
    from sds.cli import models  # noqa: PLC0415
    from sds.cli.client import AdminClient  # noqa: PLC0415
    from sds.cli.models_federation import Federation  # noqa: PLC0415
    from sds.cli.output import confirm, print_json, say  # noqa: PLC0415
    from sds.cli.text import count  # noqa: PLC0415

    confirm(f"End the federation with {trust_domain}? Its workloads are refused from then on.", yes=yes)
    with AdminClient(admin_socket, verbose=verbose) as client:
        answer = client.delete(_path(trust_domain))
    federation = models.read(Federation, answer)
    if output is Format.JSON:
        print_json(answer)
        return
    say(f"No workload trusts {federation.trust_domain} any more. Open connections live on until they are closed.")
    if federation.entries:
        say(f"{count(federation.entries, 'entry', 'entries')} still name it; they get its bundle if it comes back.")


_PATIENCE = 330.0
"""Seconds; the server's own limit for a poll (federation.timeout) is at most 300."""


def _path(trust_domain: str) -> str:
    from sds.cli.client import part  # noqa: PLC0415

    return f"/v1/federations/{part(trust_domain)}"


def _source(profile: Profile, endpoint_url: str, endpoint_id: str | None) -> dict[str, Any]:
    given = {"profile": profile.value, "endpoint_url": endpoint_url, "endpoint_id": endpoint_id}
    return {name: value for name, value in given.items() if value}


def as_text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise CliError(ExitCode.USAGE, "the bundle is neither PEM nor JSON: it is not UTF-8 text") from None


def show_one(answer: Any, output: Format) -> Federation:
    from sds.cli import models  # noqa: PLC0415
    from sds.cli.models_federation import Federation  # noqa: PLC0415
    from sds.cli.output import show as show_thing  # noqa: PLC0415
    from sds.cli.text import count, moment, span  # noqa: PLC0415
    from sds.clock import SystemClock  # noqa: PLC0415

    federation = models.read(Federation, answer)
    now = SystemClock().now()
    x509 = count(federation.x509_authorities, "X.509 authority", "X.509 authorities")
    jwt = count(federation.jwt_authorities, "JWT authority", "JWT authorities")
    bundle = "none yet" if federation.sequence is None else f"sequence {federation.sequence}, {x509}, {jwt}"
    show_thing(
        output,
        answer,
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
    return federation
