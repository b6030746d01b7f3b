"""Asking for tokens: once for all who want it, in few calls, and never in vain while one is at hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from attestation.entry import RegistrationEntry
from attestation.spiffe_id import TrustDomain
from ca.bundle import TrustBundle
from ca.errors import InvalidJwtSvid
from ca.jwt_svid import JwtSigningAuthority
from sds._pb.sds.node.v1 import node_pb2
from sds.agent.errors import ServerUnreachable
from sds.agent.jwt.shelf import Key
from sds.agent.jwt.tokens import JwtSvids, TokenOptions
from sds.backoff import Backoff
from sds.delivery.errors import NotGranted, NotReady
from sds.logs import get_logger
from tests.fakes.clock import EPOCH, FakeClock
from tests.fakes.jwt import bundles_of, counted_ids, forge, issue_jwt, jwt_bundle, make_jwt_authority
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


@pytest.fixture
def agent() -> Agent:
    return Agent()


async def test_a_token_is_asked_for_once_and_kept(agent: Agent) -> None:
    first, again = await agent.fetch(), await agent.fetch()
    assert first == again
    assert agent.server.calls == [[("web", AUDIENCE)]]
    assert agent.requested == ["success", "cached"]
    assert len(agent.tokens) == 1
    other = await agent.fetch(audience=("ledger",))
    assert other != first


async def test_many_callers_share_one_request_and_one_call(agent: Agent) -> None:
    found = await asyncio.gather(*(agent.fetch(WEB, DB) for _ in range(50)))
    assert len({tuple(one) for one in found}) == 1
    assert agent.server.calls == [[("web", AUDIENCE), ("db", AUDIENCE)]]


async def test_large_numbers_are_several_calls_but_not_too_many_at_once() -> None:
    agent = Agent(batch=10, calls=2)
    agent.server.gate = asyncio.Event()
    waiting = [asyncio.create_task(agent.fetch(audience=(f"a{n}",))) for n in range(45)]
    await agent.calls(2)
    assert [len(call) for call in agent.server.calls] == [10, 10]
    agent.server.gate.set()
    await asyncio.gather(*waiting)
    assert [len(call) for call in agent.server.calls] == [10, 10, 10, 10, 5]


async def test_past_half_life_callers_do_not_wait_for_the_next_one(agent: Agent) -> None:
    first = await agent.fetch()
    agent.after(5)
    assert await agent.fetch() == first
    await agent.calls(2)
    assert await agent.fetch() != first


async def test_shortly_before_its_end_callers_get_the_next_one(agent: Agent) -> None:
    first = await agent.fetch()
    agent.after(7.5)
    assert await agent.fetch() != first


@pytest.mark.parametrize("minutes", [1, 5, 7.9])
async def test_an_outage_stops_no_token_before_it_expires(agent: Agent, minutes: float) -> None:
    first = await agent.fetch()
    for unreachable in (None, agent.server):
        agent.link = unreachable
        agent.server.failure = ServerUnreachable("gone")
        agent.after(minutes if unreachable is None else 0)
        assert await agent.fetch() == first
    agent.after(8 - minutes)
    with pytest.raises(NotReady):
        await agent.fetch()


async def test_without_a_server_what_is_not_there_is_not_ready(agent: Agent) -> None:
    agent.link = None
    with pytest.raises(NotReady, match="cannot be reached"):
        await agent.fetch()
    agent.link = agent.server
    assert await agent.fetch()


async def test_a_failure_is_not_repeated_at_once(agent: Agent) -> None:
    agent.server.failure = ServerUnreachable("gone")
    for _ in range(5):
        with pytest.raises(NotReady, match="gone"):
            await agent.fetch()
    assert len(agent.server.calls) == 1
    agent.server.failure = None
    agent.clock.advance(1)
    assert await agent.fetch()
    assert agent.requested == ["failure"] * 5 + ["success"]


def refusing(code: Any, message: str = "no") -> Hook:
    error = node_pb2.SignError(code=code, message=message)
    return lambda item, _: node_pb2.JwtResult(entry_id=item.entry_id, error=error)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (node_pb2.SignError.CODE_REFUSED, NotGranted),
        (node_pb2.SignError.CODE_NOT_AUTHORIZED, NotReady),
        (node_pb2.SignError.CODE_UNAVAILABLE, NotReady),
    ],
)
async def test_what_the_server_refuses(agent: Agent, code: Any, error: type[Exception]) -> None:
    agent.server.change = refusing(code)
    with pytest.raises(error, match="no"):
        await agent.fetch()
    assert agent.requested == ["refused" if error is NotGranted else "failure"]


async def test_one_refused_entry_keeps_no_other_waiting_for_ever(agent: Agent) -> None:
    """All or nothing for one call; but each entry's answer is kept."""
    no = refusing(node_pb2.SignError.CODE_REFUSED)
    agent.server.change = lambda item, result: no(item, result) if item.entry_id == "db" else result
    with pytest.raises(NotGranted):
        await agent.fetch(WEB, DB)
    assert await agent.fetch(WEB)
    assert len(agent.server.calls) == 1


