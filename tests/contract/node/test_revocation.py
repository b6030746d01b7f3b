"""What a revocation means to agents: what they are told, what they are not given, and when they are cut off."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from ca.keys import KeyType, PrivateKey, generate, key_hash
from ca.revocation import Crl, parse_crl
from ca.svid import X509Svid, parse_svid
from sds._pb.sds.node.v1 import node_pb2
from tests.contract.node.harness import (
    AGENT,
    DEADLINE,
    OTHER_AGENT,
    Identity,
    Node,
    csr,
    next_message,
    running,
    status_of,
)
from tests.contract.node.test_sign import codes, sign
from tests.contract.node.test_watch import ids, watch

E = node_pb2.SignError


async def revoke(node: Node, kind: str, value: str, **more: Any) -> dict[str, Any]:
    body = {"kind": kind, "value": value, "dry_run": False, **more}
    answer = await node.api("POST", "/v1/revocations", body)
    assert answer["problem"] == ""
    return answer


async def svid_under(node: Node, agent: Identity, entry_id: str, key: PrivateKey | None = None) -> X509Svid:
    (result,) = await sign(node, agent, (entry_id, csr(key)))
    assert result.WhichOneof("result") == "svid", result
    return parse_svid(tuple(result.svid.certificate_chain))


async def crls_of(node: Node, agent: Identity) -> list[Crl]:
    message = await next_message(watch(node, agent))
    return [parse_crl(der) for der in message.bundle.crls]


async def tokens(node: Node, agent: Identity, *entry_ids: str) -> list[int]:
    """What came of asking for a JWT-SVID of each: 0 for a token."""
    items = [node_pb2.JwtItem(entry_id=entry_id, audience=["test"]) for entry_id in entry_ids]
    answer = await node.node(agent).SignJwtSvids(node_pb2.SignJwtSvidsRequest(items=items), timeout=10)
    return codes(list(answer.results))


async def test_agents_are_told_the_list_at_once(node: Node) -> None:
    agent = await node.attest()
    made = await node.entry("/web")
    svid = await svid_under(node, agent, made["id"])
    stream = watch(node, agent)
    first = await next_message(stream)
    assert list(first.bundle.crls) == []
    await revoke(node, "serial", svid.serial, reason="key-compromise")
    told = await next_message(stream)
    assert told.HasField("bundle")
    assert told.bundle.sequence == first.bundle.sequence + 1
    (crl,) = [parse_crl(der) for der in told.bundle.crls]
    assert crl.serials == {svid.serial}
    assert crl.signed_by(told.bundle.x509_authorities[0])
    # A certificate is revoked, its entry is not: the agent gets another one.
    assert (await svid_under(node, agent, made["id"])).serial != svid.serial


@pytest.mark.parametrize("kind", ["entry", "spiffe_id"])
async def test_what_is_blocked_vanishes_and_is_not_signed_until_it_is_lifted(node: Node, kind: str) -> None:
    agent = await node.attest()
    made, other = await node.entry("/web"), await node.entry("/db")
    svid = await svid_under(node, agent, made["id"])
    stream = watch(node, agent)
    await next_message(stream)
    done = await revoke(node, kind, made["id"] if kind == "entry" else made["spiffe_id"])
    assert done["blast_radius"]["fresh"] == 1
    removed: list[str] = []
    while made["id"] not in removed:
        removed += (await next_message(stream)).removed_entry_ids
    results = await sign(node, agent, (made["id"], csr()), (other["id"], csr()))
    assert codes(results) == [E.CODE_NOT_AUTHORIZED, 0]
    assert await tokens(node, agent, made["id"], other["id"]) == [E.CODE_NOT_AUTHORIZED, 0]
    assert svid.serial in {serial for crl in await crls_of(node, agent) for serial in crl.serials}
    await node.api("POST", f"/v1/blocks/{done['block']['id']}:lift")
    back: list[str] = []
    while "web" not in back:
        back += ids(await next_message(stream))
    assert codes(await sign(node, agent, (made["id"], csr()))) == [0]
    assert await tokens(node, agent, made["id"]) == [0]
    assert svid.serial in {serial for crl in await crls_of(node, agent) for serial in crl.serials}


async def test_a_blocked_key_is_refused_under_every_entry(node: Node) -> None:
    agent = await node.attest()
    made = [await node.entry(path) for path in ("/web", "/db")]
    key = generate(KeyType.ECDSA_P256)
    svids = [await svid_under(node, agent, entry["id"], key) for entry in made]
    await revoke(node, "key", key_hash(key.public_key()))
    for entry in made:
        assert codes(await sign(node, agent, (entry["id"], csr(key)))) == [E.CODE_CSR_REFUSED]
        assert codes(await sign(node, agent, (entry["id"], csr()))) == [0]
    (crl,) = await crls_of(node, agent)
    assert crl.serials == {svid.serial for svid in svids}
    # Nor does an agent get in with it.
    payload = (await node.token("spiffe://example.org/sds/agent/test/9")).encode()
    request = node_pb2.AttestRequest(type="join_token", payload=payload, csr=csr(key))
    code, detail = await status_of(node.attestation().Attest(request, timeout=10))
    assert code is not grpc.StatusCode.OK
    assert "revoked" in detail
    renewal = node.node(agent).Renew(node_pb2.RenewRequest(csr=csr(key)), timeout=10)
    assert (await status_of(renewal))[0] is not grpc.StatusCode.OK


async def test_a_revoked_agent_is_cut_off_at_once_and_attests_again_when_that_is_lifted(node: Node) -> None:
    agent = await node.attest()
    made = await node.entry("/web")
    svid = await svid_under(node, agent, made["id"])
    stream = watch(node, agent)
    await next_message(stream)
    done = await revoke(node, "agent", AGENT, incident="INC-3")
    code, detail = await status_of(_drain(stream))
    assert (code, detail) == (grpc.StatusCode.PERMISSION_DENIED, "this agent is banned")
    revoked = (await node.api("GET", f"/v1/revocations?block_id={done['block']['id']}"))["revocations"]
    assert {one["serial"] for one in revoked} == {svid.serial, agent.svid.serial}
    refused = await node.admin.post("/v1/tokens", json={"spiffe_id": AGENT})
    assert refused.status_code == 422
    await node.api("POST", f"/v1/blocks/{done['block']['id']}:lift")
    code, _ = await status_of(node.node(agent).Renew(node_pb2.RenewRequest(csr=csr()), timeout=10))
    assert code is grpc.StatusCode.PERMISSION_DENIED, "its old certificate stays revoked"
    again = await node.attest()
    assert (await svid_under(node, again, made["id"])).serial != svid.serial


async def _drain(stream: Any) -> None:
    while await stream.read():
        pass


async def test_a_deleted_agent_that_was_revoked_does_not_attest_again(node: Node) -> None:
    await node.attest()
    token = await node.token()
    await revoke(node, "agent", AGENT)
    assert (await node.admin.delete(f"/v1/agents/{AGENT}")).status_code == 200
    request = node_pb2.AttestRequest(type="join_token", payload=token.encode(), csr=csr())
    code, detail = await status_of(node.attestation().Attest(request, timeout=10))
    assert code is not grpc.StatusCode.OK
    assert "revoked" in detail


async def test_an_agent_whose_certificate_is_revoked_must_attest_again(node: Node) -> None:
    agent = await node.attest()
    stream = watch(node, agent)
    await next_message(stream)
    await revoke(node, "serial", agent.svid.serial)
    code, detail = await status_of(_drain(stream))
    assert (code, "revoked" in detail) == (grpc.StatusCode.PERMISSION_DENIED, True)
    for call in (
        node.node(agent).Renew(node_pb2.RenewRequest(csr=csr()), timeout=10),
        node.node(agent).SignX509Svids(node_pb2.SignX509SvidsRequest(), timeout=10),
    ):
        assert (await status_of(call))[0] is grpc.StatusCode.PERMISSION_DENIED
    again = await node.attest()
    await next_message(watch(node, again))


async def test_the_servers_own_certificate_is_replaced_when_it_is_revoked(node: Node) -> None:
    agent = await node.attest()
    serial = await _server_serial(node)
    await revoke(node, "serial", serial)
    async with asyncio.timeout(DEADLINE):
        while await _server_serial(node) == serial:
            await asyncio.sleep(0.05)
    assert serial in {revoked for crl in await crls_of(node, agent) for revoked in crl.serials}


async def _server_serial(node: Node) -> str:
    events = [event for event in await node.events("certificate.issue") if event["details"].get("profile") == "server"]
    return str(events[-1]["target"]["id"])


async def test_what_races_with_a_block_is_refused_or_revoked(node: Node) -> None:
    """Under load: when the answer to the block is there, nothing that was signed for it is good."""
    agent = await node.attest()
    made = await node.entry("/web")
    stub = node.node(agent)
    serials: list[str] = []

    async def hammer() -> None:
        while True:
            for result in await sign(node, agent, *((made["id"], csr()) for _ in range(4)), stub=stub):
                if result.WhichOneof("result") != "svid":
                    return
                serials.append(parse_svid(tuple(result.svid.certificate_chain)).serial)

    tasks = [asyncio.create_task(hammer()) for _ in range(4)]
    while len(serials) < 40:
        await asyncio.sleep(0.01)
    await revoke(node, "entry", made["id"])
    await asyncio.wait_for(asyncio.gather(*tasks), DEADLINE)
    listed = {serial for crl in await crls_of(node, agent) for serial in crl.serials}
    assert set(serials) <= listed


# Restarts


async def test_a_restored_database_file_forgets_nothing(folder: Path) -> None:
    async with running(folder) as node:
        agent = await node.attest()
        made = await node.entry("/web")
        svid = await svid_under(node, agent, made["id"])
    database = folder / "s" / "sds.sqlite3"
    backup = _copy(database)
    async with running(folder) as node:
        node.identities[AGENT] = agent
        first = await next_message(watch(node, agent))
        await revoke(node, "serial", svid.serial)
        await revoke(node, "entry", made["id"], incident="INC-1")
        before = await next_message(watch(node, agent))
    for leftover in folder.glob("s/sds.sqlite3*"):
        leftover.unlink()
    database.write_bytes(backup)
    database.chmod(0o600)
    async with running(folder) as node:
        after = await next_message(watch(node, agent, before.revision, before.epoch))
        assert after.snapshot, "its old place in the feed means nothing any more"
        assert after.epoch not in {first.epoch, before.epoch}
        assert after.bundle.sequence > before.bundle.sequence
        assert {serial for der in after.bundle.crls for serial in parse_crl(der).serials} == {svid.serial}
        numbers = [parse_crl(message.bundle.crls[0]).number for message in (before, after)]
        assert numbers[1] > numbers[0]
        assert codes(await sign(node, agent, (made["id"], csr()))) == [E.CODE_NOT_AUTHORIZED]
        (event,) = await node.events("database.restored")
        assert event["details"]["blocks"] == 2
        blocks = (await node.api("GET", "/v1/blocks"))["blocks"]
        assert {block["incident"] for block in blocks} == {"", "INC-1"}


def _copy(database: Path) -> bytes:
    """As an operator makes a backup: one file, whatever the write-ahead log held."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return database.read_bytes()


