"""Asking for tokens: once for all who want it, in few calls, and never in vain while one is at hand."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from attestation.spiffe_id import TrustDomain
from ca.errors import InvalidJwtSvid
from sds.agent.errors import ServerUnreachable
from sds.delivery.errors import NotReady
from tests.fakes.jwt import bundles_of, issue_jwt, make_jwt_authority
from tests.unit.agent.jwt.kit import AUDIENCE, DB, WEB, Agent


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
