"""The rpc SignIntermediate: who may call it, and what the others are told."""

from __future__ import annotations

from datetime import timedelta

import grpc

from ca.upstreams.issuing import PROFILE
from sds._pb.sds.node.v1 import node_pb2
from sds.audit.event import Target
from sds.server.downstream.intermediates import Intermediates, NotDownstream, TooMany
from sds.server.events import agent_actor
from sds.server.identity import AgentCaller
from sds.server.refusals import Refusal, RefusalLog
from sds.server.rpc import CallRefused


class DownstreamApi:
    """Behind sds.server.node_api, which has found out who calls."""

    def __init__(self, intermediates: Intermediates, refusals: RefusalLog) -> None:
        self._intermediates = intermediates
        self._refusals = refusals

    async def sign(
        self, caller: AgentCaller, request: node_pb2.SignIntermediateRequest
    ) -> node_pb2.SignIntermediateResponse:
        """Raises CallRefused, CaError, StoreError."""
        try:
            minted = await self._intermediates.sign(caller, request.csr, _ttl(request))
        except NotDownstream as refusal:
            await self._note(caller, str(refusal))
            raise CallRefused(grpc.StatusCode.PERMISSION_DENIED, str(refusal)) from None
        except TooMany as refusal:
            await self._note(caller, str(refusal))
            raise CallRefused(grpc.StatusCode.RESOURCE_EXHAUSTED, str(refusal)) from None
        return node_pb2.SignIntermediateResponse(certificate_chain=minted.chain, upstream_roots=minted.roots)

    async def _note(self, caller: AgentCaller, reason: str) -> None:
        actor = agent_actor(caller.agent_id, caller.address)
        await self._refusals.note(
            Refusal(
                action="certificate.issue",
                actor=actor,
                target=Target("profile", PROFILE),
                reason=reason,
                request_id=caller.request_id,
                source=actor.id,
            )
        )


def _ttl(request: node_pb2.SignIntermediateRequest) -> timedelta | None:
    """None: the server's default. Raises CallRefused."""
    if not request.HasField("ttl"):
        return None
    try:
        return timedelta(seconds=request.ttl.seconds, microseconds=request.ttl.nanos // 1000)
    except OverflowError:
        raise CallRefused(grpc.StatusCode.INVALID_ARGUMENT, "ttl is out of range") from None