# Endpoints


async def test_lists_and_answers_are_served_where_that_is_configured(folder: Path) -> None:
    async with running(folder, endpoints__revocation__listen="127.0.0.1:0") as node:
        agent = await node.attest()
        svid = await svid_under(node, agent, (await node.entry("/web"))["id"])
        root = x509.load_pem_x509_certificate(node.roots)
        leaf = x509.load_der_x509_certificate(svid.chain[0])
        authority = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
        assert authority is not None
        port = node.server.addresses["revocation"].port
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
            served = await http.get(f"/crl/{authority.hex()}")
            assert parse_crl(served.content).serials == frozenset()
            await revoke(node, "serial", svid.serial)
            listed = await http.get(f"/crl/{authority.hex()}")
            assert parse_crl(listed.content).serials == {svid.serial}
            request = ocsp.OCSPRequestBuilder().add_certificate(leaf, root, hashes.SHA1()).build()
            answer = await http.post(
                "/ocsp",
                content=request.public_bytes(Encoding.DER),
                headers={"content-type": "application/ocsp-request"},
            )
            read = ocsp.load_der_ocsp_response(answer.content)
            assert read.certificate_status is ocsp.OCSPCertStatus.REVOKED
        assert await node.metric("sds_server_public_requests_total", endpoint="crl") == 2
        assert await node.metric("sds_server_public_requests_total", endpoint="ocsp") == 1
        assert await node.metric("sds_server_revocations_total", kind="serial") == 1
        assert await node.metric("sds_server_revoked_certificates") == 1
        assert await node.metric("sds_server_revocation_problem") == 0


