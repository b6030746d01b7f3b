"""What answers are read into: frozen, typed, strict about what is known and blind to what is new."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, ClassVar, TypeVar, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ModelWrapValidatorHandler,
    PlainValidator,
    PrivateAttr,
    Strict,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from ca.masked import Masked
from sds.client.errors import Unexpected

T = TypeVar("T")
R = TypeVar("R", bound="Result")

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def _time(value: object) -> datetime:
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        raise ValueError("is no time")
    return datetime.fromisoformat(value.upper()).astimezone(UTC)


def _masked(value: object) -> Masked[str]:
    if not isinstance(value, str):
        raise ValueError("is no text")  # noqa: TRY004  # pydantic takes a ValueError for a verdict
    return Masked(value)


Many = Annotated[tuple[T, ...], Strict(strict=False)]
"""A JSON array."""
Time = Annotated[datetime, PlainValidator(_time)]
"""RFC 3339 with its offset; aware UTC."""
Hidden = Annotated[Masked[str], PlainValidator(_masked)]
"""A secret that the server gives out once."""


class Result(BaseModel):
    """An answer, or a part of one. `document` is the same as it was sent, with keys that this version does not know.

    What is `SECRET` is in no document.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        strict=True,
        hide_input_in_errors=True,
        defer_build=True,
        arbitrary_types_allowed=True,
    )
    SECRET: ClassVar[frozenset[str]] = frozenset()
    _document: dict[str, Any] = PrivateAttr(default_factory=dict)
    _etag: str = PrivateAttr("")

    @property
    def document(self) -> dict[str, Any]:
        return self._document

    @property
    def etag(self) -> str:
        """What If-Match takes, so that something is changed only as it was read; "" where the answer had none."""
        return self._etag

    @model_validator(mode="wrap")
    @classmethod
    def _keep(cls, value: Any, handler: ModelWrapValidatorHandler[R]) -> R:
        made = handler(value)
        if isinstance(value, Mapping):
            made._document = {key: each for key, each in value.items() if key not in cls.SECRET}  # noqa: SLF001  # its own class
        return made


def tagged(result: R, etag: str) -> R:
    """`result` with the tag that came with it."""
    result._etag = etag  # noqa: SLF001  # it is made here
    return result


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Made once a kind: making one takes as long as reading a thousand values."""
    return TypeAdapter(kind)


def read(kind: type[T], value: object) -> T:
    """`value`, as JSON has it, as a `kind`. Raises Unexpected, which never repeats the value."""
    try:
        found: T = _adapter(cast("Any", kind)).validate_python(value)
    except ValidationError as error:
        fields = tuple(
            sorted({".".join(map(str, each["loc"])) or "all of it" for each in error.errors(include_input=False)})
        )
    except RecursionError:
        fields = ("all of it",)
    else:
        return found
    raise Unexpected(fields)  # out here, so that the exception that knows the value is not chained to this one


def _plain(value: object) -> object:
    """Read-only mappings as the dicts that strict reading wants."""
    return dict(value) if isinstance(value, Mapping) else value


Labels = Annotated[dict[str, str], BeforeValidator(_plain)]
