"""Reads a JSON body strictly: UTF-8, no duplicate keys, no NaN, no lone surrogates, bounded depth."""

from __future__ import annotations

import json
import re
from typing import NoReturn

from sds.admin.errors import MalformedBody

_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")


class _Refused(Exception):
    """A hook's verdict."""


def parse(body: bytes, what: str = "the body") -> object:
    """The value that `body` spells. Raises MalformedBody, whose message calls it `what` and never repeats it.

    RFC 8259 section 4 leaves duplicate keys open, so two readers may see different values: refused here.
    """
    try:
        text = body.decode("utf-8", errors="strict")
    except UnicodeDecodeError as error:
        raise MalformedBody(f"{what} is not UTF-8 (byte {error.start})") from None
    try:
        value: object = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except _Refused as error:
        raise MalformedBody(f"{what} {error}") from None
    except json.JSONDecodeError as error:
        raise MalformedBody(f"{what} is not JSON (line {error.lineno}, column {error.colno})") from None
    except RecursionError:
        raise MalformedBody(f"{what} is nested too deeply") from None
    except ValueError:  # an integer of thousands of digits
        raise MalformedBody(f"{what} has a number that is out of range") from None
    if _SURROGATE_ESCAPE.search(body):
        _no_lone_surrogates(value, what)
    return value


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Refused("has the same key twice in one object")
    return found


def _no_constant(_: str) -> NoReturn:
    raise _Refused("has a number that is not finite")


def _no_lone_surrogates(value: object, what: str) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise MalformedBody(f"{what} has text that is not Unicode (a lone surrogate)") from None
