"""The options of sds secret create and update, and what becomes of them in the API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

from sds.cli import parameters


class Kind(StrEnum):
    GENERIC = "generic"
    MAP = "map"
    CERTIFICATE = "certificate"
    CA_BUNDLE = "ca_bundle"
    TICKETS = "tickets"


class Backend(StrEnum):
    EMBEDDED = "embedded"
    KV = "kv"
    DATABASE = "database"
    PKI = "pki"


_MOUNTS = {Backend.KV: "secret", Backend.DATABASE: "database", Backend.PKI: "pki"}
_KINDS = {Backend.DATABASE: Kind.MAP, Backend.PKI: Kind.CERTIFICATE}

Name = Annotated[str, typer.Argument(metavar="NAME", help="The secret's name.", show_default=False)]
Surplus = Annotated[list[str] | None, typer.Argument(hidden=True, metavar=" ")]
KindOption = Annotated[
    Kind | None,
    typer.Option("--kind", help="What Envoy is sent.", show_default="generic; of database map, of pki certificate"),
]
From = Annotated[
    Backend | None,
    typer.Option("--from", help="Where values come from: kept here, or an engine of Vault.", show_default="embedded"),
]
Mount = Annotated[
    str | None,
    typer.Option("--mount", help="Where Vault has the engine.", metavar="PATH", show_default="secret, database or pki"),
]
Path = Annotated[str | None, typer.Option("--path", help="Of kv: the secret in the engine.", metavar="PATH")]
Fields = Annotated[
    list[str] | None,
    typer.Option(
        "--field",
        help="Of kv: the field that has the value; of several, OURS=THEIRS each. Left out: as they are.",
        metavar="NAME",
    ),
]
Role = Annotated[str | None, typer.Option("--role", help="Of database and pki: the engine's role.", metavar="NAME")]
CommonName = Annotated[
    str | None, typer.Option("--common-name", help="Of pki: the certificate's common name.", metavar="DNS")
]
Dns = Annotated[
    list[str] | None, typer.Option("--dns", help="Of pki: another DNS name of the certificate. Repeatable.")
]
Ttl = Annotated[
    str | None,
    typer.Option(
        "--ttl",
        callback=parameters.duration_or_default,
        help="Of pki: lifetime of the certificate, or default for the role's.",
        metavar="DURATION",
    ),
]
Owner = Annotated[str | None, typer.Option("--owner", help="Whom to ask about it.", metavar="TEXT")]
Labels = Annotated[
    list[str] | None,
    typer.Option("--label", callback=parameters.labels, help="key=value, for your own order.", metavar="K=V"),
]
Refresh = Annotated[
    str | None,
    typer.Option(
        "--refresh",
        callback=parameters.duration_or_default,
        help="How often Vault is asked, or default for an interval that adapts.",
        metavar="DURATION",
    ),
]


def _duration_or_never(text: str | None) -> str | None:
    return text if text == "never" else parameters.duration(text)


RotateEvery = Annotated[
    str | None,
    typer.Option(
        "--rotate-every",
        callback=_duration_or_never,
        help="When a value is too old: an alarm, or with --generate a new one. Or never.",
        metavar="DURATION",
    ),
]
Generate = Annotated[
    int | None,
    typer.Option("--generate", help="Make values here, of so many random bytes. 0: no more.", min=0, metavar="BYTES"),
]
Revision = Annotated[
    int | None, typer.Option("--revision", help="Only if this is its revision now.", min=1, metavar="N")
]


def refuse_surplus(words: Sequence[str] | None, advice: str) -> None:
    """What else stands on the line may be a value, so it is not repeated. Raises typer.BadParameter."""
    if words:
        raise typer.BadParameter(
            "a value does not belong on the command line: the process list and the shell's history show it. "
            f"{advice} If that was one, it is known now; choose another."
        )


def source(given: Mapping[str, Any], standing: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
    """The API's source, or None if no option says anything of it. `standing`: what an update begins with."""
    told = {name: value for name, value in given.items() if value is not None}
    if not told:
        return None
    standing = standing or {"backend": Backend.EMBEDDED}
    backend = Backend(told.pop("backend", standing["backend"]))
    found: dict[str, Any] = {"backend": backend.value}
    if backend in _MOUNTS:
        found["mount"] = _MOUNTS[backend]
    if backend == standing["backend"]:
        found |= standing
    if "fields" in told:
        told["fields"] = fields(told["fields"])
    if told.get("ttl") == "default":
        told["ttl"] = None
    if "dns_names" in told:
        told["dns_names"] = [name for name in told["dns_names"] if name]
    return {**found, **told}


def fields(texts: Sequence[str]) -> dict[str, str]:
    """``THEIRS`` is the value of a generic secret, ``OURS=THEIRS`` one of several; one empty text: as they are."""
    found: dict[str, str] = {}
    for text in texts:
        ours, equals, theirs = text.partition("=")
        if not equals:
            ours, theirs = "", text
        if not theirs:
            if len(texts) == 1 and not equals:
                return {}
            raise typer.BadParameter("--field must be NAME, or OURS=THEIRS")
        if ours in found:
            raise typer.BadParameter("--field names one of ours twice; of several write OURS=THEIRS each")
        found[ours] = theirs
    return found


def kind_of(kind: Kind | None, backend: Backend | None) -> str:
    """As given, else what the source can be."""
    return (kind or _KINDS.get(backend or Backend.EMBEDDED, Kind.GENERIC)).value


def about(
    owner: str | None, label: list[str] | None, refresh: str | None, every: str | None, generate: int | None
) -> dict[str, Any]:
    """The other REST fields of the options that were given; `rotation` holds only what was."""
    found: dict[str, Any] = {}
    if owner is not None:
        found["owner"] = owner
    if label is not None and label != []:
        found["labels"] = parameters.as_labels(label)
    if refresh is not None:
        found["refresh"] = None if refresh == "default" else refresh
    rotation: dict[str, Any] = {}
    if every is not None:
        rotation["every"] = None if every == "never" else every
    if generate is not None:
        rotation["generate"] = generate
    if rotation:
        found["rotation"] = rotation
    return found
