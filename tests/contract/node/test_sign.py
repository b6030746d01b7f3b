"""Node.SignX509Svids: each item by itself, nothing for the wrong agent, and nothing at all that is not recorded first."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.verification import PolicyBuilder, Store

from attestation.entry import EntrySpec
from attestation.selector import Selector
from attestation.spiffe_id import SpiffeId
from ca.keys import KeyType, generate, key_hash
from ca.svid import parse_svid
from sds._pb.sds.node.v1 import node_pb2
from sds.audit.event import Actor, ActorKind, AuditEvent, Outcome, Target
from sds.clock import SystemClock
from sds.store.store import open_store
from tests.contract.node.harness import AGENT, DEADLINE, OTHER_AGENT, Identity, Node, csr, running, status_of

E = node_pb2.SignError
CONTAINER = "5ca1" * 16


async def sign(node: Node, agent: Identity, *items: tuple[str, bytes], stub: Any = None) -> list[Any]:
    process = node_pb2.ProcessInfo(pid=4711, uid=1000, path="/usr/bin/web", container=CONTAINER)
    request = node_pb2.SignX509SvidsRequest(
        items=[node_pb2.SignItem(entry_id=entry, csr=der, process=process) for entry, der in items]
    )
    answer = await (stub or node.node(agent)).SignX509Svids(request, timeout=DEADLINE)
    return list(answer.results)


def codes(results: list[Any]) -> list[int]:
    """0 for a certificate."""
    return [result.error.code if result.WhichOneof("result") == "error" else 0 for result in results]


async def test_a_certificate_says_what_its_entry_says(node: Node) -> None:
    agent = await node.attest()
    made = await node.entry("/web", dns_names=["web.example.org", "*.web.example.org"], x509_ttl=90)
    key = generate(KeyType.ECDSA_P256)
    before = datetime.now(UTC)
    (result,) = await sign(node, agent, (made["id"], csr(key)))
    svid = parse_svid(tuple(result.svid.certificate_chain))
    leaf = x509.load_der_x509_certificate(svid.chain[0])
    assert (result.entry_id, result.entry_revision) == (made["id"], 1)
    assert str(svid.spiffe_id) == result.svid.spiffe_id == "spiffe://example.org/web"
    assert leaf.public_key() == key.public_key()
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["web.example.org", "*.web.example.org"]
    assert timedelta(seconds=85) < svid.not_after - before <= timedelta(seconds=91)
    root = x509.load_pem_x509_certificate(node.roots)
    PolicyBuilder().store(Store([root])).build_client_verifier().verify(leaf, [])


async def test_each_certificate_is_recorded_and_audited(node: Node) -> None:
    agent = await node.attest()
    made = [await node.entry(f"/w{n}") for n in range(3)]
    keys = [generate(KeyType.ECDSA_P256) for _ in made]
    results = await sign(node, agent, *((entry["id"], csr(key)) for entry, key in zip(made, keys, strict=True)))
    events = {
        event["target"]["id"]: event
        for event in await node.events("certificate.issue")
        if event["details"]["profile"] == "workload"
    }
    assert len(events) == 3
    store = open_store(f"sqlite:///{node.folder}/s/sds.sqlite3", clock=SystemClock())
    for result, entry, key in zip(results, made, keys, strict=True):
        svid = parse_svid(tuple(result.svid.certificate_chain))
        event = events[svid.serial]
        assert event["actor"] == {"kind": "agent", "id": AGENT, "address": "127.0.0.1"}
        assert event["details"] | {} == event["details"]
        assert event["details"]["spiffe_id"] == entry["spiffe_id"]
        assert event["details"]["key_hash"] == key_hash(key.public_key())
        assert (event["details"]["entry_id"], event["details"]["entry_revision"]) == (entry["id"], 1)
        process = {"pid": 4711, "uid": 1000, "path": "/usr/bin/web", "container": CONTAINER}
        assert event["details"]["process"] == process
        assert event["details"]["not_after"] == svid.not_after.isoformat().replace("+00:00", "Z")
        record = await store.read(lambda uow, serial=svid.serial: uow.certificates.get(serial))
        assert record.der == svid.chain[0]
        assert (record.entry_id, record.agent_id) == (entry["id"], SpiffeId.parse(AGENT))
    await store.close()
    assert await node.metric("sds_server_issued_total", profile="workload", outcome="success") == 3


async def test_a_mixed_batch_answers_each_item_in_order(node: Node) -> None:
    agent = await node.attest()
    await node.attest(OTHER_AGENT)
    good, theirs = await node.entry("/good"), await node.entry("/theirs", OTHER_AGENT)
    gone = await node.entry("/gone")
    await node.api("DELETE", f"/v1/entries/{gone['id']}")
    expired = await node.entry("/expired", expires_at=(node.clock.now() + timedelta(minutes=1)).isoformat())
    node.clock.offset = timedelta(minutes=1)
    weak = csr(rsa.generate_private_key(65537, 1024))
    results = await sign(
        node,
        agent,
        (good["id"], csr()),
        (theirs["id"], csr()),
        (gone["id"], csr()),
        ("no-such-entry", csr()),
        (good["id"], b"rubbish"),
        (good["id"], weak),
        (good["id"], b"\x30" * 17_000),
        (expired["id"], csr()),
        ("", b""),
        (good["id"], csr()),
    )
    no, bad = E.CODE_NOT_AUTHORIZED, E.CODE_CSR_REFUSED
    assert codes(results) == [0, no, no, no, bad, bad, bad, no, no, 0]
    assert [result.entry_id for result in results][:4] == [good["id"], theirs["id"], gone["id"], "no-such-entry"]
    assert results[1].error.message == results[3].error.message  # not even whether the entry exists
    assert all(result.error.message for result in results[1:9])


async def test_asking_for_the_entry_of_another_is_audited_and_a_flood_of_it_is_summed_up(node: Node) -> None:
    agent, other = await node.attest(), await node.attest(OTHER_AGENT)
    ours, theirs = await node.entry("/ours"), await node.entry("/theirs", OTHER_AGENT)
    results = await sign(node, agent, (theirs["id"], csr()), (ours["id"], csr()), (theirs["id"], csr()))
    assert codes(results) == [E.CODE_NOT_AUTHORIZED, 0, E.CODE_NOT_AUTHORIZED]
    (told,) = await node.events("certificate.issue", outcome="refused")
    assert told["target"] == {"kind": "entry", "id": theirs["id"]}
    assert told["actor"] == {"kind": "agent", "id": AGENT, "address": "127.0.0.1"}
    assert told["reason"] == "no such entry for this agent"
    await sign(node, agent, *((f"{n}\x1b[31m" + "x" * 1000, b"") for n in range(400)))
    told_all = await node.events("certificate.issue", outcome="refused")
    assert 1 < len(told_all) <= 20
    assert all(len(one["target"]["id"]) <= 128 and one["target"]["id"].isprintable() for one in told_all)
    assert await node.metric("sds_server_refusals_total", action="certificate.issue") == 401
    await sign(node, other, (ours["id"], csr()))  # from the same address, and told all the same
    assert (await node.events("certificate.issue", outcome="refused"))[-1]["actor"]["id"] == OTHER_AGENT


async def test_a_change_is_in_force_when_the_administrator_is_answered(node: Node) -> None:
    """No certificate under a deleted or older entry, although requests come without a pause."""
    agent = await node.attest()
    stub = node.node(agent)
    request = csr()
    for number in range(10):
        made = await node.entry(f"/w{number}")
        assert codes(await sign(node, agent, (made["id"], request), stub=stub)) == [0]
        body = {"spiffe_id": f"spiffe://example.org/v{number}", "parent_id": AGENT, "selectors": ["unix:uid:1000"]}
        await node.api("PUT", f"/v1/entries/{made['id']}", {**body, "revision": 1})
        (result,) = await sign(node, agent, (made["id"], request), stub=stub)
        assert (result.entry_revision, result.svid.spiffe_id) == (2, f"spiffe://example.org/v{number}")
        await node.api("DELETE", f"/v1/entries/{made['id']}")
        assert codes(await sign(node, agent, (made["id"], request), stub=stub)) == [E.CODE_NOT_AUTHORIZED]


async def test_a_change_by_another_replica_is_in_force_at_once() -> None:
    """The database says no although this server has not heard of the deletion yet."""
    async with running(database__poll_interval="60s") as node:
        agent = await node.attest()
        gone, kept = await node.entry("/gone"), await node.entry("/kept")
        replica = open_store(f"sqlite:///{node.folder}/s/sds.sqlite3", clock=SystemClock())

        def delete(uow: Any) -> None:
            uow.entries.delete(gone["id"])
            uow.audit.append(event("entry.delete", gone["id"], uow.now))

        await replica.write(delete)
        results = await sign(node, agent, (gone["id"], csr()), (kept["id"], csr()))
        assert codes(results) == [E.CODE_NOT_AUTHORIZED, 0]
        await replica.close()


async def test_a_ban_by_another_replica_is_in_force_at_once() -> None:
    async with running(database__poll_interval="60s") as node:
        agent = await node.attest()
        entry = await node.entry()
        replica = open_store(f"sqlite:///{node.folder}/s/sds.sqlite3", clock=SystemClock())

        def ban(uow: Any) -> None:
            uow.agents.ban(SpiffeId.parse(AGENT), "stolen")
            uow.audit.append(event("agent.ban", AGENT, uow.now))

        await replica.write(ban)
        assert codes(await sign(node, agent, (entry["id"], csr()))) == [E.CODE_NOT_AUTHORIZED]
        await replica.close()


async def test_no_certificate_can_pose_as_the_server(node: Node) -> None:
    """Entries with the reserved name are refused; if one got into the database all the same, the CA refuses."""
    agent = await node.attest()
    response = await node.admin.post(
        "/v1/entries",
        json={
            "spiffe_id": "spiffe://example.org/x",
            "parent_id": AGENT,
            "selectors": ["unix:uid:1"],
            "dns_names": ["server.sds.internal"],
        },
    )
    assert response.status_code == 422
    store = open_store(f"sqlite:///{node.folder}/s/sds.sqlite3", clock=SystemClock())
    specs = [("/x", ("Server.SDS.internal",)), ("/sds/server", ()), ("/sds/agent/y", ())]

    def smuggle(uow: Any) -> None:
        for number, (path, dns_names) in enumerate(specs):
            spec = EntrySpec(
                SpiffeId.parse(f"spiffe://example.org{path}"),
                SpiffeId.parse(AGENT),
                frozenset({Selector("unix", "uid:1")}),
                dns_names=dns_names,
            )
            uow.entries.create(spec, f"smuggled{number}")
        uow.audit.append(event("entry.create", "smuggled", uow.now))

    await store.write(smuggle)
    await store.close()
    async with asyncio.timeout(DEADLINE):
        while E.CODE_NOT_AUTHORIZED in codes(
            results := await sign(node, agent, *((f"smuggled{n}", csr()) for n in range(3)))
        ):  # not heard of yet
            await asyncio.sleep(0.05)
    assert codes(results) == [E.CODE_REFUSED] * 3


async def test_nothing_is_signed_while_the_database_is_locked_and_it_recovers_by_itself(node: Node) -> None:
    agent = await node.attest()
    entry = await node.entry()
    stub = node.node(agent)
    issued = len(await node.events("certificate.issue"))
    with closing(sqlite3.connect(f"{node.folder}/s/sds.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        results = await sign(node, agent, (entry["id"], csr()), (entry["id"], b"rubbish"), stub=stub)
        assert codes(results) == [E.CODE_UNAVAILABLE, E.CODE_CSR_REFUSED]
        assert not any(result.HasField("svid") for result in results)
        code, _ = await status_of(stub.Renew(node_pb2.RenewRequest(csr=csr())))
        assert code is grpc.StatusCode.UNAVAILABLE
        other.execute("ROLLBACK")
    assert codes(await sign(node, agent, (entry["id"], csr()), stub=stub)) == [0]
    assert len(await node.events("certificate.issue")) == issued + 1


async def test_many_at_once_share_transactions_and_each_gets_its_own(node: Node) -> None:
    agent = await node.attest()
    made = [await node.entry(f"/w{n}") for n in range(8)]
    keys = [generate(KeyType.ECDSA_P256) for _ in range(160)]
    stub = node.node(agent)
    requests = [(made[n % 8]["id"], csr(key)) for n, key in enumerate(keys)]
    answers = await asyncio.gather(*(sign(node, agent, item, stub=stub) for item in requests))
    serials = set()
    for number, ((result,), key) in enumerate(zip(answers, keys, strict=True)):
        svid = parse_svid(tuple(result.svid.certificate_chain))
        leaf = x509.load_der_x509_certificate(svid.chain[0])
        assert leaf.public_key() == key.public_key()
        assert str(svid.spiffe_id) == f"spiffe://example.org/w{number % 8}"
        serials.add(svid.serial)
    assert len(serials) == 160
    assert await node.metric("sds_server_signing_batch_size_count") < 100


async def test_bounds() -> None:
    async with running(limits__max_csr_batch="3", limits__max_signing_queue="2") as node:
        agent = await node.attest()
        entry = await node.entry()
        code, text = await status_of(sign(node, agent, *[(entry["id"], csr())] * 4))
        assert (code, "at most 3" in text) == (grpc.StatusCode.INVALID_ARGUMENT, True)
        assert codes(await sign(node, agent, *[(entry["id"], csr())] * 3)) == [E.CODE_UNAVAILABLE] * 3
        assert codes(await sign(node, agent, *[(entry["id"], csr())] * 2)) == [0, 0]
        assert await sign(node, agent) == []


async def test_what_an_agent_says_of_a_process_cannot_break_the_log(node: Node) -> None:
    agent = await node.attest()
    entry = await node.entry()
    hostile = "/a\0b\x1b[31m\n" + "x" * 100_000
    process = node_pb2.ProcessInfo(pid=2**32 - 1, uid=2**32 - 1, path=hostile, container=hostile)
    item = node_pb2.SignItem(entry_id=entry["id"], csr=csr(), process=process)
    answer = await node.node(agent).SignX509Svids(node_pb2.SignX509SvidsRequest(items=[item]))
    assert codes(list(answer.results)) == [0]
    (event_,) = [e for e in await node.events("certificate.issue") if e["details"]["profile"] == "workload"]
    path, container = (event_["details"]["process"][name] for name in ("path", "container"))
    assert path.isprintable()
    assert container.isprintable()
    assert len(path) <= 4096
    assert len(container) <= 128


async def test_a_lifetime_is_cut_to_the_authoritys() -> None:
    async with running(
        ca__ttl="90s", ca__max_x509_ttl="80s", ca__default_x509_ttl="80s", ca__agent_ttl="80s", ca__server_ttl="80s"
    ) as node:
        agent = await node.attest()
        entry = await node.entry()
        await asyncio.sleep(1.1)
        root = x509.load_pem_x509_certificate(node.roots)
        node.clock.offset = timedelta(seconds=20)
        (result,) = await sign(node, agent, (entry["id"], csr()))
        leaf = parse_svid(tuple(result.svid.certificate_chain))
        assert leaf.not_after <= root.not_valid_after_utc


def event(action: str, target: str, now: datetime) -> AuditEvent:
    return AuditEvent(
        id="0" * 32,
        time=now,
        action=action,
        outcome=Outcome.SUCCESS,
        actor=Actor(ActorKind.SYSTEM, "test"),
        target=Target("entry", target),
    )
