"""What the handlers share: the caller, the body, preconditions, and what a refusal's audit event is about."""

from __future__ import annotations

import email.message
import re
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Annotated, Literal

from fastapi import Depends, Query
from pydantic import ConfigDict
from starlette.requests import Request
from starlette.responses import Response

from attestation.spiffe_id import SpiffeId
from sds.admin import strict_json
from sds.admin.errors import BadPrecondition, BodyTooLarge, FieldProblem, InvalidInput, UnsupportedMediaType
from sds.admin.services import AdminCall
from sds.admin.wire.common import Input
from sds.store.errors import NotFound

MAX_PAGE = 1000
MAX_CURSOR = 512
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_ETAG = re.compile(r'\s*(W/)?"([^"]*)"\s*', re.ASCII)
_REVISION = re.compile(r"[0-9]{1,18}", re.ASCII)


def _call(request: Request) -> AdminCall:
    call: AdminCall = request.state.call
    return call


async def _body(request: Request) -> object:
    """The JSON body. Raises UnsupportedMediaType and MalformedBody."""
    _check_declared(request)
    return strict_json.parse(await request.body())


def _check_declared(request: Request) -> None:
    declared = email.message.Message()
    declared["content-type"] = request.headers.get("content-type", "")
    if declared.get_content_type() != "application/json":
        raise UnsupportedMediaType("the body must be declared as application/json")


async def file_body(request: Request, kinds: Collection[str]) -> bytes:
    """A body that is a file, declared as one of `kinds`. Raises UnsupportedMediaType."""
    declared = email.message.Message()
    declared["content-type"] = request.headers.get("content-type", "")
    if declared.get_content_type() not in kinds:
        raise UnsupportedMediaType(f"the file must be declared as {' or '.join(kinds)}")
    return await request.body()


async def bounded_body(request: Request, most: int) -> object:
    """The JSON body of at most so many bytes, which nothing keeps. Raises BodyTooLarge, too, before more is read."""
    _check_declared(request)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise BodyTooLarge(f"the body is larger than {most} bytes")
    return strict_json.parse(bytes(body))


async def _optional_body(request: Request) -> object:
    """The JSON body, or an empty object if there is none."""
    body = await request.body()
    return await _body(request) if body else {}


Call = Annotated[AdminCall, Depends(_call)]
Body = Annotated[object, Depends(_body)]
OptionalBody = Annotated[object, Depends(_optional_body)]


class NoQuery(Input):
    """For routes without query parameters: any is refused."""


class DryRun(Input):
    """``dry_run=true``: only say what would happen."""

    dry_run: Literal["true", "false"] = "false"

    @property
    def only_say(self) -> bool:
        return self.dry_run == "true"


class Paging(Input):
    """Query values arrive as text, so these alone are converted."""

    model_config = ConfigDict(strict=False)

    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100
    cursor: Annotated[str | None, Query(max_length=MAX_CURSOR)] = None


def about(request: Request, target: object) -> None:
    """Note what the request acts on, for the audit event of a refusal. Only values that were parsed."""
    request.state.target = str(target)


def entry_id(text: str) -> str:
    """An ID as this server makes them; anything else names nothing (404), and is not repeated."""
    if not _ID.fullmatch(text):
        raise NotFound("entry", "this is no entry ID")
    return text


def block_id(text: str) -> str:
    """Of the form that this server gives them; anything else names nothing (404), and is not repeated."""
    if not _ID.fullmatch(text):
        raise NotFound("block", "this is no block ID")
    return text


def labels(texts: Iterable[str] | None) -> Mapping[str, str]:
    """Query values, each key=value. Raises InvalidInput."""
    found: dict[str, str] = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InvalidInput([FieldProblem("label", "must be key=value")])
        found[key] = value
    return MappingProxyType(found)


def yes_or_no(text: str | None) -> bool | None:
    """A query value that is ``true`` or ``false``; None if it was not given."""
    return None if text is None else text == "true"


def grant_id(text: str) -> str:
    """Of the form that this server gives them; anything else names nothing (404), and is not repeated."""
    if not _ID.fullmatch(text):
        raise NotFound("grant", "this is no grant ID")
    return text


def agent_id(text: str) -> SpiffeId:
    """Raises InvalidSpiffeId (422)."""
    return SpiffeId.parse(text)


def if_match(request: Request) -> frozenset[int] | None:
    """The revisions that If-Match allows; None: any, or no such header. Raises BadPrecondition."""
    tags = read_tags(request)
    return None if tags is None else frozenset(int(tag) for tag in tags if _REVISION.fullmatch(tag))


def read_tags(request: Request) -> frozenset[str] | None:
    """The tags that If-Match allows (RFC 9110 section 13.1.1); None: any, or no such header.

    Weak tags never match (strong comparison). Raises BadPrecondition for what is no list of entity tags.
    """
    values = request.headers.getlist("if-match")
    if not values or [value.strip() for value in values] == ["*"]:
        return None
    tags = set[str]()
    for tag in ",".join(values).split(","):
        found = _ETAG.fullmatch(tag)
        if not found:
            raise BadPrecondition('If-Match must be * or what GET gave as ETag, with its quotes, e.g. "3"')
        if not found[1]:
            tags.add(found[2])
    return frozenset(tags)


def etag(response: Response, revision: int) -> None:
    response.headers["ETag"] = f'"{revision}"'


def documented(model: type[Input]) -> dict[str, object]:
    """The OpenAPI description of a body that `strict_json` reads instead of FastAPI."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
