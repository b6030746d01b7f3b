"""Conditional requests (RFC 9110 section 13): what a request asks of the version that stands, and which it has."""

from __future__ import annotations

from hashlib import sha256

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from sds.admin.errors import BadPrecondition
from sds.admin.routes.common import read_tags
from sds.admin.services.conditions import ANY, Condition
from sds.admin.services.versions import VERSION_LENGTH

CONDITIONAL = frozenset(
    {
        "agent.ban", "agent.delete", "authority.activate", "authority.revoke", "authority.taint", "block.lift",
        "entry.delete", "entry.update", "federation.bundle", "federation.delete", "federation.update", "grant.delete",
        "secret.delete", "secret.put", "secret.rollback", "secret.update",
    }
)  # fmt: skip
"""Operations that change one thing that has an ETag, and look at If-Match."""


def show_tag(response: Response, tag: str) -> None:
    response.headers["ETag"] = f'"{tag}"'


def condition_of(request: Request) -> Condition:
    """What If-Match asks, for whoever does the change to judge. Raises BadPrecondition (400)."""
    tags = read_tags(request)
    return ANY if tags is None else Condition(tags)


def check_taken(request: Request, operation: str) -> None:
    """An If-Match that nobody would look at is refused: who sent it relies on it. Raises BadPrecondition (400)."""
    if "if-match" in request.headers and operation not in CONDITIONAL:
        raise BadPrecondition("this operation has nothing that If-Match could be compared with; send it without")


def unless_known(request: Request, response: Response) -> Response:
    """304 instead of an answer that the client has already (If-None-Match). Lists and the like get a weak tag."""
    if response.status_code != 200 or isinstance(response, StreamingResponse):
        return response
    if "etag" not in response.headers:
        response.headers["ETag"] = f'W/"{sha256(bytes(response.body)).hexdigest()[:VERSION_LENGTH]}"'
    known = Headers(scope=request.scope).getlist("if-none-match")
    tags = {tag.strip().removeprefix("W/") for value in known for tag in value.split(",")}
    if "*" in tags or response.headers["etag"].removeprefix("W/") in tags:  # weak comparison, section 13.1.2
        return Response(status_code=304, headers={"ETag": response.headers["etag"]})
    return response
