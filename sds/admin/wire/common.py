"""JSON fields that are domain values, and the reading of a JSON value into a model with all problems at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, PlainSerializer, PlainValidator, ValidationError, WithJsonSchema
from pydantic_core import PydanticCustomError

from attestation.errors import InvalidSelector, InvalidSpiffeId
from attestation.selector import Selector
from attestation.spiffe_id import SpiffeId, TrustDomain
from sds.admin.errors import FieldProblem, InvalidInput
from sds.durations import InvalidDuration, parse_duration

M = TypeVar("M", bound=BaseModel)

MAX_TEXT = 255
"""Characters of a hint, an owner, a reason."""
_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})", re.ASCII
)
_SHOWABLE_KEY = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)


class Input(BaseModel):
    """A request: unknown keys and converted types are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True, frozen=True)


class Output(BaseModel):
    """A response."""

    model_config = ConfigDict(frozen=True)


def _refuse(problem: str) -> PydanticCustomError:
    return PydanticCustomError("value", "{problem}", {"problem": problem})


def _spiffe_id(value: object) -> SpiffeId:
    if not isinstance(value, str):
        raise _refuse("must be a string")
    try:
        return SpiffeId.parse(value)
    except InvalidSpiffeId as error:
        raise _refuse(str(error)) from None


def _trust_domain(value: object) -> TrustDomain:
    if not isinstance(value, str):
        raise _refuse("must be a string")
    try:
        return TrustDomain.parse(value)
    except InvalidSpiffeId as error:
        raise _refuse(str(error)) from None


def _selector(value: object) -> Selector:
    if not isinstance(value, str):
        raise _refuse("must be a string")
    try:
        return Selector.parse(value)
    except InvalidSelector as error:
        raise _refuse(str(error)) from None


def _duration(value: object) -> timedelta:
    try:
        return parse_duration(value)
    except InvalidDuration as error:
        raise _refuse(str(error)) from None


def _time(value: object) -> datetime:
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        raise _refuse("must be an RFC 3339 time with its offset, e.g. 2030-01-31T12:00:00Z")
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise _refuse("is not a time that exists") from None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _refuse("must be a string")
    if len(value) > MAX_TEXT or not value.isprintable():
        raise _refuse(f"must be at most {MAX_TEXT} printable characters")
    return value


def seconds(duration: timedelta) -> int | float:
    """Whole seconds as an integer, others as a float."""
    exact = duration.total_seconds()
    return int(exact) if exact.is_integer() else exact


def _rfc3339(when: datetime) -> str:
    return when.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"


SpiffeIdField = Annotated[SpiffeId, PlainValidator(_spiffe_id), WithJsonSchema({"type": "string"})]
TrustDomainField = Annotated[TrustDomain, PlainValidator(_trust_domain), WithJsonSchema({"type": "string"})]
SelectorField = Annotated[Selector, PlainValidator(_selector), WithJsonSchema({"type": "string"})]
DurationField = Annotated[
    timedelta, PlainValidator(_duration), WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string"}]})
]
TextField = Annotated[str, PlainValidator(_text), WithJsonSchema({"type": "string", "maxLength": MAX_TEXT})]
TimeField = Annotated[datetime, PlainValidator(_time), WithJsonSchema({"type": "string", "format": "date-time"})]
TimeOut = Annotated[datetime, PlainSerializer(_rfc3339, return_type=str)]


def path_of(location: Sequence[Any]) -> str:
    """``("selectors", 2)`` as ``selectors[2]``. A key that is no plain name is not repeated to the caller."""
    path = ""
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
        else:
            name = str(step) if _SHOWABLE_KEY.fullmatch(str(step)) else "?"
            path += f".{name}" if path else name
    return path


def problem_of(kind: str, location: Sequence[Any], message: str, prefix: str = "") -> FieldProblem:
    """What pydantic found (its type, loc and msg), without the input that it found it in."""
    message = _MESSAGES.get(kind, message)
    return FieldProblem(_join(prefix, path_of(location)), message[:1].lower() + message[1:])


_MESSAGES = {
    "missing": "is missing",
    "extra_forbidden": "is not a known key",
    "string_type": "must be a string",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "int_type": "must be an integer",
    "bool_type": "must be true or false",
}


def _join(prefix: str, path: str) -> str:
    if not prefix or not path:
        return prefix or path or "body"
    return f"{prefix}{path}" if path.startswith("[") else f"{prefix}.{path}"


def read(model: type[M], value: object, prefix: str = "") -> M:
    """`value` as a `model`. Raises InvalidInput with every problem, none of which repeats the value."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
    # Raised out here, so that the exception that knows the input is not chained to this one.
    raise InvalidInput(problem_of(each["type"], each["loc"], each["msg"], prefix) for each in found)
