"""The options that sds entry create and update share, and what becomes of them in the API."""

from __future__ import annotations

import inspect
from typing import Any

import typer

from sds.cli import parameters
from sds.cli.option_groups import Options, duration, labels, option, option_group, text, texts

_SELECTORS = {"help": "A fact the process must have, e.g. unix:uid:1000. Repeat: all of them."}
_NEEDED: Options = {
    "spiffe_id": option(
        str, "--spiffe-id", help="The identity it gives.", metavar="ID", default=inspect.Parameter.empty
    ),
    "parent_id": option(
        str, "--parent-id", help="The agent's SPIFFE ID.", metavar="ID", default=inspect.Parameter.empty
    ),
    "selectors": option(list[str], "--selector", default=inspect.Parameter.empty, **_SELECTORS),
}
_CHANGED: Options = {
    "spiffe_id": text("--spiffe-id", "The identity it gives.", "ID"),
    "parent_id": text("--parent-id", "The agent's SPIFFE ID.", "ID"),
    "selectors": option(list[str] | None, "--selector", **_SELECTORS),
}
_SHARED: Options = {
    "dns_names": texts("--dns", 'A DNS name in the certificate. Repeatable. "" in an update: none.', "NAME"),
    "extra_sans": texts(
        "--san", 'ip:ADDRESS or email:MAILBOX in the certificate. Repeatable. "" in an update: none.', "NAME"
    ),
    "subject": text("--subject", 'Attributes of the certificate\'s subject, e.g. CN=web. "": none.', "RFC4514"),
    "profile": text("--profile", "The certificate profile, or default for the server's own.", "NAME"),
    "x509_ttl": duration(
        "--x509-ttl", "Lifetime of its certificates, e.g. 1h, or default.", check=parameters.duration_or_default
    ),
    "jwt_ttl": duration(
        "--jwt-ttl", "Lifetime of its JWT-SVIDs, e.g. 5m, or default.", check=parameters.duration_or_default
    ),
    "federates_with": texts(
        "--federates-with",
        'Another trust domain whose bundle it gets. Repeatable. "" in an update: none.',
        "DOMAIN",
    ),
    "owner": text("--owner", "Whom to ask about it."),
    "labels": labels("key=value, for your own order."),
    "hint": text("--hint", "Tells identities of one workload apart; default makes it the first."),
    "expires_at": text(
        "--expires-at",
        "When the entry stops matching, RFC 3339, or never.",
        "TIME",
        callback=parameters.time_or_never,
    ),
}

_LISTS = ("dns_names", "extra_sans", "federates_with")
_UNSET = {"x509_ttl": "default", "jwt_ttl": "default", "expires_at": "never"}


def _fields(_: typer.Context, **given: Any) -> dict[str, Any]:
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


with_entry = option_group("fields", {**_NEEDED, **_SHARED}, _fields)
"""``fields``: a new entry as the API takes it."""
with_changes = option_group("changes", {**_CHANGED, **_SHARED}, _fields)
"""``changes``: the fields that were given, none of which has to be."""
