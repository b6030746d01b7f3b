"""Secrets for people. There is nothing here that could print a value: no answer has one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sds.cli.grant.display import subject_text
from sds.cli.options import Format
from sds.cli.output import print_table, say, show
from sds.cli.text import count, moment, short, span
from sds.client.secrets import DeletedSecret, Secret, Version
from sds.clock import SystemClock

HEADINGS = ("NAME", "KIND", "SOURCE", "VERSION", "CHANGED", "GRANTS", "WATCHERS", "PROBLEM")
EMPTY = "There are no secrets; `sds secret create` defines one."
SHOWN = 20
"""Rows of one kind in a table; JSON output has up to a hundred, and the numbers count all."""


def source_text(secret: Secret) -> str:
    """``kv secret/apps/orders``."""
    source = secret.source
    backend = str(source.get("backend", "?"))
    if secret.embedded:
        return backend
    inside = source.get("path") or source.get("role") or ""
    return f"{backend} {source.get('mount', '')}/{inside}"


def row(secret: Secret) -> tuple[str, ...]:
    changed = moment(secret.state.changed_at, SystemClock().now())
    return (
        *(secret.name, secret.kind, source_text(secret), _version(secret), changed),
        *(str(secret.grants), str(secret.watchers), short(secret.state.problem) or "-"),
    )


def _version(secret: Secret) -> str:
    version = secret.state.version or "-"
    return version if secret.pinned is None else f"{version} (pinned {secret.pinned})"


def show_one(secret: Secret, output: Format) -> None:
    show(output, secret, _facts(secret, SystemClock().now()))


def _facts(secret: Secret, now: datetime) -> list[tuple[str, str | Sequence[str]]]:
    state = secret.state
    fields = [f"{ours or 'value'} = {theirs}" for ours, theirs in (secret.source.get("fields") or {}).items()]
    source: list[tuple[str, str | Sequence[str]]] = [("Source", source_text(secret))]
    if fields:
        source.append(("Fields", fields))
    if secret.source.get("common_name"):
        names = [str(secret.source["common_name"]), *map(str, secret.source.get("dns_names") or ())]
        source += [("Names", names), ("TTL", span(secret.source.get("ttl"), "the role's"))]
    granted = [f"{subject_text(each)} ({each.id})" for each in secret.granted[:SHOWN]]
    if secret.grants > len(granted) and secret.granted:
        granted.append(f"and {secret.grants - len(granted)} more")
    problem = f"{state.problem} (since {moment(state.problem_since, now)})" if state.problem else ""
    return [
        ("Name", secret.name),
        ("ID", secret.id),
        ("Revision", str(secret.revision)),
        ("Kind", secret.kind),
        *source,
        ("Owner", secret.owner),
        ("Labels", [f"{key}={text}" for key, text in secret.labels.items()]),
        ("Refresh", span(secret.refresh, "adaptive")),
        ("Rotate every", _rotation(secret)),
        ("Version", _version(secret)),
        ("Changed", moment(state.changed_at, now)),
        ("Looked at", moment(state.checked_at, now, "never")),
        ("Expires", moment(state.not_after, now, "never")),
        ("Problem", problem),
        ("Granted to", granted if secret.granted else count(secret.grants, "grant")),
        ("Watchers", count(secret.watchers, "agent")),
        ("Updated", moment(secret.updated_at, now)),
    ]


def _rotation(secret: Secret) -> str:
    every = span(secret.rotation.every, "never")
    return f"{every}, {secret.rotation.generate} random bytes" if secret.rotation.generate else every


def print_versions(versions: Sequence[Version], secret: Secret) -> None:
    now = SystemClock().now()
    rows = [
        (
            *(each.version, each.state, moment(each.created_at, now), each.created_by or "-"),
            " ".join(_marks(each, secret)) or "-",
        )
        for each in versions
    ]
    empty = "There is none yet." if secret.embedded else "Its source has none, or does not number them."
    print_table(("VERSION", "STATE", "WRITTEN", "BY", "USE"), rows, empty)


def _marks(version: Version, secret: Secret) -> list[str]:
    in_use = ["in use"] if secret.state.version == version.version else []
    return [*in_use, "pinned"] if str(secret.pinned) == version.version else in_use


def print_deleted(deleted: DeletedSecret) -> None:
    verb = "Would delete" if deleted.dry_run else "Deleted"
    say(f"{verb} secret {deleted.secret.name}, {count(deleted.secret.grants, 'grant')} of it{_values(deleted)}.")
    if not deleted.entries_total:
        say("No entry was granted it.")
    else:
        loses = "would lose" if deleted.dry_run else "lost"
        say(f"{count(deleted.entries_total, 'entry', 'entries')} {loses} it:")
        rows = [(each.spiffe_id, each.id, each.parent_id) for each in deleted.entries[:SHOWN]]
        print_table(("SPIFFE ID", "ENTRY", "PARENT"), rows, "")
        if deleted.entries_total > len(rows):
            say(f"and {deleted.entries_total - len(rows)} more")
    if deleted.dry_run:
        say("This was a dry run: nothing was changed.")


def _values(deleted: DeletedSecret) -> str:
    return f" and {count(deleted.versions, 'stored version')} of its value" if deleted.versions else ""
