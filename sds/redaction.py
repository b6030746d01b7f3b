"""The net under the logs: whatever a caller hands over, what comes out shows no secret and has bounded size.

Code must not log secrets in the first place; this catches what slips through libraries and error messages.
Unknown types come out as their type's name only (fail closed).
"""

from __future__ import annotations

import math
import re
import traceback
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from datetime import date, timedelta
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from pathlib import PurePath
from typing import Any
from uuid import UUID

import pydantic

from ca.masked import Masked
from sds.durations import format_duration

MAX_TEXT = 4_096
MAX_TRACEBACK = 16_384
MAX_ITEMS = 64
MAX_DEPTH = 4
MAX_CHAIN = 8

REMOVED = "[removed]"

Plain = str | int | float | bool | list[Any] | dict[str, Any] | None

_SECRET_KEY = re.compile(
    r"passw(or)?d|passphrase|secret|token|private_?key|priv_?key|api_?key|credential|authorization|cookie|^kek$|ticket_?key"
)
_ABOUT_A_SECRET = re.compile(
    r"(_|^)(file|path|hash|digest|name|names|id|ids|type|kind|ttl|count|size|version|expires?_at)$"
)
"""``password_file`` or ``token_hash`` tell about a secret without being one."""

_NETS: tuple[tuple[re.Pattern[str], str], ...] = (
    # PEM (RFC 7468); without its end too, as a truncated message would have it
    (
        re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)", re.DOTALL),
        REMOVED,
    ),
    # base64 of a PKCS #8 or SEC 1 key in DER: SEQUENCE (of 1, 2 or 3 length bytes), INTEGER 0 or 1
    (
        re.compile(
            r"\bM(?:[A-Za-z0-9+/]{2}CAQ|IG[A-Za-z0-9+/]AgE|II[A-Za-z0-9+/]{3}IBA)(?:[A-Za-z0-9+/\s]|\\n){24,}=*"
        ),
        REMOVED,
    ),
    # JWS compact form (RFC 7515); the header always starts with {"
    (re.compile(r"\beyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]{4,}(\.[A-Za-z0-9_-]*)?"), REMOVED),
    (re.compile(r"\bsds_(join|at)_[A-Za-z0-9_-]+"), REMOVED),
    (re.compile(r"\bhv[sbr]\.[A-Za-z0-9_-]{8,}"), REMOVED),  # Vault tokens
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/-]{8,}=*"), r"\1 " + REMOVED),
    (re.compile(r"(://[^\s/:@]*):\S+@"), r"\1:***@"),  # user:password in a URL (RFC 3986, 3.2.1)
    (re.compile(r"(?i)\b(password|passwd|secret|token)(\"?'?\s*[=:]\s*\"?'?)[^\s\"',;&)]{3,}"), r"\1\2" + REMOVED),
    (re.compile(r"\bb('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")", re.DOTALL), "<bytes>"),
    (re.compile(r"\[parameters: .*?(\n|\Z)", re.DOTALL), "[parameters: removed]\n"),  # SQLAlchemy's statement errors
)
_HINTS = re.compile(
    r"PRIVATE KEY|sds_(?:join|at)_|eyJ|hv[sbr]\.|://|\bb['\"]|\[param|\bM[A-Z]|(?i:bearer|basic|passw|secret|token)"
)
"""One quick look that spares most texts the nets."""


def clean_text(text: str, limit: int = MAX_TEXT) -> str:
    """`text` without what looks like a secret, and at most `limit` characters of it.

    The nets run over more than `limit`, so that cutting never hides half of a secret from them.
    """
    whole = len(text)
    text = text[: limit * 4]
    if _HINTS.search(text):
        for net, instead in _NETS:
            text = net.sub(instead, text)
    if len(text) > limit:
        return f"{text[:limit]}... ({whole} characters)"
    return text


def secret_key(name: str) -> bool:
    """Whether a value under this name is taken for a secret."""
    lowered = name.lower().replace("-", "_")
    return bool(_SECRET_KEY.search(lowered)) and not _ABOUT_A_SECRET.search(lowered)


def clean(value: object, depth: int = 0) -> Plain:
    """`value` as plain JSON data that may be seen."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Masked):
        return "***"
    if isinstance(value, Enum):
        return clean(value.value, depth)
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else clean_text(hex(value))
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return clean_text(str(value))
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if isinstance(value, Mapping | list | tuple | AbstractSet):
        return f"<{type(value).__name__} of {len(value)}>" if depth >= MAX_DEPTH else _clean_items(value, depth)
    return _clean_object(value)


def _clean_items(value: Any, depth: int) -> Plain:
    if isinstance(value, Mapping):
        pairs = list(value.items())[:MAX_ITEMS]
        table = {clean_text(str(k), 128): clean_pair(str(k), v, depth + 1) for k, v in pairs}
        if len(value) > MAX_ITEMS:
            table["..."] = f"{len(value)} items"
        return table
    items = sorted(value, key=str) if isinstance(value, AbstractSet) else value
    some = [clean(item, depth + 1) for item in items[:MAX_ITEMS]]
    return [*some, f"... {len(value)} items"] if len(value) > MAX_ITEMS else some


def clean_pair(name: str, value: object, depth: int = 0) -> Plain:
    """The value to show under `name`; numbers and truth values are shown even under a secret's name."""
    if secret_key(name) and not (value is None or isinstance(value, bool | int | float)):
        return REMOVED
    return clean(value, depth)


def _clean_object(value: object) -> Plain:
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {exception_message(value)}"
    if isinstance(value, PurePath | UUID | IPv4Address | IPv6Address) or _ours(value):
        return clean_text(str(value))
    return f"<{type(value).__name__}>"


def _ours(value: object) -> bool:
    """Domain values that say themselves how they are written, such as SPIFFE IDs and selectors."""
    kind = type(value)
    return kind.__module__.split(".")[0] in {"attestation", "ca", "sds"} and "__str__" in vars(kind)


def exception_message(error: BaseException) -> str:
    """What an exception says, without input that it may quote."""
    if isinstance(error, pydantic.ValidationError):
        where = ", ".join(".".join(map(str, e["loc"])) for e in error.errors(include_input=False, include_url=False))
        return clean_text(f"{error.error_count()} validation errors at {where} (input withheld)")
    return clean_text(str(error))


def describe_exception(error: BaseException) -> str:
    """The chain of exceptions with their frames, root cause first, as one bounded text."""
    parts = []
    for link in reversed(list(_chain(error))):
        frames = clean_text("".join(traceback.format_tb(link.__traceback__)[-24:]), MAX_TRACEBACK)
        kind = type(link)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        parts.append(f"{frames}{name}: {exception_message(link)}")
    text = "\nwhich led to\n".join(parts)
    return text if len(text) <= MAX_TRACEBACK else "..." + text[-MAX_TRACEBACK:]


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception, its cause or unsuppressed context, and so on; a group's first few members beside it."""
    seen: set[int] = set()
    todo = [error]
    while todo and len(seen) < MAX_CHAIN:
        link = todo.pop(0)
        if id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        if isinstance(link, BaseExceptionGroup):
            todo.extend(link.exceptions[:3])
        before = link.__cause__ if link.__suppress_context__ or link.__cause__ else link.__context__
        if before is not None:
            todo.append(before)