STRANGER = make_jwt_authority()


def with_token(token: str) -> Hook:
    def change(_: node_pb2.JwtItem, result: node_pb2.JwtResult) -> node_pb2.JwtResult:
        result.svid.token = token
        return result

    return change


def misdirected(_: node_pb2.JwtItem, result: node_pb2.JwtResult) -> node_pb2.JwtResult:
    result.entry_id = "db"
    return result


async def test_what_the_server_sends_is_judged(agent: Agent) -> None:
    """A server, or who poses as one, hands out nothing that the audience would refuse or that is somebody else's."""
    own = agent.server.authority
    for change in (
        with_token(""),
        with_token("a.b.c"),
        with_token(forge(STRANGER)),
        with_token(forge(own, sub="spiffe://example.org/db")),
        with_token(forge(own, aud=["reports", "more"])),
        with_token(forge(own, aud=["other"])),
        with_token(forge(own, exp=int(EPOCH.timestamp()) - 5)),
        with_token(forge(own, iat=int(EPOCH.timestamp()) + 3600)),
        misdirected,
        lambda item, _: node_pb2.JwtResult(entry_id=item.entry_id),
    ):
        agent.server.change = change
        with pytest.raises(NotReady):
            await agent.fetch()
        agent.clock.advance(40)  # past every back-off
        assert len(agent.tokens) == 0
    agent.server.change = lambda _, result: result
    assert await agent.fetch()


async def test_too_few_answers(agent: Agent) -> None:
    whole = agent.server.sign_jwt

    async def short(request: node_pb2.SignJwtSvidsRequest) -> node_pb2.SignJwtSvidsResponse:
        answer = await whole(request)
        del answer.results[1:]
        return answer

    agent.server.sign_jwt = short  # type: ignore[method-assign]
    with pytest.raises(NotReady, match="does not fit"):
        await agent.fetch(WEB, DB)
    assert await agent.fetch(WEB)


async def test_a_caller_that_leaves_does_not_spoil_it_for_the_others(agent: Agent) -> None:
    agent.server.gate = asyncio.Event()
    one, other = asyncio.create_task(agent.fetch()), asyncio.create_task(agent.fetch())
    await agent.calls(1)
    one.cancel()
    agent.server.gate.set()
    assert await other
    assert len(agent.server.calls) == 1


async def test_patience_has_an_end() -> None:
    agent = Agent(patience=timedelta(milliseconds=50))
    agent.server.gate = asyncio.Event()
    with pytest.raises(NotReady, match="in time"):
        await agent.fetch()
    agent.server.gate.set()
    await agent.calls(1)
    assert await agent.fetch(), "what came late is there for the next one"
    assert len(agent.server.calls) == 1


async def test_there_are_only_so_many_requests_at_once() -> None:
    agent = Agent(pending=3)
    agent.server.gate = asyncio.Event()
    waiting = [asyncio.create_task(agent.fetch(audience=(f"a{n}",))) for n in range(3)]
    await agent.calls(1)
    with pytest.raises(NotReady, match="too many"):
        await agent.fetch(audience=("one more",))
    agent.server.gate.set()
    await asyncio.gather(*waiting)
    assert await agent.fetch(audience=("one more",))


async def test_an_entry_that_goes_while_it_is_signed_leaves_no_token(agent: Agent) -> None:
    agent.server.gate = asyncio.Event()
    asking = asyncio.create_task(agent.fetch())
    await agent.calls(1)
    del agent.entries["web"]
    agent.server.gate.set()
    await asking
    assert len(agent.tokens) == 0
    with pytest.raises((NotReady, NotGranted)):
        await agent.fetch()


