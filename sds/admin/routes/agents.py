"""/v1/agents: attested agents. /v1/streams: what the sidecars hold."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import FastAPI, Query
from starlette.requests import Request

from attestation.spiffe_id import SpiffeId
from sds.admin.access.decide import check, permitted
from sds.admin.routes import common
from sds.admin.routes.common import Call, NoQuery, OptionalBody, Paging
from sds.admin.services import AdminCall, AgentAdmin, AgentQuery, StreamAdmin, StreamQuery
from sds.admin.wire import views
from sds.admin.wire.common import MAX_TEXT, read


class AgentFilter(Paging):
    banned: bool | None = None
    attestation_type: Annotated[str | None, Query(max_length=64)] = None


class StreamFilter(Paging):
    agent_id: str | None = None
    spiffe_id: str | None = None
    node_id: Annotated[str | None, Query(max_length=MAX_TEXT)] = None
    protocol: Literal["sotw", "delta", "ads-sotw", "ads-delta", "workload-api"] | None = None
    resource: Annotated[str | None, Query(max_length=2048)] = None
    nacked: Literal["true", "false"] | None = None
    behind: Literal["true", "false"] | None = None
    sort: Literal["agent", "-agent", "opened", "-opened", "lag", "-lag"] = "agent"

    def query(self, call: AdminCall) -> StreamQuery:
        return StreamQuery(
            agent_id=None if self.agent_id is None else SpiffeId.parse(self.agent_id),
            spiffe_id=None if self.spiffe_id is None else SpiffeId.parse(self.spiffe_id),
            node_id=self.node_id,
            protocol=self.protocol,
            resource=self.resource,
            nacked=common.yes_or_no(self.nacked),
            behind=common.yes_or_no(self.behind),
            order=self.sort,
            scopes=permitted(call, "stream.list"),
            limit=self.limit,
            cursor=self.cursor,
        )


class AgentRoutes:
    """An agent's path is its percent-encoded SPIFFE ID; slashes may also stand as they are."""

    def __init__(self, agents: AgentAdmin, streams: StreamAdmin) -> None:
        self._agents = agents
        self._streams = streams

    def mount(self, app: FastAPI) -> None:
        one = "/v1/agents/{agent_id:path}"
        app.get("/v1/agents", operation_id="agent.list")(self.find)
        app.get("/v1/streams", operation_id="stream.list")(self.streams)
        app.post(f"{one}/ban", operation_id="agent.ban", openapi_extra=common.documented(views.BanIn))(self.ban)
        app.get(one, operation_id="agent.show")(self.get)
        app.delete(one, operation_id="agent.delete")(self.delete)

    async def find(self, call: Call, query: Annotated[AgentFilter, Query()]) -> views.AgentPage:
        asked = AgentQuery(
            query.banned, query.attestation_type, query.limit, query.cursor, permitted(call, "agent.list")
        )
        page = await self._agents.find(asked)
        return views.AgentPage(agents=[views.agent_out(each) for each in page.items], next_cursor=page.next_cursor)

    async def streams(self, call: Call, query: Annotated[StreamFilter, Query()]) -> views.StreamPage:
        """The fleet view: every stream that the agents have reported."""
        page = await self._streams.find(query.query(call))
        return views.StreamPage(streams=[views.stream_out(each) for each in page.items], next_cursor=page.next_cursor)

    async def get(self, call: Call, agent_id: str, _query: Annotated[NoQuery, Query()]) -> views.AgentOut:
        spiffe_id = common.agent_id(agent_id)
        check(call, "agent.show", spiffe_id)
        return views.agent_out(await self._agents.get(spiffe_id))

    async def ban(
        self, request: Request, call: Call, agent_id: str, body: OptionalBody, _query: Annotated[NoQuery, Query()]
    ) -> views.AgentOut:
        spiffe_id = common.agent_id(agent_id)
        common.about(request, spiffe_id)
        check(call, "agent.ban", spiffe_id)
        return views.agent_out(await self._agents.ban(call, spiffe_id, read(views.BanIn, body).reason))

    async def delete(
        self, request: Request, call: Call, agent_id: str, _query: Annotated[NoQuery, Query()]
    ) -> views.AgentOut:
        """Answers with the agent as it stood."""
        spiffe_id = common.agent_id(agent_id)
        common.about(request, spiffe_id)
        check(call, "agent.delete", spiffe_id)
        return views.agent_out(await self._agents.delete(call, spiffe_id))
