"""The options of sds secret create and update, and what becomes of them in the API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

import typer

from sds.cli import parameters
from sds.cli.option_groups import duration, labels, option, option_group, text, texts


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


def fields(given: Sequence[str]) -> dict[str, str]:
    """``THEIRS`` is the value of a generic secret, ``OURS=THEIRS`` one of several; one empty text: as they are."""
    found: dict[str, str] = {}
    for each in given:
        ours, equals, theirs = each.partition("=")
        if not equals:
            ours, theirs = "", each
        if not theirs:
            if len(given) == 1 and not equals:
                return {}
            raise typer.BadParameter("--field must be NAME, or OURS=THEIRS")
        if ours in found:
            raise typer.BadParameter("--field names one of ours twice; of several write OURS=THEIRS each")
        found[ours] = theirs
    return found


def _kind_of(kind: Kind | None, backend: Backend | None) -> Kind:
    """As given, else what the source can be."""
    return kind or _KINDS.get(backend or Backend.EMBEDDED, Kind.GENERIC)


def _about(
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


@dataclass(frozen=True, slots=True)
class Definition:
    """What the options say of a secret. `given`: of its source, by the API's names; `about`: the other REST fields."""

    kind: Kind | None
    backend: Backend | None
    given: Mapping[str, Any]
    about: Mapping[str, Any]

    def new(self) -> dict[str, Any]:
        """The REST fields of a new secret, but its name."""
        fields: dict[str, Any] = {"kind": _kind_of(self.kind, self.backend).value, **self.about}
        found = source(self.given)
        return fields if found is None else {**fields, "source": found}

    def changes(self) -> dict[str, Any]:
        """The REST fields that an update names, but its source and what `rotation` leaves as it is."""
        return {**self.about, **({} if self.kind is None else {"kind": self.kind.value})}


def _definition(
    _: typer.Context,
    *,
    kind: Kind | None,
    from_: Backend | None,
    field: list[str] | None,
    dns: list[str] | None,
    owner: str | None,
    label: list[str] | None,
    refresh: str | None,
    rotate_every: str | None,
    generate: int | None,
    **reference: str | None,
) -> Definition:
    given = {
        **reference,
        "backend": None if from_ is None else from_.value,
        "fields": field or None,
        "dns_names": dns or None,
    }
    return Definition(kind, from_, given, _about(owner, label, refresh, rotate_every, generate))


def _duration_or_never(given: str | None) -> str | None:
    return given if given == "never" else parameters.duration(given)


with_definition = option_group(
    "definition",
    {
        "kind": option(
            Kind | None,
            "--kind",
            help="What Envoy is sent.",
            show_default="generic; of database map, of pki certificate",
        ),
        "from_": option(
            Backend | None,
            "--from",
            help="Where values come from: kept here, or an engine of Vault.",
            show_default="embedded",
        ),
        "mount": text("--mount", "Where Vault has the engine.", "PATH", show_default="secret, database or pki"),
        "path": text("--path", "Of kv: the secret in the engine.", "PATH"),
        "field": texts(
            "--field",
            "Of kv: the field that has the value; of several, OURS=THEIRS each. Left out: as they are.",
            "NAME",
        ),
        "role": text("--role", "Of database and pki: the engine's role.", "NAME"),
        "common_name": text("--common-name", "Of pki: the certificate's common name.", "DNS"),
        "dns": texts("--dns", "Of pki: another DNS name of the certificate. Repeatable."),
        "ttl": duration(
            "--ttl",
            "Of pki: lifetime of the certificate, or default for the role's.",
            check=parameters.duration_or_default,
        ),
        "owner": text("--owner", "Whom to ask about it."),
        "label": labels("key=value, for your own order."),
        "refresh": duration(
            "--refresh",
            "How often Vault is asked, or default for an interval that adapts.",
            check=parameters.duration_or_default,
        ),
        "rotate_every": duration(
            "--rotate-every",
            "When a value is too old: an alarm, or with --generate a new one. Or never.",
            check=_duration_or_never,
        ),
        "generate": option(
            int | None,
            "--generate",
            help="Make values here, of so many random bytes. 0: no more.",
            min=0,
            metavar="BYTES",
        ),
    },
    _definition,
)
"""``definition``: what the options say of a secret."""
