"""The options that choose certificates, shared by list and export."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import typer

from sds.cli import parameters
from sds.cli.option_groups import Option, duration, labels, option, option_group, text

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


def _time(flag: str, told: str) -> Option:
    return option(datetime | None, flag, help=told, metavar="TIME", parser=parameters.time)


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
        "serial": text("--serial", "Only this serial number.", "HEX"),
        "spiffe_id": text("--spiffe-id", "Only of this identity.", "ID"),
        "below": text("--below", "Only of this identity and of all below it, by whole path segments.", "ID"),
        "key": text("--key", "Only of this key: the SHA-256 of its SubjectPublicKeyInfo.", "HEX"),
        "owner": text("--owner", "Only of entries of this owner."),
        "label": labels("Only of entries with this label. Repeat: all."),
        "entry": text("--entry", "Only under this entry.", "ID"),
        "agent_id": text("--agent-id", "Only by way of this agent.", "ID"),
        "authority": text("--authority", "Only of this authority.", "ID"),
        "profile": text("--profile", "Only of this certificate profile.", "NAME"),
        "state": option(State | None, "--state", help="Only in this state."),
        "expires_within": duration("--expires-within", "Only what is still good and ends so soon, e.g. 6h."),
        "issued_after": _time("--issued-after", "Only issued then or later."),
        "issued_before": _time("--issued-before", "Only issued before."),
        "sort": option(
            Order, "--sort", help="The newest first, or by expiry; a minus turns it round.", default=Order.NEWEST
        ),
    },
    _chosen,
)
"""``chosen``: which certificates."""
