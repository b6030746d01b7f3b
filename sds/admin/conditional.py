"""Conditional requests (RFC 9110 section 13) for what has no revision: a tag over what makes it another one."""

from __future__ import annotations

from hashlib import sha256

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from sds.admin.routes.common import read_tags
from sds.store.codec import to_json
from sds.store.errors import Conflict

_LENGTH = 32


def tag_of(*parts: object) -> str:
    """Of a resource: equal as long as none of what it was made from has changed."""
    return sha256(to_json([str(part) for part in parts]).encode()).hexdigest()[:_LENGTH]


def show_tag(response: Response, tag: str) -> None:
    response.headers["ETag"] = f'"{tag}"'


def check_tag(request: Request, what: str, tag: str) -> None:
    """Raises Conflict (412) if there is an If-Match that does not name `tag`, and BadPrecondition (400)."""
    allowed = read_tags(request)
    if allowed is not None and tag not in allowed:
        raise Conflict(what, tag)


def unless_known(request: Request, response: Response) -> Response:
    """304 instead of an answer that the client has already (If-None-Match). Lists and the like get a weak tag."""
    if response.status_code != 200 or isinstance(response, StreamingResponse):
        return response
    if "etag" not in response.headers:
        response.headers["ETag"] = f'W/"{sha256(bytes(response.body)).hexdigest()[:_LENGTH]}"'
    known = Headers(scope=request.scope).getlist("if-none-match")
    tags = {tag.strip().removeprefix("W/") for value in known for tag in value.split(",")}
    if "*" in tags or response.headers["etag"].removeprefix("W/") in tags:  # weak comparison, section 13.1.2
        return Response(status_code=304, headers={"ETag": response.headers["etag"]})
    return response
