"""Certificates for local callers, signed by a real server over real TLS that may answer anything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta

import grpc
import pytest
from cryptography import x509
from structlog.testing import capture_logs

from attestation.attestor import Process
from ca.csr import parse_csr
from ca.keys import KeyType, from_pkcs8_pem, key_hash
from ca.svid import parse_svid, parse_svid_pem
from sds._pb.sds.node.v1 import node_pb2
from sds.agent.cache import Cache
from sds.agent.cache.group import Group
from sds.agent.doubts import BundleReader
from sds.agent.issuer import Issuer, IssuerOptions
from sds.agent.signing import prepare
from sds.agent.upstream import Upstream
from tests.contract.agent.conftest import BACKOFF, LOG, Node
from tests.contract.agent.test_upstream import running, until
from tests.fakes.ca import make_authority, make_crl, make_svid
from tests.unit.agent.entries import entry, selectors


class Caller:
    """Implements group.Member."""

    path = "/bin/envoy"
    container = "5ca1" * 16

    def __init__(self, pid: int) -> None:
        self.process = Process(pid, 1000, 1000, 7)
        self.watchers: list[Callable[[], None]] = []


@dataclass
class Kit:
    node: Node
    upstream: Upstream
    cache: Cache
    issuer: Issuer

    def come(self, *texts: str, pid: int = 1) -> tuple[Group, Caller]:
        caller = Caller(pid)
        return self.cache.join(selectors(*texts or ("unix:uid:1",)), caller), caller

    def asked(self) -> list[list[str]]:
        """The entries of each call."""
        return [[item.entry_id for item in request.items] for request in self.node.server.seen.signs]


@pytest.fixture
async def kit(node: Node) -> AsyncIterator[Kit]:
    cache = Cache(node.clock)
    upstream = node.upstream(await node.identity(), cache)
    options = IssuerOptions(batch=3, warm_for=timedelta(seconds=0.3))
    with ThreadPoolExecutor(2) as executor:
        reader = BundleReader(executor, LOG)
        issuer = Issuer(cache, upstream, reader, BACKOFF, options, node.told, node.clock, executor, LOG)
        async with running(upstream):
            await upstream.connected()
            issuing = asyncio.create_task(issuer.run())
            yield Kit(node, upstream, cache, issuer)
            issuing.cancel()
            await asyncio.wait({issuing})
            assert issuing.cancelled(), issuing.exception()


async def test_a_caller_gets_a_certificate_for_a_key_that_was_made_here(kit: Kit) -> None:
    await kit.node.server.put("e1", "/web", "unix:uid:1", dns=("web.example",))
    await until(lambda: kit.cache.entries)
    assert not kit.node.server.seen.signs, "nobody needs it yet"
    group, _ = kit.come()
    await until(lambda: group.view)
    resource = group.view.resolve("default")
    assert resource is not None
    svid = kit.cache.held["e1"]
    certificate = svid.identity.certificate
    assert parse_svid_pem(certificate.chain_pem).spiffe_id == svid.identity.spiffe_id
    key = from_pkcs8_pem(certificate.private_key_pem)
    leaf = x509.load_pem_x509_certificate(certificate.chain_pem)
    assert key_hash(key.public_key()) == key_hash(leaf.public_key())  # type: ignore[arg-type]
    ((item,),) = [request.items for request in kit.node.server.seen.signs]
    assert parse_csr(item.csr).key_hash == key_hash(key.public_key())
    assert (item.process.pid, item.process.uid, item.process.path) == (1, 1000, "/bin/envoy")
    assert item.process.container == Caller.container
    assert certificate.private_key_pem.reveal() not in kit.node.server.seen.signs[0].SerializeToString()


async def test_many_are_asked_for_in_batches(kit: Kit) -> None:
    kit.come()
    for number in range(10):
        kit.cache.busy.add(f"e{number}")
        await kit.node.server.put(f"e{number}", f"/e{number}", "unix:uid:1")
    await until(lambda: len(kit.cache.entries) == 10)
    kit.cache.busy.clear()
    kit.issuer._wake.set()
    await until(lambda: len(kit.cache.held) == 10)
    assert sorted(map(len, kit.asked())) == [1, 3, 3, 3]
    assert sorted(entry_id for call in kit.asked() for entry_id in call) == [f"e{number}" for number in range(10)], (
        "each once"
    )


async def test_a_changed_entry_gets_a_new_certificate_at_once_and_a_new_key(kit: Kit) -> None:
    await kit.node.server.put("e1", "/web", "unix:uid:1")
    group, _ = kit.come()
    await until(lambda: group.view)
    before = kit.cache.held["e1"].identity
    await kit.node.server.put("e1", "/web", "unix:uid:1", dns=("new.example",))
    await until(lambda: kit.cache.held["e1"].identity is not before)
    after = kit.cache.held["e1"].identity
    assert b"new.example" not in before.certificate.chain_pem
    leaf = x509.load_pem_x509_certificate(after.certificate.chain_pem)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["new.example"]
    assert before.certificate.private_key_pem.reveal() != after.certificate.private_key_pem.reveal()


async def test_certificates_are_renewed_at_half_of_their_life(kit: Kit) -> None:
    kit.node.server.svid_ttl = timedelta(seconds=3)
    await kit.node.server.put("e1", "/web", "unix:uid:1")
    kit.come()
    serials = set()

    def three() -> bool:
        if "e1" in kit.cache.held:
            serials.add(kit.cache.held["e1"].identity.certificate.serial)
        return len(serials) >= 3

    await until(three)
    assert len(kit.asked()) <= 4


async def test_what_nobody_uses_is_let_go_after_a_while(kit: Kit) -> None:
    await kit.node.server.put("e1", "/web", "unix:uid:1")
    group, caller = kit.come()
    await until(lambda: kit.cache.held)
    kit.cache.leave(group, caller)
    assert kit.cache.held
    await until(lambda: not kit.cache.held)


async def test_while_the_server_is_away_what_is_held_is_served_and_nothing_is_asked(kit: Kit) -> None:
    await kit.node.server.put("e1", "/web", "unix:uid:1")
    group, _ = kit.come()
    await until(lambda: group.view)
    await kit.node.server.stop()
    await until(lambda: not kit.upstream.status.connected)
    other, _ = kit.come("unix:uid:1", "unix:gid:5", pid=2)
    assert other.view is group.view
    assert group.view.resolve("default") is not None
    await kit.node.server.put("e2", "/db", "unix:gid:5")
    await kit.node.server.start()
    await until(lambda: len(other.view.spiffe_ids) == 2)


@pytest.mark.parametrize(
    "mishap",
    [
        (grpc.StatusCode.UNAVAILABLE, "the database is locked"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "too much"),
        (grpc.StatusCode.INTERNAL, "internal error"),
    ],
)
async def test_a_failed_call_is_tried_again_with_patience(kit: Kit, mishap: tuple[grpc.StatusCode, str]) -> None:
    kit.node.server.mishaps.sign = mishap
    for number in range(3):
        kit.cache.busy.add(f"e{number}")
        await kit.node.server.put(f"e{number}", f"/e{number}", "unix:uid:1")
    kit.come()
    await until(lambda: len(kit.cache.entries) == 3)
    kit.cache.busy.clear()
    kit.issuer._wake.set()
    with capture_logs() as lines:
        await until(lambda: len(kit.asked()) >= 3)
    assert all(len(call) == 3 for call in kit.asked()), "what failed together is tried together"
    assert [line["count"] for line in lines if line["event"] == "no certificate"][:1] == [3]
    assert mishap[1] in kit.cache.attempts["e0"].reason
    kit.node.server.mishaps.sign = None
    await until(lambda: len(kit.cache.held) == 3)
    assert not kit.cache.attempts


def spoiled(kind: str, node: Node) -> Callable[[node_pb2.SignItem, node_pb2.SignResult], node_pb2.SignResult]:
    stranger = make_authority(now=node.clock.now())

    def spoil(item: node_pb2.SignItem, result: node_pb2.SignResult) -> node_pb2.SignResult:
        spoiled = node_pb2.SignResult()
        spoiled.CopyFrom(result)
        now, authority = node.clock.now(), node.server.authorities[0]
        if kind == "another key":
            holder = make_svid("spiffe://example.org/web", authority, now=now)
        elif kind == "another ID":
            holder = make_svid("spiffe://example.org/root", authority, now=now)
        elif kind == "another authority":
            holder = make_svid("spiffe://example.org/web", stranger, now=now)
        elif kind == "another entry":
            spoiled.entry_id = "e2"
            return spoiled
        elif kind == "nothing":
            return node_pb2.SignResult(entry_id=item.entry_id)
        else:
            spoiled.svid.ClearField("certificate_chain")
            spoiled.svid.certificate_chain.extend([b"rubbish"] if kind == "rubbish" else [])
            return spoiled
        spoiled.svid.ClearField("certificate_chain")
        spoiled.svid.certificate_chain.extend(holder.svid.chain)
        return spoiled

    return spoil


@pytest.mark.parametrize(
    "kind", ["another key", "another ID", "another authority", "another entry", "nothing", "rubbish", "an empty chain"]
)
async def test_a_certificate_that_is_not_what_was_asked_for_never_replaces_one_that_works(kit: Kit, kind: str) -> None:
    await kit.node.server.put("e1", "/web", "unix:uid:1")
    group, _ = kit.come()
    await until(lambda: group.view)
    before = kit.cache.held["e1"].identity
    good = kit.node.server.mishaps.sign_result
    kit.node.server.mishaps.sign_result = spoiled(kind, kit.node)
    await kit.node.server.put("e1", "/web", "unix:uid:1", dns=("new.example",))
    await until(lambda: "e1" in kit.cache.attempts)
    assert kit.cache.held["e1"].identity is before
    assert kit.cache.attempts["e1"].reason
    kit.node.server.mishaps.sign_result = good
    await until(lambda: kit.cache.held["e1"].identity is not before)


async def test_a_refusal_by_the_ca_is_not_asked_for_again_before_the_entry_changes(kit: Kit) -> None:
    def refuse(item: node_pb2.SignItem, _result: node_pb2.SignResult) -> node_pb2.SignResult:
        error = node_pb2.SignError(code=node_pb2.SignError.CODE_REFUSED, message="the lifetime is too short")
        return node_pb2.SignResult(entry_id=item.entry_id, error=error)

    good = kit.node.server.mishaps.sign_result
    kit.node.server.mishaps.sign_result = refuse
    await kit.node.server.put("e1", "/web", "unix:uid:1")
    kit.come()
    await until(lambda: "e1" in kit.cache.attempts)
    assert kit.cache.attempts["e1"].blocked_revision == 1
    assert kit.node.told.issued_counts == [("refused", 1)]
    await asyncio.sleep(0.3)
    assert len(kit.asked()) == 1
    kit.node.server.mishaps.sign_result = good
    await kit.node.server.put("e1", "/web", "unix:uid:1", dns=("a.example",))
    await until(lambda: kit.cache.held)


async def test_a_replica_that_has_not_heard_of_the_entry_yet_is_asked_again(kit: Kit) -> None:
    answers = [node_pb2.SignError(code=node_pb2.SignError.CODE_NOT_AUTHORIZED, message="no such entry")]

    def once(item: node_pb2.SignItem, result: node_pb2.SignResult) -> node_pb2.SignResult:
        return node_pb2.SignResult(entry_id=item.entry_id, error=answers.pop()) if answers else result

    kit.node.server.mishaps.sign_result = once
    await kit.node.server.put("e1", "/web", "unix:uid:1")
    kit.come()
    await until(lambda: kit.cache.held)
    assert not answers, "it was told no once"


async def test_one_bad_item_harms_only_itself(kit: Kit) -> None:
    def refuse_two(item: node_pb2.SignItem, result: node_pb2.SignResult) -> node_pb2.SignResult:
        error = node_pb2.SignError(code=node_pb2.SignError.CODE_REFUSED, message="no")
        return node_pb2.SignResult(entry_id=item.entry_id, error=error) if item.entry_id == "e2" else result

    kit.node.server.mishaps.sign_result = refuse_two
    for number in (1, 2, 3):
        await kit.node.server.put(f"e{number}", f"/e{number}", "unix:uid:1")
    kit.come()
    await until(lambda: len(kit.cache.held) == 2 and kit.cache.attempts)
    assert set(kit.cache.held) == {"e1", "e3"}


async def test_certificates_of_a_removed_authority_are_replaced_at_once(kit: Kit) -> None:
    await kit.node.server.put("e1", "/web", "unix:uid:1")
    group, _ = kit.come()
    await until(lambda: group.view)
    before = kit.cache.held["e1"].identity
    first = kit.node.server.authorities[0]
    await kit.node.server.add_authority()
    await until(lambda: len(kit.upstream.identity.bundle.x509_authorities) == 2)
    await asyncio.sleep(0.1)
    assert len(kit.node.server.seen.watches) == 1, "one that was only added is no reason to connect anew"
    assert kit.cache.held["e1"].identity is before, "still vouched for"
    kit.node.server.authorities.remove(first)
    await kit.node.server.announce_bundle()
    await until(lambda: kit.cache.held["e1"].identity is not before)
    assert not kit.cache.replace_at


async def test_a_revoked_certificate_is_replaced_at_once_with_a_new_key_and_others_stay(kit: Kit) -> None:
    server = kit.node.server
    await server.put("e1", "/web", "unix:uid:1")
    await server.put("e2", "/db", "unix:uid:1")
    kit.come()
    await until(lambda: len(kit.cache.held) == 2)
    before = dict(kit.cache.held)
    serial = before["e1"].identity.certificate.serial
    server.crls = (make_crl(server.authorities[0], serial),)
    await server.announce_bundle()
    await until(lambda: kit.cache.held["e1"] is not before["e1"])
    after = kit.cache.held["e1"].identity.certificate
    assert after.serial != serial
    assert after.private_key_pem.reveal() != before["e1"].identity.certificate.private_key_pem.reveal()
    assert kit.cache.held["e2"] is before["e2"]
    assert not kit.cache.replace_at and len(server.seen.watches) == 1


async def test_a_certificate_that_is_on_its_crl_already_is_not_served(kit: Kit) -> None:
    server, revoked = kit.node.server, set[str]()

    def revoke(_: node_pb2.SignItem, result: node_pb2.SignResult) -> node_pb2.SignResult:
        if not revoked:
            serial = parse_svid(result.svid.certificate_chain).serial
            revoked.add(serial)
            crl = make_crl(server.authorities[0], serial)
            kit.cache.apply((), bundle=replace(server.bundle, crls=(crl,)))
        return result

    server.mishaps.sign_result = revoke
    await server.put("e1", "/web", "unix:uid:1")
    kit.come()
    await until(lambda: kit.cache.attempts)
    assert not kit.cache.held and "CRL" in kit.cache.attempts["e1"].reason
    await until(lambda: kit.cache.held)
    assert kit.cache.held["e1"].identity.certificate.serial not in revoked


async def test_what_a_tainted_authority_issued_is_replaced_over_a_while(kit: Kit) -> None:
    server, number = kit.node.server, 12
    server.svid_ttl = timedelta(seconds=20)
    for each in range(number):
        await server.put(f"e{each}", f"/e{each}", "unix:uid:1")
    kit.come()
    await until(lambda: len(kit.cache.held) == number)
    first = server.authorities[0]
    await server.add_authority()
    server.tainted = frozenset({first.authority.id})
    calls = len(server.seen.signs)
    await server.announce_bundle()
    await until(lambda: kit.cache.replace_at)
    now = kit.node.clock.now()
    left = [(at - now).total_seconds() for at in kit.cache.replace_at.values()]
    assert max(left) <= 2.1, "a tenth of the life that is left, which is less than five minutes"
    assert len(set(left)) > 1, "not all in one moment"
    await until(lambda: not kit.cache.replace_at)
    assert {svid.authority_id for svid in kit.cache.held.values()} == {server.authorities[1].authority.id}
    assert len(server.seen.signs) - calls > number / kit.issuer._options.batch


async def test_a_crl_that_cannot_be_read_is_told_and_stops_nothing(kit: Kit) -> None:
    server = kit.node.server
    await server.put("e1", "/web", "unix:uid:1")
    group, _ = kit.come()
    await until(lambda: group.view)
    with capture_logs() as logs:
        server.crls = (b"rubbish",)
        await server.announce_bundle()
        await until(lambda: any("cannot be used" in line["event"] for line in logs))
    assert group.view.resolve("ROOTCA").content.crl_pem, "sidecars judge it themselves"  # type: ignore[union-attr]
    await server.put("e2", "/db", "unix:uid:1")
    await until(lambda: len(kit.cache.held) == 2)


async def test_other_kinds_of_key() -> None:
    for kind in (KeyType.ECDSA_P384, KeyType.RSA_2048, KeyType.ED25519):
        (request,) = prepare([(entry(), node_pb2.ProcessInfo())], kind)
        assert parse_csr(request.csr).key_hash == request.key_hash
