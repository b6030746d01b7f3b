"""The one body that holds a value: read by hand, so that no library's error can quote it, and no key of it is named."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, NoReturn

from pydantic import Field

from ca.masked import Masked
from sds.admin.errors import FieldProblem, InvalidInput
from sds.admin.services.secrets import PutOrder
from sds.admin.wire.common import Input

MAX_FIELDS = 65536
_MAX_VERSION = 2**63 - 1


class ValueIn(Input):
    """How a value is written: `fields` by name, base64 each; the only field of a generic secret is "".

    `if_version`: only if this is the newest version now; 0: only if there is none. For the API's description alone:
    `read_value` reads it.
    """

    fields: dict[str, str]
    if_version: Annotated[int, Field(ge=0, le=_MAX_VERSION)] | None = None


def read_value(body: object) -> PutOrder:
    """Raises InvalidInput, which repeats nothing of the body: whoever mistakes a value for a name leaks nothing."""
    if not isinstance(body, dict):
        _refuse("body", "must be an object")
    if not body.keys() <= {"fields", "if_version"}:
        _refuse("body", "may have fields and if_version, and nothing else")
    fields = body.get("fields")
    if not isinstance(fields, dict) or not fields:
        _refuse("fields", "must be an object with at least one field")
    if len(fields) > MAX_FIELDS:
        _refuse("fields", "are too many")
    return PutOrder(_decoded(fields), _version(body.get("if_version")))


def _decoded(fields: Mapping[str, object]) -> Mapping[str, Masked[bytes]]:
    found: dict[str, Masked[bytes]] = {}
    for name, text in fields.items():
        value = _bytes(text)
        if value is None:
            _refuse("fields", "must all be base64 (RFC 4648 section 4), with padding")
        found[name] = value
    return MappingProxyType(found)


def _bytes(text: object) -> Masked[bytes] | None:
    """None if it is not base64. No exception leaves here: its traceback would hold the text."""
    if not isinstance(text, str) or not text.isascii():
        return None
    try:
        return Masked(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return None


def _version(value: object) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_VERSION:
        _refuse("if_version", "must be a version's number, or 0 for none")
    return value


def _refuse(field: str, problem: str) -> NoReturn:
    raise InvalidInput([FieldProblem(field, problem)]) from None
