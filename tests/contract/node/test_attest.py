"""NodeAttestation.Attest over TLS: a token is good once, every refusal is seen, and nothing is lost without a trace."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import grpc
import pytest
from cryptography import x509

from ca.keys import KeyType, generate
from ca.svid import parse_svid
from sds._pb.sds.node.v1 import node_pb2
from tests.contract.node.harness import AGENT, Node, agent_path, bundle_pem, csr, running, status_of

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
REFUSED = "the join token is unknown, used or expired"


async def test_a_token_makes_an_agent(node: Node) -> None:
    key = generate(KeyType.ECDSA_P256)
    answer = await node.attest_request(await node.token(AGENT), key=key)
    svid = parse_svid(tuple(answer.svid.certificate_chain))
    assert str(svid.spiffe_id) == answer.svid.spiffe_id == AGENT
    leaf = x509.load_der_x509_certificate(svid.chain[0])
    assert leaf.public_key() == key.public_key()
    assert answer.svid.not_after.ToSeconds() == int(leaf.not_valid_after_utc.timestamp())
    assert bundle_pem(answer.bundle) == node.roots
    assert answer.bundle.trust_domain == "example.org"
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(node.roots))
    agent = await node.api("GET", agent_path(AGENT))
    assert agent["serial"] == svid.serial


async def test_it_is_all_in_the_audit_log_and_the_token_is_not(node: Node) -> None:
    token = await node.token(AGENT)
    answer = await node.attest_request(token)
    serial = parse_svid(tuple(answer.svid.certificate_chain)).serial
    (attested,) = await node.events("agent.attest")
    assert attested["outcome"] == "success"
    assert attested["actor"]["address"] == "127.0.0.1"
    assert attested["details"]["serial"] == serial
    issued = [event for event in await node.events("certificate.issue") if event["target"]["id"] == serial]
    assert len(issued) == 1
    assert issued[0]["request_id"] == attested["request_id"]
    everything = (await node.admin.get("/v1/audit", params={"limit": 1000})).text
    assert token not in everything
    assert token.removeprefix("sds_join_") not in everything


async def test_a_token_without_an_id_names_a_random_agent(node: Node) -> None:
    first = await node.attest_request(await node.token(None))
    second = await node.attest_request(await node.token(None))
    assert first.svid.spiffe_id != second.svid.spiffe_id
    assert first.svid.spiffe_id.startswith("spiffe://example.org/sds/agent/join_token/")


@pytest.mark.parametrize(
    "token",
    ["", "nonsense", "sds_join_" + "A" * 43, "x" * 100_000, "sds_join_" + "\0" * 43],
    ids=["empty", "nonsense", "unknown", "huge", "nul"],
)
async def test_a_wrong_token_is_refused_counted_and_audited(node: Node, token: str) -> None:
    code, text = await status_of(node.attest_request(token))
    assert code is UNAUTHENTICATED
    assert REFUSED in text
    (event,) = await node.events("agent.attest")
    assert event["outcome"] == "refused"
    assert event["actor"]["address"] == "127.0.0.1"
    assert "token" in event["reason"]
    assert await node.metric("sds_server_node_attestations_total", type="join_token", outcome="refused") == 1
    assert await node.metric("sds_server_refusals_total", action="agent.attest") == 1


async def test_a_used_token_is_refused_and_only_the_log_knows_why(node: Node) -> None:
    token = await node.token()
    await node.attest_request(token)
    code, text = await status_of(node.attest_request(token))
    assert (code, "used)" in text) == (UNAUTHENTICATED, False)
    refused = [event for event in await node.events("agent.attest") if event["outcome"] == "refused"]
    assert refused[0]["reason"].endswith("(used)")


async def test_of_many_who_use_a_token_at_once_one_succeeds(node: Node) -> None:
    token = await node.token()
    results = await asyncio.gather(*(node.attest_request(token) for _ in range(12)), return_exceptions=True)
    errors = [result for result in results if isinstance(result, grpc.aio.AioRpcError)]
    assert len(errors) == 11
    assert {error.code() for error in errors} == {UNAUTHENTICATED}
    attested = [event for event in await node.events("agent.attest") if event["outcome"] == "success"]
    assert len(attested) == 1
    agents = [event for event in await node.events("certificate.issue") if event["details"]["profile"] == "agent"]
    assert len(agents) == 1


async def test_an_expired_token_is_refused(node: Node) -> None:
    token = await node.token(ttl=30)
    node.clock.offset = timedelta(seconds=31)
    code, _ = await status_of(node.attest_request(token))
    assert code is UNAUTHENTICATED
    (event,) = await node.events("agent.attest")
    assert event["reason"].endswith("(expired)")


async def test_a_bad_csr_costs_no_token(node: Node) -> None:
    token = await node.token()
    for bad in (b"", b"\x30\x03\x02\x01\x01", b"\xff" * 5000, csr()[:-4] + b"\0\0\0\0", b"\x30" * 20_000):
        request = node_pb2.AttestRequest(type="join_token", payload=token.encode(), csr=bad)
        code, _ = await status_of(node.attestation().Attest(request))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert (await node.attest_request(token)).svid.spiffe_id == AGENT


async def test_an_unknown_way_to_attest_is_refused(node: Node) -> None:
    for kind in ("", "k8s_psat", "join_token\n", "x" * 1000):
        request = node_pb2.AttestRequest(type=kind, payload=b"x", csr=csr())
        code, text = await status_of(node.attestation().Attest(request))
        assert (code, "it knows: join_token" in text) == (UNAUTHENTICATED, True)


async def test_a_banned_agent_cannot_attest_again_until_it_is_deleted(node: Node) -> None:
    token = await node.token(AGENT)
    await node.attest(AGENT)
    path = agent_path(AGENT)
    await node.api("POST", f"{path}/ban", {"reason": "stolen"})
    code, text = await status_of(node.attest_request(token))
    assert (code, "banned" in text) == (UNAUTHENTICATED, True)
    await node.admin.delete(path)
    # The refused attempt did not use the token up: the whole transaction was undone.
    assert (await node.attest_request(token)).svid.spiffe_id == AGENT


async def test_tries_are_limited_by_address() -> None:
    async with running(limits__attest_rate="0.01", limits__attest_burst="3") as node:
        token = await node.token()
        codes = [(await status_of(node.attest_request("wrong")))[0] for _ in range(5)]
        assert codes == [UNAUTHENTICATED] * 3 + [grpc.StatusCode.RESOURCE_EXHAUSTED] * 2
        code, _ = await status_of(node.attest_request(token))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await node.metric("sds_server_refusals_total", action="agent.attest") == 6


async def test_a_flood_of_wrong_tokens_is_summed_up_in_the_log(node: Node) -> None:
    stub = node.attestation()
    request = node_pb2.AttestRequest(type="join_token", payload=b"wrong", csr=csr())
    await asyncio.gather(*(status_of(stub.Attest(request)) for _ in range(60)))
    assert await node.metric("sds_server_refusals_total", action="agent.attest") == 60
    events = await node.events("agent.attest")
    assert 1 <= len(events) <= 15


async def test_malformed_and_oversized_messages_are_typed_errors(node: Node) -> None:
    channel = node.channel()
    raw = channel.unary_unary("/sds.node.v1.NodeAttestation/Attest")
    code, text = await status_of(raw(b"\xff\xff\xff\xff"))
    assert (code, "AttestRequest" in text) == (grpc.StatusCode.INVALID_ARGUMENT, True)
    code, _ = await status_of(raw(b"\0" * 5_000_000))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    unknown = channel.unary_unary("/sds.node.v1.NodeAttestation/Nothing")
    assert (await status_of(unknown(b"")))[0] is grpc.StatusCode.UNIMPLEMENTED
    elsewhere = channel.unary_unary("/sds.node.v1.Node/Renew")
    assert (await status_of(elsewhere(b"")))[0] is grpc.StatusCode.UNIMPLEMENTED


async def test_the_server_is_known_by_its_reserved_name_alone(node: Node) -> None:
    stub = node.channel(dns="www.example.org").unary_unary("/sds.node.v1.NodeAttestation/Attest")
    code, _ = await status_of(stub(b"", timeout=3))
    assert code is grpc.StatusCode.UNAVAILABLE