# Authorities


async def test_of_a_tainted_authority_callers_get_a_new_one_and_only_in_need_the_old(agent: Agent) -> None:
    old = agent.server.authority
    first = await agent.fetch()
    agent.server.authority = make_jwt_authority()
    agent.authorities.append(agent.server.authority)
    agent.tainted = frozenset({old.authority.id})
    agent.link = None
    assert await agent.fetch() == first, "it still verifies, and there is no other"
    agent.link = agent.server
    assert await agent.fetch() != first


async def test_of_a_revoked_authority_nobody_gets_anything(agent: Agent) -> None:
    await agent.fetch()
    agent.server.authority = make_jwt_authority()
    agent.authorities = [agent.server.authority]
    agent.link = None
    with pytest.raises(NotReady):
        await agent.fetch()
    agent.link = agent.server
    assert await agent.fetch()


async def test_a_token_that_our_bundle_cannot_verify_yet_is_asked_for_again(agent: Agent) -> None:
    agent.server.authority = make_jwt_authority()
    with pytest.raises(NotReady, match="cannot be used"):
        await agent.fetch()
    agent.authorities.append(agent.server.authority)
    agent.clock.advance(1)
    assert await agent.fetch()


# By itself


async def test_tokens_in_use_are_renewed_before_anybody_asks(agent: Agent) -> None:
    async with agent.running():
        first = await agent.fetch()
        agent.after(4.5)
        agent.tokens._wake.set()
        await agent.calls(2)
        agent.link = None
        agent.after(7)
        assert await agent.fetch() != first, "the outage found a fresh one"


async def test_what_nobody_uses_is_let_go(agent: Agent) -> None:
    async with agent.running():
        await agent.fetch()
        agent.after(4.5)
        agent.tokens._wake.set()
        await agent.calls(2)
        agent.after(4.5)
        agent.tokens._wake.set()
        await asyncio.sleep(0.05)
        assert len(agent.server.calls) == 2, "it was not used since"
        agent.after(4)
        agent.tokens._wake.set()
        await asyncio.sleep(0.05)
        assert len(agent.tokens) == 0


async def test_a_long_outage_keeps_the_loop_quiet(agent: Agent) -> None:
    looks = 0
    look = agent.tokens._look

    def counted() -> float:
        nonlocal looks
        looks += 1
        return look()

    agent.tokens._look = counted  # type: ignore[method-assign]
    async with agent.running():
        await agent.fetch()
        agent.link = None
        agent.after(5)
        agent.tokens._wake.set()
        await asyncio.sleep(0.5)
    assert looks < 6


async def test_an_entry_takes_its_tokens_along(agent: Agent) -> None:
    async with agent.running():
        await agent.fetch(WEB, DB)
        del agent.entries["web"]
        agent.tokens._wake.set()
        await asyncio.sleep(0.05)
        assert len(agent.tokens) == 1


# Validation


async def test_tokens_of_others_are_validated(agent: Agent) -> None:
    (token,) = await agent.fetch()
    assert agent.tokens.validate((DB,), token, "reports").spiffe_id == WEB.spiffe_id
    with pytest.raises(InvalidJwtSvid):
        agent.tokens.validate((DB,), token, "other")
    assert agent.validated == ["success", "refused"]
    agent.authorities = []
    with pytest.raises(NotReady):
        agent.tokens.validate((DB,), token, "reports")


async def test_foreign_tokens_only_for_who_federates(agent: Agent) -> None:
    domain = TrustDomain("example.com")
    foreign = make_jwt_authority(domain)
    agent.foreign = dict(bundles_of(foreign))
    token = issue_jwt(foreign, "spiffe://example.com/api", now=datetime(2026, 1, 1, tzinfo=UTC)).token.reveal()
    friend = replace(WEB, spec=replace(WEB.spec, federates_with=(domain,)))
    assert str(agent.tokens.validate((friend,), token, "reports").spiffe_id) == "spiffe://example.com/api"
    with pytest.raises(InvalidJwtSvid, match="no JWT keys"):
        agent.tokens.validate((WEB,), token, "reports")
