"""sds revoke: take back what was issued. A dry run unless --yes is given."""

from __future__ import annotations

from typing import Annotated

import typer

from sds.cli.admin import Admin, with_admin
from sds.cli.options import Format, Output

REASONS = (
    "unspecified, key-compromise, ca-compromise, affiliation-changed, superseded, cessation-of-operation, "
    "certificate-hold, privilege-withdrawn"
)


Serial = Annotated[str | None, typer.Option("--serial", help="One certificate.", metavar="HEX")]
SpiffeIdOption = Annotated[str | None, typer.Option("--spiffe-id", help="An identity, whoever has it.", metavar="ID")]
Key = Annotated[
    str | None, typer.Option("--key", help="A key, by the SHA-256 of its SubjectPublicKeyInfo.", metavar="HEX")
]
Entry = Annotated[str | None, typer.Option("--entry", help="What is issued under an entry.", metavar="ID")]
Agent = Annotated[str | None, typer.Option("--agent", help="An agent, and all that its workloads hold.", metavar="ID")]
Authority = Annotated[
    str | None, typer.Option("--authority", help="An authority, and all that it issued.", metavar="ID")
]
Issuer = Annotated[
    str, typer.Option("--issuer", help="With --serial: its authority, if no record of it is left.", metavar="ID")
]
Reason = Annotated[str, typer.Option("--reason", help=f"One of {REASONS}.", metavar="REASON")]
Incident = Annotated[str, typer.Option("--incident", help="Kept with the block and in the audit log.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it. Without this it is a dry run.")]


@with_admin
def revoke(
    admin: Admin,
    serial: Serial = None,
    spiffe_id: SpiffeIdOption = None,
    key: Key = None,
    entry: Entry = None,
    agent: Agent = None,
    authority: Authority = None,
    issuer: Issuer = "",
    reason: Reason = "unspecified",
    incident: Incident = "",
    yes: Yes = False,
    output: Output = Format.TABLE,
) -> None:
    """Take back what was issued: show what that would hit, and do it with --yes.

    Nothing of it is issued again until the block is lifted (`sds block lift`), and every CRL that changes is pushed to
    every sidecar.
    """
    from sds.cli.output import print_json  # noqa: PLC0415  # keeps `sds --help` quick
    from sds.cli.revocation.display import print_revocation  # noqa: PLC0415
    from sds.clock import SystemClock  # noqa: PLC0415

    kind, value = _target(serial=serial, spiffe_id=spiffe_id, key=key, entry=entry, agent=agent, authority=authority)
    with admin.client() as client:
        done = client.revocations.revoke(kind, value, reason=reason, incident=incident, issuer=issuer, dry_run=not yes)
    if output is Format.JSON:
        print_json(done.document)
    else:
        print_revocation(done, SystemClock().now())


def _target(**given: str | None) -> tuple[str, str]:
    """The one that is given, with its kind. Raises typer.BadParameter."""
    targets = [(kind, value) for kind, value in given.items() if value is not None]
    if len(targets) != 1:
        raise typer.BadParameter("give exactly one of --serial, --spiffe-id, --key, --entry, --agent, --authority")
    return targets[0]
