"""The options that choose certificates, shared by list and export."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sds.cli import parameters
from sds.cli.option_groups import option_group

if TYPE_CHECKING:
    from sds.client.certificates import CertificateFilter


class State(StrEnum):
    INTENDED = "intended"
    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


class Order(StrEnum):
    NEWEST = "-issued"
    OLDEST = "issued"
    EXPIRES_FIRST = "expires"
    EXPIRES_LAST = "-expires"


Serial = Annotated[str | None, typer.Option("--serial", help="Only this serial number.", metavar="HEX")]
SpiffeId = Annotated[str | None, typer.Option("--spiffe-id", help="Only of this identity.", metavar="ID")]
Below = Annotated[
    str | None,
    typer.Option("--below", help="Only of this identity and of all below it, by whole path segments.", metavar="ID"),
]
Key = Annotated[
    str | None, typer.Option("--key", help="Only of this key: the SHA-256 of its SubjectPublicKeyInfo.", metavar="HEX")
]
Owner = Annotated[str | None, typer.Option("--owner", help="Only of entries of this owner.", metavar="TEXT")]
Labels = Annotated[
    list[str] | None,
    typer.Option(
        "--label", callback=parameters.labels, help="Only of entries with this label. Repeat: all.", metavar="K=V"
    ),
]
Entry = Annotated[str | None, typer.Option("--entry", help="Only under this entry.", metavar="ID")]
Agent = Annotated[str | None, typer.Option("--agent-id", help="Only by way of this agent.", metavar="ID")]
Authority = Annotated[str | None, typer.Option("--authority", help="Only of this authority.", metavar="ID")]
Profile = Annotated[str | None, typer.Option("--profile", help="Only of this certificate profile.", metavar="NAME")]
StateOption = Annotated[State | None, typer.Option("--state", help="Only in this state.")]
ExpiresWithin = Annotated[
    str | None,
    typer.Option(
        "--expires-within",
        callback=parameters.duration,
        help="Only what is still good and ends so soon, e.g. 6h.",
        metavar="DURATION",
    ),
]
IssuedAfter = Annotated[
    datetime | None,
    typer.Option("--issued-after", parser=parameters.time, help="Only issued then or later.", metavar="TIME"),
]
IssuedBefore = Annotated[
    datetime | None, typer.Option("--issued-before", parser=parameters.time, help="Only issued before.", metavar="TIME")
]
Sort = Annotated[Order, typer.Option("--sort", help="The newest first, or by expiry; a minus turns it round.")]


def _chosen(
    _: typer.Context, *, expires_within: str | None, label: list[str] | None, **given: Any
) -> Callable[[datetime], CertificateFilter]:
    """`given`: the other options, which are named as the fields of CertificateFilter are, or nearly."""

    def at(now: datetime) -> CertificateFilter:
        from sds.client.certificates import CertificateFilter  # noqa: PLC0415  # keeps `sds --help` quick
        from sds.durations import parse_duration  # noqa: PLC0415

        fields = {_FIELDS.get(name, name): value for name, value in given.items()}
        if expires_within is not None:
            fields |= {"expires_after": now, "expires_before": now + parse_duration(expires_within)}
        return CertificateFilter(label=parameters.as_labels(label or ()), **fields)

    return at


_FIELDS = {"key": "key_hash", "entry": "entry_id", "authority": "authority_id"}
Chosen = Callable[[datetime], Any]
"""What was chosen, a CertificateFilter, by the time that it is now."""

with_chosen = option_group(
    "chosen",
    {
        "serial": (Serial, None),
        "spiffe_id": (SpiffeId, None),
        "below": (Below, None),
        "key": (Key, None),
        "owner": (Owner, None),
        "label": (Labels, None),
        "entry": (Entry, None),
        "agent_id": (Agent, None),
        "authority": (Authority, None),
        "profile": (Profile, None),
        "state": (StateOption, None),
        "expires_within": (ExpiresWithin, None),
        "issued_after": (IssuedAfter, None),
        "issued_before": (IssuedBefore, None),
        "sort": (Sort, Order.NEWEST),
    },
    _chosen,
)
