"""A configuration as something that may be seen: secrets masked, values as they would be written in the file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from urllib.parse import quote

from ca.masked import Masked
from sds.config.database import DatabaseSection
from sds.config.load import walk
from sds.config.problems import ConfigError, Problem
from sds.config.types import Section
from sds.durations import format_duration

Plain = str | int | float | bool | None


def describe(config: Section) -> dict[str, Plain]:
    """Every dotted key and its value, safe to print and to log."""
    return {dotted: _plain(dotted, value) for dotted, value in _leaves(_values(config))}


def fingerprint(config: Section) -> str:
    """Sixteen hex digits that name what `describe` says; secrets do not enter it."""
    return fingerprint_of(describe(config))


def fingerprint_of(described: Mapping[str, object]) -> str:
    """Sixteen hex digits that name a part of what `describe` says."""
    text = json.dumps(described, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def changed_keys(old: Section, new: Section) -> tuple[list[str], list[str]]:
    """Dotted keys that differ: those that take effect on SIGHUP, and those that need a restart."""
    before, after = dict(_values(old)), dict(_values(new))
    changed = [key for key, value in after.items() if _comparable(value) != _comparable(before[key])]
    live = {dotted for dotted, field in walk(type(new)) if _extra(field.json_schema_extra, "reload")}
    return [k for k in changed if k in live], [k for k in changed if k not in live]


def database_url(database: DatabaseSection) -> Masked[str]:
    """The URL to connect with, `database.password_file` read and put in. Raises ConfigError."""
    if database.password_file is None:
        return database.url
    try:
        password = database.password_file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = (error.strerror or "unknown error") if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError([Problem("database.password_file", f"cannot be read: {why}")]) from None
    scheme, netloc, rest = _split(database.url.reveal())
    user, _, host = netloc.rpartition("@")
    if not user or ":" in user:
        problem = "has no user to give the password to" if not user else "has a password beside the password file"
        raise ConfigError([Problem("database.url", problem, "write postgresql://USER@HOST/DATABASE")])
    return Masked(f"{scheme}{user}:{quote(password, safe='')}@{host}{rest}")


def masked_url(url: Masked[str]) -> str:
    """The database URL without its password and without its query, which may hold one too.

    A password whose ``@``, ``/`` or ``?`` was not escaped breaks the URL but must not show either, so everything up to
    the last ``@`` is taken for the user and password.
    """
    scheme, mark, rest = url.reveal().partition("://")
    userinfo, at, tail = rest.rpartition("@")
    name, colon, _ = userinfo.partition(":")
    place, query, _ = tail.partition("?")
    return f"{scheme}{mark}{name.partition('?')[0]}{':***' if colon else ''}{at}{place}{'?***' if query else ''}"


def _split(url: str) -> tuple[str, str, str]:
    """``scheme://``, what stands before the path, and the rest (RFC 3986 3.2), with every slash kept."""
    scheme, mark, rest = url.partition("://")
    end = min((rest.index(c) for c in "/?#" if c in rest), default=len(rest))
    return scheme + mark, rest[:end], rest[end:]


def _values(config: Section, above: str = "") -> Iterator[tuple[str, object]]:
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, Section):
            yield from _values(value, f"{above}{name}.")
        else:
            yield above + name, value


def _leaves(values: Iterable[tuple[str, object]]) -> Iterator[tuple[str, object]]:
    """Tables by name as what stands in them."""
    for dotted, value in values:
        if not isinstance(value, Mapping):
            yield dotted, value
            continue
        for name, table in value.items():
            yield from _values(table, f"{dotted}.{name}.")


def _plain(dotted: str, value: object) -> Plain:
    if isinstance(value, Masked):
        return masked_url(value) if dotted == "database.url" else str(value)
    if isinstance(value, timedelta):
        return format_duration(value)
    if dotted.endswith("_mode") and isinstance(value, int):
        return f"{value:04o}"
    if isinstance(value, tuple):
        return ", ".join(str(_plain(dotted, each)) for each in value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def _comparable(value: object) -> object:
    """Masked values refuse to be compared, so their digests are."""
    return hashlib.sha256(value.reveal().encode()).hexdigest() if isinstance(value, Masked) else value


def _extra(extra: object, name: str) -> object:
    return extra.get(name) if isinstance(extra, dict) else None
