"""/v1/secrets: named secrets. Names may have slashes but no colon, so what is done to one stands behind a colon."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from fastapi import FastAPI, Query
from starlette.requests import Request
from starlette.responses import Response

from sds.admin import conditional
from sds.admin.errors import BadPrecondition, FieldProblem, InvalidInput
from sds.admin.routes import common
from sds.admin.routes.common import Body, Call, DryRun, NoQuery, Paging
from sds.admin.services.secrets import SecretAdmin, SecretQuery
from sds.admin.wire import secret_values
from sds.admin.wire import secrets as wire
from sds.admin.wire.common import read
from sds.admin.wire.secrets import Backend, Kind
from sds.secrets.secret import SecretKind
from sds.store.errors import Conflict, NotFound

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}", re.ASCII)
_ROOM = 64 * 1024
"""Bytes of a value's body beside the values: names, quotes, white space."""


class Filter(Paging):
    prefix: Annotated[str, Query(max_length=128)] = ""
    kind: Kind | None = None
    backend: Backend | None = None
    owner: Annotated[str | None, Query(max_length=255)] = None
    label: Annotated[list[str] | None, Query(max_length=64)] = None  # each key=value
    problem: Literal["true", "false"] | None = None
    sort: Literal["name", "-name"] = "name"

    def query(self) -> SecretQuery:
        return SecretQuery(
            prefix=self.prefix,
            kind=None if self.kind is None else SecretKind(self.kind),
            backend=self.backend,
            owner=self.owner,
            labels=common.labels(self.label),
            problem=None if self.problem is None else self.problem == "true",
            order=self.sort,
            limit=self.limit,
            cursor=self.cursor,
        )


def secret_name(text: str) -> str:
    """Of the form that names have; anything else names nothing (404), and is not repeated."""
    if not _NAME.fullmatch(text):
        raise NotFound("secret", "this is no secret's name")
    return text


class SecretRoutes:
    def __init__(self, secrets: SecretAdmin) -> None:
        self._secrets = secrets

    def mount(self, app: FastAPI) -> None:
        one, many = "/v1/secrets/{name:path}", "/v1/secrets"
        body, again = common.documented(wire.SecretIn), common.documented(wire.SecretAgain)
        value, back = common.documented(secret_values.ValueIn), common.documented(wire.RollbackIn)
        app.get(many, operation_id="secret.list")(self.find)
        app.post(many, operation_id="secret.create", status_code=201, openapi_extra=body)(self.create)
        app.put(f"{one}:value", operation_id="secret.put", openapi_extra=value)(self.put)
        app.get(f"{one}:versions", operation_id="secret.versions")(self.versions)
        app.post(f"{one}:refresh", operation_id="secret.refresh")(self.refresh)
        app.post(f"{one}:rollback", operation_id="secret.rollback", openapi_extra=back)(self.rollback)
        app.get(one, operation_id="secret.show")(self.get)
        app.put(one, operation_id="secret.update", openapi_extra=again)(self.update)
        app.delete(one, operation_id="secret.delete")(self.delete)

    async def create(
        self, request: Request, response: Response, call: Call, body: Body, _query: Annotated[NoQuery, Query()]
    ) -> wire.SecretOut:
        """201 for a new secret, 200 if an identical one stood already."""
        spec = wire.read_secret(body, self._secrets.problems)
        common.about(request, spec.name)
        made = await self._secrets.create(call, spec)
        response.status_code = 201 if made.created else 200
        response.headers["Location"] = f"/v1/secrets/{made.info.secret.name}"
        common.etag(response, made.info.secret.revision)
        return wire.secret_out(made.info)

    async def find(self, query: Annotated[Filter, Query()]) -> wire.SecretPage:
        """Named secrets and how each stands, in order of names."""
        page = await self._secrets.find(query.query())
        return wire.SecretPage(secrets=[wire.secret_out(each) for each in page.items], next_cursor=page.next_cursor)

    async def get(self, response: Response, name: str, _query: Annotated[NoQuery, Query()]) -> wire.SecretDetailOut:
        """What is known of it, and who is granted it; never its value."""
        detail = await self._secrets.get(secret_name(name))
        common.etag(response, detail.info.secret.revision)
        return wire.detail_out(detail)

    async def update(
        self,
        request: Request,
        response: Response,
        call: Call,
        name: str,
        body: Body,
        _query: Annotated[NoQuery, Query()],
    ) -> wire.SecretDetailOut:
        """Replaces the definition. With If-Match or `revision` only if that is its revision."""
        name = secret_name(name)
        common.about(request, name)
        allowed = common.if_match(request)
        spec, again = wire.read_replacement(body, self._secrets.problems)
        if again.id is not None and again.id != (await self._secrets.get(name)).info.secret.id:
            raise InvalidInput([FieldProblem("id", "is another secret's; a secret's ID never changes")])
        if again.revision is not None and allowed is not None and again.revision not in allowed:
            raise BadPrecondition("If-Match and the body's revision contradict each other; send one of them")
        allowed = allowed if again.revision is None else frozenset({again.revision})
        detail = await self._secrets.update(call, name, spec, await self._expected(name, allowed))
        common.etag(response, detail.info.secret.revision)
        return wire.detail_out(detail)

    async def delete(
        self, request: Request, call: Call, name: str, query: Annotated[DryRun, Query()]
    ) -> wire.DeletedSecretOut:
        """Takes it from everybody. A dry run only says who loses it."""
        name = secret_name(name)
        common.about(request, name)
        expected = await self._expected(name, common.if_match(request))
        deleted = await self._secrets.delete(call, name, expected, dry_run=query.only_say)
        return wire.deleted_out(deleted)

    async def put(
        self, request: Request, call: Call, name: str, _query: Annotated[NoQuery, Query()]
    ) -> wire.VersionOut:
        """Writes a new version of the value of an embedded secret."""
        name = secret_name(name)
        common.about(request, name)
        condition = conditional.condition_of(request)
        body = await common.bounded_body(request, self._secrets.most_bytes * 4 // 3 + _ROOM)
        order = secret_values.read_value(body)
        return wire.version_out(await self._secrets.put(call, name, order, condition))

    async def versions(self, name: str, _query: Annotated[NoQuery, Query()]) -> wire.VersionsOut:
        """All that the source still knows of, newest first, without values."""
        found = await self._secrets.versions(secret_name(name))
        return wire.VersionsOut(versions=[wire.version_out(each) for each in found])

    async def refresh(
        self, request: Request, call: Call, name: str, _query: Annotated[NoQuery, Query()]
    ) -> wire.SecretOut:
        """Asks the source now; `state.problem` says why that failed, if it did."""
        name = secret_name(name)
        common.about(request, name)
        return wire.secret_out(await self._secrets.refresh(call, name))

    async def rollback(
        self, request: Request, call: Call, name: str, body: Body, _query: Annotated[NoQuery, Query()]
    ) -> wire.SecretOut:
        """Delivers an older version from now on, or with null the newest again."""
        name = secret_name(name)
        common.about(request, name)
        wanted = read(wire.RollbackIn, body)
        condition = conditional.condition_of(request)
        return wire.secret_out(await self._secrets.rollback(call, name, wanted.version, condition))

    async def _expected(self, name: str, allowed: frozenset[int] | None) -> int | None:
        """The one revision to compare with. If several are allowed, the current one if it is among them."""
        if allowed is None:
            return None
        if len(allowed) == 1:
            return next(iter(allowed))
        current = (await self._secrets.get(name)).info.secret.revision
        if current not in allowed:
            raise Conflict(f"secret {name}", current)
        return current
