"""What a server refuses or sends wrongly, and callers that leave, wait or are too many."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from sds._pb.sds.node.v1 import node_pb2
from sds.delivery.errors import NotGranted, NotReady
from tests.fakes.clock import EPOCH
from tests.fakes.jwt import forge, make_jwt_authority
from tests.unit.agent.jwt.kit import DB, WEB, Agent, Hook, refusing


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
