"""Node.Renew, and who may call the Node service at all: the certificate decides, on every call."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from ca.keys import KeyType, generate
from ca.svid import parse_svid
from sds._pb.sds.node.v1 import node_pb2, node_pb2_grpc
from sds.server.refusals import PER_SOURCE
from tests.contract.node.harness import (
    AGENT,
    DEADLINE,
    OTHER_AGENT,
    Identity,
    Node,
    agent_path,
    bundle_pem,
    csr,
    next_message,
    running,
    status_of,
)

UNAUTHENTICATED, DENIED = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED


async def renew(node: Node, identity: Identity) -> Identity:
    key = generate(KeyType.ECDSA_P256)
    answer = await node.node(identity).Renew(node_pb2.RenewRequest(csr=csr(key)), timeout=DEADLINE)
    return Identity(key, parse_svid(tuple(answer.svid.certificate_chain)))


async def workload(node: Node, agent: Identity, path: str = "/web", **entry: object) -> Identity:
    """A workload's own certificate, signed the regular way."""
    made = await node.entry(path, **entry)
    key = generate(KeyType.ECDSA_P256)
    item = node_pb2.SignItem(entry_id=made["id"], csr=csr(key))
    answer = await node.node(agent).SignX509Svids(node_pb2.SignX509SvidsRequest(items=[item]))
    return Identity(key, parse_svid(tuple(answer.results[0].svid.certificate_chain)))


async def test_an_agent_renews_for_a_new_key(node: Node) -> None:
    agent = await node.attest()
    key = generate(KeyType.ECDSA_P256)
    answer = await node.node(agent).Renew(node_pb2.RenewRequest(csr=csr(key)))
    svid = parse_svid(tuple(answer.svid.certificate_chain))
    assert str(svid.spiffe_id) == AGENT
    assert svid.serial != agent.svid.serial
    assert bundle_pem(answer.bundle) == node.roots
    shown = await node.api("GET", agent_path(AGENT))
    assert shown["serial"] == svid.serial
    assert shown["renewed_at"] is not None
    (event,) = await node.events("agent.renew")
    assert event["details"]["by_serial"] == agent.svid.serial
    assert await node.metric("sds_server_node_attestations_total", type="renewal", outcome="success") == 1


async def test_a_lost_answer_locks_nobody_out(node: Node) -> None:
    """The certificate before the newest one goes on working, and so does the one before that, until they expire."""
    first = await node.attest()
    second = await renew(node, first)
    await renew(node, first)
    third = await renew(node, first)
    assert len({first.svid.serial, second.svid.serial, third.svid.serial}) == 3
    await renew(node, second)
    await renew(node, third)


async def test_attesting_anew_ends_older_certificates(node: Node) -> None:
    old = await node.attest()
    stream = node.node(old).WatchAuthorized(node_pb2.WatchAuthorizedRequest())
    await next_message(stream)
    new = await node.attest()
    code, _ = await status_of(next_message(stream))
    assert code is DENIED
    code, _ = await status_of(renew(node, old))
    assert code is DENIED
    await renew(node, new)


async def test_no_certificate_is_no_connection(node: Node) -> None:
    stub = node_pb2_grpc.NodeStub(node.channel(name="main"))
    code, _ = await status_of(stub.Renew(node_pb2.RenewRequest(csr=csr()), timeout=DEADLINE))
    assert code is grpc.StatusCode.UNAVAILABLE


async def test_a_certificate_of_another_authority_is_no_connection(node: Node) -> None:
    async with running() as other:
        stranger = await other.attest()
        stub = node_pb2_grpc.NodeStub(node.channel(stranger))
        code, _ = await status_of(stub.Renew(node_pb2.RenewRequest(csr=csr()), timeout=DEADLINE))
        assert code is grpc.StatusCode.UNAVAILABLE


async def test_a_certificate_that_expires_while_connected_ends_calls_and_streams(node: Node) -> None:
    agent = await node.attest()
    stub = node.node(agent)
    stream = stub.WatchAuthorized(node_pb2.WatchAuthorizedRequest())
    await next_message(stream)
    node.clock.offset = timedelta(days=1, seconds=1)
    code, text = await status_of(stub.Renew(node_pb2.RenewRequest(csr=csr())))
    assert (code, "expired" in text) == (UNAUTHENTICATED, True)
    await node.entry()  # wakes the stream; without it the next look is a few seconds away
    code, _ = await status_of(next_message(stream))
    assert code is UNAUTHENTICATED


async def test_an_expired_certificate_is_no_connection() -> None:
    async with running(ca__agent_ttl="5s") as node:
        agent = await node.attest()
        stub = node.node(agent)
        await stub.Renew(node_pb2.RenewRequest(csr=csr()))
        await asyncio.sleep(5.5)
        assert (await status_of(stub.Renew(node_pb2.RenewRequest(csr=csr()))))[0] is UNAUTHENTICATED
        fresh = node.node(agent)
        code, _ = await status_of(fresh.Renew(node_pb2.RenewRequest(csr=csr()), timeout=DEADLINE))
        assert code is grpc.StatusCode.UNAVAILABLE


