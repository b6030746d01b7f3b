"""What Vault answers, parsed strictly into values, or into the error that it is. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NoReturn

from ca.masked import Masked
from sds.redaction import REMOVED, clean_text
from sds.vault.call import Call
from sds.vault.errors import Replay, VaultDenied, VaultError, VaultNotFound, VaultRefused, VaultUnavailable

MAX_RETRY_AFTER = 3600.0  # seconds
_MAX_REASON = 300  # characters of Vault's own words
_TOKEN = re.compile(r"\b(?:hv[sbr]|[sbr])\.[A-Za-z0-9_-]{8,}")
_LARGEST = 2**53  # what every JSON parser holds exactly (RFC 8259 section 6)
_EMPTY: Mapping[str, Any] = MappingProxyType({})

_UNAVAILABLE = {
    412: "it has not caught up with its leader yet",
    429: "it has too many requests",
    472: "it is a standby for disaster recovery",
    473: "it is a standby",
    500: "it failed inside",
    501: "it is not initialised",
    502: "it could not reach another server",
    503: "it is sealed, or has no leader",
    504: "it took too long",
}
_NOT_ACTED_ON = frozenset({412, 429, 472, 473, 501, 503})
_UPGRADING = "Upgrading from non-versioned to versioned data"
"""KV v2 says so, with a status of 400, for a moment after it was mounted or its server was started."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer of bounded size. `retry_after` in seconds."""

    status: int
    body: bytes = field(repr=False)
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class VaultAuth:
    """A token that Vault has given out, and how long it lives (0: for ever). Renewed by its accessor it is empty."""

    token: Masked[str]
    accessor: str
    lease_seconds: int
    renewable: bool
    policies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VaultAnswer:
    """`data` may be secret. An answer that has no `data` of its own, as of sys/health, is all of it `data`."""

    data: Mapping[str, Any] = field(repr=False)
    lease_id: str = ""
    lease_seconds: int = 0
    renewable: bool = False
    auth: VaultAuth | None = field(default=None, repr=False)
    status: int = 200


class _Malformed(Exception):
    """Not what Vault's API says."""


def read_reply(reply: Reply, call: Call) -> VaultAnswer:
    """The answer. Raises VaultError."""
    if 200 <= reply.status < 300:
        try:
            return parse_answer(reply.status, reply.body)
        except _Malformed as error:
            raise VaultUnavailable(f"Vault's answer is not as it should be: {error}", status=reply.status) from None
    raise refusal(reply, call)


def parse_answer(status: int, body: bytes) -> VaultAnswer:
    """Raises _Malformed."""
    if not body.strip():
        return VaultAnswer(_EMPTY, status=status)
    answer = _object(body)
    data = answer.get("data", _EMPTY if "auth" in answer else answer)
    if data is None:
        data = _EMPTY
    if not isinstance(data, dict | MappingProxyType):
        raise _Malformed("its data is no object")
    auth = answer.get("auth")
    return VaultAnswer(
        MappingProxyType(dict(data)),
        _text(answer, "lease_id"),
        _seconds(answer, "lease_duration"),
        _flag(answer, "renewable"),
        None if auth is None else _auth(auth),
        status,
    )


def refusal(reply: Reply, call: Call) -> VaultError:
    """The error that an answer other than success is."""
    status = reply.status
    told = _reason(reply.body, call.secrets)
    because = f": {told}" if told else ""
    if status in _UNAVAILABLE or status >= 500 or status < 200:
        replay = Replay.ALWAYS if status in _NOT_ACTED_ON else Replay.IF_IDEMPOTENT
        what = _UNAVAILABLE.get(status, "it failed")
        return VaultUnavailable(
            f"Vault cannot answer, {what} ({status}){because}",
            status=status,
            retry_after=reply.retry_after,
            replay=replay,
        )
    if status == 400 and _UPGRADING in told:
        return VaultUnavailable(f"Vault cannot answer yet (400){because}", status=status, replay=Replay.ALWAYS)
    if status < 400:
        return VaultUnavailable(
            f"Vault points to another server ({status}), which is not followed: "
            "give the address of the active server or of what stands before all",
            status=status,
            replay=Replay.NEVER,
        )
    if status == 403:
        return VaultDenied(f"Vault denies it (403){because}", status=status)
    if status == 404:
        return VaultNotFound(
            f"there is nothing at this path in Vault (404){because}", status=status, answer=_rest(reply)
        )
    return VaultRefused(f"Vault refuses the request ({status}){because}", status=status)


def retry_after(header: str | None) -> float | None:
    """Seconds of a Retry-After header (RFC 9110 section 10.2.3); a date in it is ignored, as is nonsense."""
    if header is None or not header.isascii() or not header.isdigit():
        return None
    return min(float(header[:9]), MAX_RETRY_AFTER)


def _rest(reply: Reply) -> VaultAnswer | None:
    """A 404 of KV v2 tells of deleted versions in its data."""
    try:
        answer = parse_answer(reply.status, reply.body)
    except _Malformed:
        return None
    return answer if answer.data and "errors" not in answer.data else None


def _reason(body: bytes, secrets: tuple[str, ...]) -> str:
    """Vault's first error in one line, without anything that we have sent and without tokens."""
    try:
        errors = _object(body).get("errors")
    except _Malformed:
        return ""
    if not isinstance(errors, list) or not errors or not isinstance(errors[0], str):
        return ""
    text = errors[0]
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, REMOVED)
    text = " ".join(_TOKEN.sub(REMOVED, text).split())
    return clean_text("".join(c if c.isprintable() else "?" for c in text), _MAX_REASON)


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body.decode(), parse_constant=_no_constant, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise _Malformed("it is no JSON") from None
    if not isinstance(found, dict):
        raise _Malformed("it is no JSON object")
    return found


def _no_constant(_: str) -> NoReturn:
    raise ValueError


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _auth(auth: Any) -> VaultAuth:
    if not isinstance(auth, dict):
        raise _Malformed("its auth is no object")
    token = _text(auth, "client_token")
    if not token and not _text(auth, "accessor"):  # one that is renewed by its accessor is not shown again
        raise _Malformed("it grants a token and names none")
    policies = auth.get("policies") or []
    if not isinstance(policies, list) or not all(isinstance(policy, str) for policy in policies):
        raise _Malformed("its policies are no list of names")
    return VaultAuth(
        Masked(token),
        _text(auth, "accessor"),
        _seconds(auth, "lease_duration"),
        _flag(auth, "renewable"),
        tuple(policies),
    )


def _text(table: Mapping[str, Any], name: str) -> str:
    value = table.get(name) or ""
    if not isinstance(value, str):
        raise _Malformed(f"its {name} is no text")
    return value


def _seconds(table: Mapping[str, Any], name: str) -> int:
    value = table.get(name) or 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST:
        raise _Malformed(f"its {name} is no number of seconds")
    return value


def _flag(table: Mapping[str, Any], name: str) -> bool:
    value = table.get(name) or False
    if not isinstance(value, bool):
        raise _Malformed(f"its {name} is neither true nor false")
    return value