async def test_agents_get_answers_to_staple_about_what_they_were_given_and_nothing_else(node: Node) -> None:
    agent, other = await node.attest(), await node.attest(OTHER_AGENT)
    svid = await svid_under(node, agent, (await node.entry("/web"))["id"])
    theirs = await svid_under(node, other, (await node.entry("/web", parent=OTHER_AGENT))["id"])

    async def staples(who: Identity, *serials: str) -> dict[str, ocsp.OCSPResponse]:
        answer = await node.node(who).OcspStaples(node_pb2.OcspStaplesRequest(serials=serials), timeout=10)
        return {one.serial: ocsp.load_der_ocsp_response(one.response) for one in answer.staples}

    asked = (svid.serial, theirs.serial, "ab" * 20, "", "no hex", svid.serial)
    found = await staples(agent, *asked)
    assert found.keys() == {svid.serial}
    assert found[svid.serial].certificate_status is ocsp.OCSPCertStatus.GOOD
    assert isinstance(found[svid.serial].hash_algorithm, hashes.SHA1)
    assert (await staples(other, *asked)).keys() == {theirs.serial}
    await revoke(node, "serial", svid.serial)
    assert (await staples(agent, svid.serial))[svid.serial].certificate_status is ocsp.OCSPCertStatus.REVOKED
    too_many = node.node(agent).OcspStaples(node_pb2.OcspStaplesRequest(serials=["0a"] * 10_000), timeout=10)
    assert (await status_of(too_many))[0] is grpc.StatusCode.INVALID_ARGUMENT