async def test_a_workload_is_no_agent(node: Node) -> None:
    agent = await node.attest()
    web = await workload(node, agent)
    stub = node.node(web)
    calls = (
        stub.Renew(node_pb2.RenewRequest(csr=csr())),
        stub.SignX509Svids(node_pb2.SignX509SvidsRequest()),
        stub.ReportDelivery(node_pb2.ReportDeliveryRequest(run_id="r", sequence=1)),
        next_message(stub.WatchAuthorized(node_pb2.WatchAuthorizedRequest())),
    )
    for call in calls:
        assert (await status_of(call))[0] is DENIED
    events = await node.events("node.call")
    assert {event["actor"]["id"] for event in events} == {"spiffe://example.org/web"}
    assert {event["outcome"] for event in events} == {"refused"}
    assert {event["actor"]["address"] for event in events} == {"127.0.0.1"}
    assert {event["target"]["id"] for event in events} >= {"Renew", "SignX509Svids"}


async def test_a_workload_with_an_agents_name_is_no_agent(node: Node) -> None:
    """A token may name any path, so an entry can bear the same ID: the serial tells them apart."""
    agent = await node.attest("spiffe://example.org/node/7")
    helper = await node.attest(OTHER_AGENT)
    twin = await workload(node, helper, "/node/7", parent=OTHER_AGENT)
    assert twin.svid.spiffe_id == agent.svid.spiffe_id
    code, _ = await status_of(node.node(twin).Renew(node_pb2.RenewRequest(csr=csr())))
    assert code is DENIED
    await renew(node, agent)


async def test_a_workload_that_hammers_fills_neither_log_nor_database(node: Node) -> None:
    web = await workload(node, await node.attest())
    stub = node.node(web)
    node.clock.stop()
    started = time.monotonic()
    assert (await status_of(stub.Renew(node_pb2.RenewRequest(csr=csr()))))[0] is DENIED  # it is remembered from now on
    answers = await asyncio.gather(*(status_of(stub.Renew(node_pb2.RenewRequest(csr=csr()))) for _ in range(79)))
    assert {code for code, _ in answers} == {DENIED}
    assert len(await node.events("node.call")) <= 15
    events = [event["details"] for event in await node.events("node.call")]
    sums = [event["repeats"] for event in events if "repeats" in event]
    assert len(events) - len(sums) == PER_SOURCE.burst
    assert sum(sums) <= 80 - PER_SOURCE.burst
    assert len(sums) <= 1 + (time.monotonic() - started) / 5, "one in 10 s, which vary"
    assert await node.metric("sds_server_refusals_total", action="node.call") == 80


async def test_a_banned_agent_is_cut_off_within_a_second(node: Node) -> None:
    agent = await node.attest()
    other = await node.attest(OTHER_AGENT)
    stub = node.node(agent)
    stream = stub.WatchAuthorized(node_pb2.WatchAuthorizedRequest())
    await next_message(stream)
    bystander = node.node(other).WatchAuthorized(node_pb2.WatchAuthorizedRequest())
    await next_message(bystander)
    assert await node.metric("sds_server_connections", listener="main") == 2

    loop = asyncio.get_running_loop()
    started = loop.time()
    await node.api("POST", f"{agent_path(AGENT)}/ban", {"reason": "stolen laptop"})
    code, text = await status_of(next_message(stream))
    assert (code, "banned" in text) == (DENIED, True)
    while await node.metric("sds_server_connections", listener="main") > 1:
        await asyncio.sleep(0.02)
        assert loop.time() - started < 1.0
    code, _ = await status_of(stub.Renew(node_pb2.RenewRequest(csr=csr()), wait_for_ready=True, timeout=DEADLINE))
    assert code is DENIED
    (event,) = await node.events("agent.ban")
    assert event["details"]["ban_reason"] == "stolen laptop"

    await node.entry(parent=OTHER_AGENT)
    assert (await next_message(bystander)).upserted


async def test_a_deleted_agent_is_cut_off_and_may_come_back(node: Node) -> None:
    agent = await node.attest()
    stub = node.node(agent)
    stream = stub.WatchAuthorized(node_pb2.WatchAuthorizedRequest())
    await next_message(stream)
    await node.api("DELETE", agent_path(AGENT))
    assert (await status_of(next_message(stream)))[0] is DENIED
    code, _ = await status_of(stub.Renew(node_pb2.RenewRequest(csr=csr()), wait_for_ready=True, timeout=DEADLINE))
    assert code is DENIED
    await renew(node, await node.attest())


@pytest.mark.parametrize("method", ["Renew", "SignX509Svids", "ReportDelivery", "WatchAuthorized"])
async def test_malformed_and_oversized_messages_are_typed_errors(node: Node, method: str) -> None:
    channel = node.channel(await node.attest())
    path = f"/sds.node.v1.Node/{method}"

    async def send(message: bytes) -> None:
        if method == "WatchAuthorized":
            await channel.unary_stream(path)(message).read()
        else:
            await channel.unary_unary(path)(message)

    code, text = await status_of(send(b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"))
    assert (code, f"{method}Request" in text) == (grpc.StatusCode.INVALID_ARGUMENT, True)
    code, _ = await status_of(send(b"\0" * 5_000_000))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_failed_call_names_its_request_id(node: Node) -> None:
    agent = await node.attest()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await node.node(agent).Renew(node_pb2.RenewRequest(csr=b"rubbish"))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    trailing = dict(caught.value.trailing_metadata() or ())
    assert len(str(trailing["x-request-id"])) == 32


async def test_bad_keys_are_refused(node: Node) -> None:
    agent = await node.attest()
    stub = node.node(agent)
    for bad in (rsa.generate_private_key(65537, 1024), ec.generate_private_key(ec.SECP521R1())):
        code, _ = await status_of(stub.Renew(node_pb2.RenewRequest(csr=csr(bad))))  # type: ignore[arg-type]
        assert code is grpc.StatusCode.INVALID_ARGUMENT
