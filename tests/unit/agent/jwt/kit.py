"""An agent that asks for tokens, and the server that it asks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from attestation.entry import RegistrationEntry
from attestation.spiffe_id import TrustDomain
from ca.bundle import TrustBundle
from ca.jwt_svid import JwtSigningAuthority
from sds._pb.sds.node.v1 import node_pb2
from sds.agent.jwt.shelf import Key
from sds.agent.jwt.tokens import JwtSvids, TokenOptions
from sds.backoff import Backoff
from sds.logs import get_logger
from tests.fakes.clock import FakeClock
from tests.fakes.jwt import counted_ids, issue_jwt, jwt_bundle, make_jwt_authority
from tests.unit.agent.entries import entry

WEB, DB = entry("web"), entry("db")
AUDIENCE = ("reports",)
BACKOFF = Backoff(timedelta(seconds=1), timedelta(seconds=30))
Hook = Callable[[node_pb2.JwtItem, node_pb2.JwtResult], node_pb2.JwtResult]


class Server:
    """The far end of a link, with a JWT authority of its own."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.authority = make_jwt_authority()
        self.entries = {one.id: one for one in (WEB, DB)}
        self.calls: list[list[Key]] = []
        self.failure: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.change: Hook = lambda _, result: result
        self.ids = counted_ids()

    async def sign_jwt(self, request: node_pb2.SignJwtSvidsRequest) -> node_pb2.SignJwtSvidsResponse:
        self.calls.append([(item.entry_id, tuple(item.audience)) for item in request.items])
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return node_pb2.SignJwtSvidsResponse(results=[self.change(item, self.result(item)) for item in request.items])

    def result(self, item: node_pb2.JwtItem) -> node_pb2.JwtResult:
        of = self.entries[item.entry_id]
        ttl = of.spec.jwt_svid_ttl or timedelta(minutes=8)
        token = issue_jwt(self.authority, str(of.spiffe_id), tuple(item.audience), ttl=ttl, now=self.clock.now())
        issued = Timestamp()
        issued.FromDatetime(token.intent.issued_at)
        svid = node_pb2.JwtSvid(token=token.token.reveal(), spiffe_id=str(of.spiffe_id), issued_at=issued)
        return node_pb2.JwtResult(entry_id=of.id, entry_revision=of.revision, svid=svid)


class Agent:
    """What JwtSvids sees of the rest: the cache, the connection, the counters."""

    def __init__(self, **options: Any) -> None:
        self.clock = FakeClock()
        self.server = Server(self.clock)
        self.link: Server | None = self.server
        self.entries: dict[str, RegistrationEntry] = dict(self.server.entries)
        self.authorities: list[JwtSigningAuthority] = [self.server.authority]
        self.tainted: frozenset[str] = frozenset()
        self.foreign: dict[TrustDomain, TrustBundle] = {}
        self.requested: list[str] = []
        self.validated: list[str] = []
        self.tokens = JwtSvids(
            self, self, self.bundles, BACKOFF, TokenOptions(**options), self, self.clock, get_logger("test")
        )  # type: ignore[arg-type]

    @property
    def bundle(self) -> TrustBundle | None:
        return jwt_bundle(*self.authorities, tainted=self.tainted) if self.authorities else None

    def bundles(self, entries: Sequence[RegistrationEntry]) -> dict[TrustDomain, TrustBundle]:
        named = {domain for one in entries for domain in one.spec.federates_with}
        own = self.bundle
        return {} if own is None else {own.trust_domain: own} | {d: self.foreign[d] for d in named}

    def member_for(self, entry_id: str) -> None:
        return None

    def token_requested(self, outcome: str) -> None:
        self.requested.append(outcome)

    def token_validated(self, outcome: str) -> None:
        self.validated.append(outcome)

    async def fetch(self, *entries: RegistrationEntry, audience: tuple[str, ...] = AUDIENCE) -> list[str]:
        return [one.token.reveal() for one in await self.tokens.fetch(entries or (WEB,), audience)]

    def after(self, minutes: float) -> None:
        self.clock.advance(minutes * 60)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.tokens.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def calls(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.server.calls) < count:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.02)


def refusing(code: Any, message: str = "no") -> Hook:
    error = node_pb2.SignError(code=code, message=message)
    return lambda item, _: node_pb2.JwtResult(entry_id=item.entry_id, error=error)
