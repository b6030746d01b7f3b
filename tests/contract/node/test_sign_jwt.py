"""SignJwtSvids on a real server: whose token an agent gets, what is written down, and what is refused."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import grpc
import pytest

from attestation.spiffe_id import TrustDomain
from ca.bundle import TrustBundle, parse_spiffe_json
from ca.jwt_verify import JwtSvid, validate
from sds._pb.sds.node.v1 import node_pb2
from tests.contract.node.harness import (
    AGENT,
    DEADLINE,
    OTHER_AGENT,
    TD,
    Identity,
    Node,
    next_message,
    running,
    status_of,
)

CODES = node_pb2.SignError


async def sign(node: Node, who: Identity, *items: tuple[str, tuple[str, ...]]) -> list[Any]:
    request = node_pb2.SignJwtSvidsRequest(
        items=[
            node_pb2.JwtItem(
                entry_id=entry_id, audience=audience, process=node_pb2.ProcessInfo(pid=7, uid=8, path="/p")
            )
            for entry_id, audience in items
        ]
    )
    return list((await node.node(who).SignJwtSvids(request, timeout=DEADLINE)).results)


async def bundle(node: Node) -> TrustBundle:
    return parse_spiffe_json(TD, (await node.admin.get("/v1/bundle", params={"format": "spiffe"})).content)


async def verified(node: Node, token: str, audience: str = "reports") -> JwtSvid:
    bundles: dict[TrustDomain, TrustBundle] = {TD: await bundle(node)}
    return validate(token, bundles, audience, node.clock.now())


async def test_a_token_is_signed_audited_and_verifies(node: Node) -> None:
    agent = await node.attest()
    entry = await node.entry("/web", jwt_ttl=120)
    (result,) = await sign(node, agent, (entry["id"], ("reports", "a")))
    svid = await verified(node, result.svid.token)
    assert str(svid.spiffe_id) == result.svid.spiffe_id == "spiffe://example.org/web"
    assert (result.entry_id, result.entry_revision) == (entry["id"], 1)
    assert svid.claims["exp"] - svid.claims["iat"] == 120
    assert result.svid.expires_at.seconds == svid.claims["exp"]
    (event,) = await node.events("token.issue")
    assert event["target"]["id"] == svid.claims["jti"]
    assert event["actor"]["id"] == AGENT
    details = event["details"]
    assert (details["entry_id"], details["audience"], details["process"]["pid"]) == (entry["id"], ["a", "reports"], 7)
    assert result.svid.token not in json.dumps(await node.events("token.issue"))
    assert await node.metric("sds_server_issued_total", profile="jwt", outcome="success") == 1


async def test_the_watch_tells_the_keys_by_which_it_verifies(node: Node) -> None:
    agent = await node.attest()
    first = await next_message(node.node(agent).WatchAuthorized(node_pb2.WatchAuthorizedRequest()))
    keys = {key.key_id: key.public_key for key in first.bundle.jwt_authorities}
    assert keys == {key.id: key.public_key for key in (await bundle(node)).jwt_keys}
    assert len(keys) == 1


async def test_an_agent_gets_tokens_only_for_what_is_parented_to_it(node: Node) -> None:
    agent, other = await node.attest(), await node.attest(OTHER_AGENT)
    entry = await node.entry("/web")
    assert (await sign(node, agent, (entry["id"], ("a",))))[0].WhichOneof("result") == "svid"
    for asked in (entry["id"], "unknown", ""):
        (result,) = await sign(node, other, (asked, ("a",)))
        assert (result.error.code, result.entry_id) == (CODES.CODE_NOT_AUTHORIZED, asked)
    refused = [event for event in await node.events("token.issue") if event["outcome"] == "refused"]
    assert [event["target"]["id"] for event in refused] == [entry["id"], "unknown", ""]
    assert {event["actor"]["id"] for event in refused} == {OTHER_AGENT}


async def test_each_item_has_its_own_answer(node: Node) -> None:
    agent = await node.attest()
    web, db = await node.entry("/web"), await node.entry("/db")
    results = await sign(node, agent, (web["id"], ("a",)), (db["id"], ()), ("unknown", ("a",)), (db["id"], ("b",)))
    assert [result.WhichOneof("result") for result in results] == ["svid", "error", "error", "svid"]
    assert [results[n].error.code for n in (1, 2)] == [CODES.CODE_REFUSED, CODES.CODE_NOT_AUTHORIZED]


async def test_after_a_deletion_and_a_ban_there_is_nothing(node: Node) -> None:
    agent = await node.attest()
    entry = await node.entry("/web")
    await node.api("DELETE", f"/v1/entries/{entry['id']}")
    assert (await sign(node, agent, (entry["id"], ("a",))))[0].error.code == CODES.CODE_NOT_AUTHORIZED
    await node.api("POST", f"/v1/agents/{AGENT}/ban", {"reason": "x"})
    assert (await status_of(sign(node, agent, (entry["id"], ("a",)))))[0] is grpc.StatusCode.PERMISSION_DENIED


async def test_without_a_certificate_there_is_no_such_method(node: Node) -> None:
    method = node.channel().unary_unary("/sds.node.v1.Node/SignJwtSvids")
    assert (await status_of(method(b"")))[0] is grpc.StatusCode.UNIMPLEMENTED


async def test_many_at_once_share_transactions(node: Node) -> None:
    agent = await node.attest()
    entry = await node.entry("/web")
    before = await node.metric("sds_server_store_transactions_total", mode="write", outcome="success")
    found = await asyncio.gather(*(sign(node, agent, (entry["id"], (f"a{n}",))) for n in range(40)))
    after = await node.metric("sds_server_store_transactions_total", mode="write", outcome="success")
    assert len({result.svid.token for (result,) in found}) == 40
    assert after - before < 40
    assert len(await node.events("token.issue")) == 40


async def test_too_many_in_one_call_and_hostile_audiences() -> None:
    async with running(limits__max_csr_batch=2) as node:
        agent = await node.attest()
        entry = await node.entry("/web")
        many = [(entry["id"], ("a",))] * 3
        assert (await status_of(sign(node, agent, *many)))[0] is grpc.StatusCode.INVALID_ARGUMENT
        for audience in (("",), ("a\x00",), ("a" * 5000,), tuple(f"a{n}" for n in range(100))):
            (result,) = await sign(node, agent, (entry["id"], audience))
            assert result.error.code == CODES.CODE_REFUSED
        assert await node.events("token.issue") == []


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "RS256", "PS256"])
async def test_the_configured_algorithm_and_issuer(algorithm: str) -> None:
    async with running(jwt__algorithm=algorithm, jwt__issuer="https://oidc.example.org", jwt__default_ttl="1m") as node:
        agent = await node.attest()
        entry = await node.entry("/web")
        (result,) = await sign(node, agent, (entry["id"], ("reports",)))
        svid = await verified(node, result.svid.token)
        assert (svid.claims["iss"], svid.claims["exp"] - svid.claims["iat"]) == ("https://oidc.example.org", 60)
        (event,) = await node.events("token.issue")
        assert event["details"]["algorithm"] == algorithm


async def test_after_a_rotation_the_next_authority_signs_and_a_revoked_one_is_gone(node: Node) -> None:
    agent = await node.attest()
    entry = await node.entry("/web")
    (old,) = (await bundle(node)).jwt_keys
    prepared = (await node.api("POST", "/v1/authorities:prepare", {"kind": "jwt"}))["id"]
    await node.api("POST", f"/v1/authorities/{prepared}:activate", {"force": True})
    (result,) = await sign(node, agent, (entry["id"], ("reports",)))
    assert (await verified(node, result.svid.token)).key_id == prepared
    await node.api("POST", f"/v1/authorities/{old.id}:taint")
    await node.api("POST", f"/v1/authorities/{old.id}:revoke")
    assert [key.id for key in (await bundle(node)).jwt_keys] == [prepared]
