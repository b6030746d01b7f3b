"""/v1/agents: attested agents. /v1/streams: what the sidecars hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

from fastapi import FastAPI, Query
from starlette.requests import Request
from starlette.responses import Response

from attestation.spiffe_id import SpiffeId
from sds.admin import conditional
from sds.admin.access.decide import check, permitted
from sds.admin.access.roles import Scope
from sds.admin.routes import common, exports
from sds.admin.routes.common import Call, DryRun, NoQuery, OptionalBody, Paging
from sds.admin.routes.radius import blast_radius
from sds.admin.services import (
    AdminCall,
    AgentAdmin,
    AgentInfo,
    AgentQuery,
    Page,
    RevocationAdmin,
    StreamAdmin,
    StreamQuery,
)
from sds.admin.services.conditions import Condition
from sds.admin.services.versions import agent_version
from sds.admin.wire import tables, views
from sds.admin.wire.common import MAX_TEXT, Input, TimeField, read
from sds.store.revocation.records import BlockKind

_AGENTS = exports.Table("agents", tables.AGENT, tables.agent_row)
_STREAMS: exports.Table[Sequence[object]] = exports.Table("streams", tables.STREAM, lambda row: row)


class ChosenAgents(Input):
    """Which agents."""

    banned: Literal["true", "false"] | None = None
    attestation_type: Annotated[str | None, Query(max_length=64)] = None
    below: str | None = None
    version: Annotated[str | None, Query(max_length=MAX_TEXT)] = None
    downstream: Literal["true", "false"] | None = None
    silent_since: TimeField | None = None
    sort: Literal["spiffe_id", "-spiffe_id", "attested", "-attested", "expires", "-expires"] = "spiffe_id"

    def chosen(self, scopes: tuple[Scope, ...]) -> AgentQuery:
        return AgentQuery(
            banned=common.yes_or_no(self.banned),
            attestation_type=self.attestation_type,
            below=None if self.below is None else SpiffeId.parse(self.below),
            version=self.version,
            downstream=common.yes_or_no(self.downstream),
            silent_since=self.silent_since,
            order=self.sort,
            scopes=scopes,
        )


class AgentFilter(ChosenAgents, Paging):
    pass


class AgentExport(ChosenAgents, exports.Format):
    pass


class ChosenStreams(Input):
    """Which streams."""

    agent_id: str | None = None
    spiffe_id: str | None = None
    node_id: Annotated[str | None, Query(max_length=MAX_TEXT)] = None
    protocol: Literal["sotw", "delta", "ads-sotw", "ads-delta", "workload-api"] | None = None
    resource: Annotated[str | None, Query(max_length=2048)] = None
    nacked: Literal["true", "false"] | None = None
    behind: Literal["true", "false"] | None = None
    sort: Literal["agent", "-agent", "opened", "-opened", "lag", "-lag"] = "agent"

    def chosen(self, scopes: tuple[Scope, ...]) -> StreamQuery:
        return StreamQuery(
            agent_id=None if self.agent_id is None else SpiffeId.parse(self.agent_id),
            spiffe_id=None if self.spiffe_id is None else SpiffeId.parse(self.spiffe_id),
            node_id=self.node_id,
            protocol=self.protocol,
            resource=self.resource,
            nacked=common.yes_or_no(self.nacked),
            behind=common.yes_or_no(self.behind),
            order=self.sort,
            scopes=scopes,
        )


class StreamFilter(ChosenStreams, Paging):
    pass


class StreamExport(ChosenStreams, exports.Format):
    pass


class AgentRoutes:
    """An agent's path is its percent-encoded SPIFFE ID; slashes may also stand as they are."""

    def __init__(self, agents: AgentAdmin, streams: StreamAdmin, revocations: RevocationAdmin) -> None:
        self._agents = agents
        self._streams = streams
        self._revocations = revocations

    def mount(self, app: FastAPI) -> None:
        one = "/v1/agents/{agent_id:path}"
        app.get("/v1/agents", operation_id="agent.list")(self.find)
        app.get("/v1/streams", operation_id="stream.list")(self.streams)
        app.get(
            "/v1/agents:export", operation_id="agent.export", response_class=Response, openapi_extra=exports.DOCUMENTED
        )(self.export)
        app.get(
            "/v1/streams:export",
            operation_id="stream.export",
            response_class=Response,
            openapi_extra=exports.DOCUMENTED,
        )(self.export_streams)
        app.post(f"{one}/ban", operation_id="agent.ban", openapi_extra=common.documented(views.BanIn))(self.ban)
        app.get(one, operation_id="agent.show")(self.get)
        app.delete(one, operation_id="agent.delete")(self.delete)

    async def find(self, call: Call, query: Annotated[AgentFilter, Query()]) -> views.AgentPage:
        """Attested agents, banned ones too."""
        chosen = query.chosen(permitted(call, "agent.list"))
        page = await self._agents.find(replace(chosen, limit=query.limit, cursor=query.cursor))
        return views.AgentPage(agents=[views.agent_out(each) for each in page.items], next_cursor=page.next_cursor)

    async def export(self, call: Call, query: Annotated[AgentExport, Query()]) -> Response:
        """The whole listing as a file."""
        chosen = query.chosen(permitted(call, "agent.export"))

        async def fetch(cursor: str | None, limit: int) -> Page[AgentInfo]:
            return await self._agents.find(replace(chosen, limit=limit, cursor=cursor))

        return await exports.export(_AGENTS, query.format, fetch)

    async def streams(self, call: Call, query: Annotated[StreamFilter, Query()]) -> views.StreamPage:
        """The fleet view: every stream that the agents have reported."""
        chosen = query.chosen(permitted(call, "stream.list"))
        page = await self._streams.find(replace(chosen, limit=query.limit, cursor=query.cursor))
        return views.StreamPage(streams=[views.stream_out(each) for each in page.items], next_cursor=page.next_cursor)

    async def export_streams(self, call: Call, query: Annotated[StreamExport, Query()]) -> Response:
        """The fleet view as a file, with a row for each resource of each stream."""
        chosen = query.chosen(permitted(call, "stream.export"))

        async def fetch(cursor: str | None, limit: int) -> Page[Sequence[object]]:
            page = await self._streams.find(replace(chosen, limit=limit, cursor=cursor))
            return Page(tuple(row for each in page.items for row in tables.stream_rows(each)), page.next_cursor)

        return await exports.export(_STREAMS, query.format, fetch)

    async def get(
        self, response: Response, call: Call, agent_id: str, _query: Annotated[NoQuery, Query()]
    ) -> views.AgentOut:
        """One agent."""
        spiffe_id = common.agent_id(agent_id)
        check(call, "agent.show", spiffe_id)
        agent = await self._agents.get(spiffe_id)
        conditional.show_tag(response, agent_version(agent))
        return views.agent_out(agent)

    async def ban(
        self, request: Request, call: Call, agent_id: str, body: OptionalBody, query: Annotated[DryRun, Query()]
    ) -> views.AgentGoneOut:
        """Ends its streams, and refuses it from now on. A dry run says what it asked for, and who holds that now."""
        spiffe_id = common.agent_id(agent_id)
        common.about(request, spiffe_id)
        check(call, "agent.ban", spiffe_id)
        reason = read(views.BanIn, body).reason
        condition = conditional.condition_of(request)
        if query.only_say:
            return await self._would_go(call, spiffe_id, condition)
        return views.agent_gone_out(await self._agents.ban(call, spiffe_id, reason, condition))

    async def delete(
        self, request: Request, call: Call, agent_id: str, query: Annotated[DryRun, Query()]
    ) -> views.AgentGoneOut:
        """Answers with the agent as it stood. A dry run says what it asked for, and who holds that now."""
        spiffe_id = common.agent_id(agent_id)
        common.about(request, spiffe_id)
        check(call, "agent.delete", spiffe_id)
        condition = conditional.condition_of(request)
        if query.only_say:
            return await self._would_go(call, spiffe_id, condition)
        return views.agent_gone_out(await self._agents.delete(call, spiffe_id, condition))

    async def _would_go(self, call: AdminCall, spiffe_id: SpiffeId, condition: Condition) -> views.AgentGoneOut:
        """The agent as it stands, and what it asked for. Raises Conflict."""
        standing = await self._agents.get(spiffe_id)
        condition.check(f"agent {spiffe_id}", agent_version(standing))
        radius = await blast_radius(self._revocations, call, BlockKind.AGENT, str(spiffe_id))
        return views.agent_gone_out(standing, radius)
