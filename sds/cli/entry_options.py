"""The options that sds entry create and update share, and what becomes of them in the API."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from sds.cli import parameters

Parent = Annotated[str | None, typer.Option("--parent-id", help="The agent's SPIFFE ID.", metavar="ID")]
Selectors = Annotated[
    list[str] | None,
    typer.Option("--selector", help="A fact the process must have, e.g. unix:uid:1000. Repeat: all of them."),
]
Dns = Annotated[
    list[str] | None,
    typer.Option("--dns", help='A DNS name in the certificate. Repeatable. "" in an update: none.', metavar="NAME"),
]
San = Annotated[
    list[str] | None,
    typer.Option(
        "--san",
        help='ip:ADDRESS or email:MAILBOX in the certificate. Repeatable. "" in an update: none.',
        metavar="NAME",
    ),
]
Subject = Annotated[
    str | None,
    typer.Option(
        "--subject", help='Attributes of the certificate\'s subject, e.g. CN=web. "": none.', metavar="RFC4514"
    ),
]
Profile = Annotated[
    str | None,
    typer.Option("--profile", help="The certificate profile, or default for the server's own.", metavar="NAME"),
]
Ttl = Annotated[
    str | None,
    typer.Option(
        "--x509-ttl",
        callback=parameters.duration_or_default,
        help="Lifetime of its certificates, e.g. 1h, or default.",
        metavar="DURATION",
    ),
]
JwtTtl = Annotated[
    str | None,
    typer.Option(
        "--jwt-ttl",
        callback=parameters.duration_or_default,
        help="Lifetime of its JWT-SVIDs, e.g. 5m, or default.",
        metavar="DURATION",
    ),
]
FederatesWith = Annotated[
    list[str] | None,
    typer.Option(
        "--federates-with",
        help='Another trust domain whose bundle it gets. Repeatable. "" in an update: none.',
        metavar="DOMAIN",
    ),
]
Owner = Annotated[str | None, typer.Option("--owner", help="Whom to ask about it.", metavar="TEXT")]
Labels = Annotated[
    list[str] | None,
    typer.Option("--label", callback=parameters.labels, help="key=value, for your own order.", metavar="K=V"),
]
Hint = Annotated[
    str | None,
    typer.Option("--hint", help="Tells identities of one workload apart; default makes it the first.", metavar="TEXT"),
]
Expires = Annotated[
    str | None,
    typer.Option(
        "--expires-at",
        callback=parameters.time_or_never,
        help="When the entry stops matching, RFC 3339, or never.",
        metavar="TIME",
    ),
]

_LISTS = ("dns_names", "extra_sans", "federates_with")
_UNSET = {"x509_ttl": "default", "jwt_ttl": "default", "expires_at": "never"}


def fields(**given: Any) -> dict[str, Any]:
    """The REST fields of the options that were given, each named as its field."""
    found: dict[str, Any] = {name: value for name, value in given.items() if value is not None and value != []}
    for name in _LISTS:
        if name in found:
            found[name] = [item for item in found[name] if item]
    if "labels" in found:
        found["labels"] = parameters.as_labels(found["labels"])
    for name, word in _UNSET.items():
        if found.get(name) == word:
            found[name] = None
    if found.get("profile") == "default":
        found["profile"] = ""
    return found
