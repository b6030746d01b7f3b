"""Hostile requests and certificates at the real front door: refused with an answer, or nothing of them in the result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from cryptography import x509

from ca.csr import build_csr
from ca.keys import KeyType, PrivateKey, generate, spki_der
from ca.svid import X509Svid, parse_svid
from sds._pb.sds.node.v1 import node_pb2
from tests.contract.node.harness import AGENT, OTHER_AGENT, Identity, Node, running, status_of
from tests.contract.node.test_sign import codes, sign
from tests.fakes.ca import make_authority, make_svid
from tests.unit.ca import der
from tests.unit.ca.hostile import certificates as forge
from tests.unit.ca.hostile.certificates import Parts, Party
from tests.unit.ca.test_csr import hostile_attributes

E = node_pb2.SignError
KEY = generate(KeyType.ECDSA_P256)
UNPROVEN = der.request(der.request_info(spki_der(KEY.public_key())), generate(KeyType.ECDSA_P256))

BAD_REQUESTS: Mapping[str, Callable[[], bytes]] = {
    "RSA of 16384 bits": lambda: der.unsigned_request(der.rsa_spki(1 << 16383 | 1, 65537)),
    "RSA of 1024 bits": lambda: der.unsigned_request(der.rsa_spki(1 << 1023 | 1, 65537)),
    "RSA exponent 1": lambda: der.unsigned_request(der.rsa_spki(1 << 2047 | 1, 1)),
    "RSA exponent 3": lambda: der.unsigned_request(der.rsa_spki(1 << 2047 | 1, 3)),
    "a wrong signature": lambda: UNPROVEN,
    "a point off the curve": lambda: der.unsigned_request(
        der.ec_spki(der.oid("1.2.840.10045.3.1.7"), b"\x04" + b"\x01" * 64)
    ),
    "version 2": lambda: der.request(der.request_info(spki_der(KEY.public_key()), version=1), KEY),
    "something behind": lambda: build_csr(KEY) + b"\0",
    "a certificate": forge.leaf,
    "nothing": lambda: b"",
    "17 kB": lambda: b"\x30" * 17_000,
}


async def test_bad_requests_are_refused_each_for_itself(node: Node) -> None:
    agent = await node.attest()
    entry = (await node.entry())["id"]
    asked = [(entry, make()) for make in BAD_REQUESTS.values()]
    results = await sign(node, agent, (entry, build_csr(KEY)), *asked, (entry, build_csr(KEY)))
    assert codes(results) == [0, *[E.CODE_CSR_REFUSED] * len(asked), 0]
    issued = [e for e in await node.events("certificate.issue") if e["details"]["profile"] == "workload"]
    assert len(issued) == 2


@pytest.mark.parametrize("attributes", [hostile_attributes()], ids=["all"])
async def test_what_a_request_asks_for_is_in_no_certificate(
    node: Node, attributes: Mapping[str, tuple[bytes, ...]]
) -> None:
    """CA, other names, 10 kB of them, unknown critical extensions, two of one kind, tricks in URIs."""
    agent = await node.attest()
    entry = (await node.entry(dns_names=["web.example.org"]))["id"]
    subject = der.tlv(der.SEQUENCE, der.tlv(der.SET, der.tlv(der.SEQUENCE, der.oid("2.5.4.3"), der.tlv(12, b"evil"))))
    requests = [der.request_for(KEY, *each, subject=subject) for each in attributes.values()]
    results = await sign(node, agent, (entry, build_csr(KEY)), *((entry, request) for request in requests))
    assert codes(results) == [0] * len(results)
    plain, *others = [x509.load_der_x509_certificate(result.svid.certificate_chain[0]) for result in results]
    for leaf in others:
        assert list(leaf.extensions) == list(plain.extensions)
        assert (leaf.subject, leaf.public_key()) == (plain.subject, plain.public_key())
        assert leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False


async def test_attesting_and_renewing_read_requests_as_strictly(node: Node) -> None:
    """And a request that was refused costs no token."""
    token = await node.token()
    for make in BAD_REQUESTS.values():
        request = node_pb2.AttestRequest(type="join_token", payload=token.encode(), csr=make())
        code, _ = await status_of(node.attestation().Attest(request, timeout=10))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
    asks = der.request_for(KEY, *hostile_attributes()["asks for CA"])
    request = node_pb2.AttestRequest(type="join_token", payload=token.encode(), csr=asks)
    svid = parse_svid(tuple((await node.attestation().Attest(request, timeout=10)).svid.certificate_chain))
    assert str(svid.spiffe_id) == AGENT
    agent = Identity(KEY, svid)
    stub = node.node(agent)
    for make in BAD_REQUESTS.values():
        code, _ = await status_of(stub.Renew(node_pb2.RenewRequest(csr=make()), timeout=10))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
    await stub.Renew(node_pb2.RenewRequest(csr=asks), timeout=10)


def disguised(issuer: Party, under: bytes, uri: str = AGENT, **changes: object) -> tuple[PrivateKey, bytes]:
    """A leaf that names an agent, by a key that may not sign it."""
    now = datetime.now(UTC)
    extensions = {**forge.LEAF_EXTENSIONS, "names": forge.names(forge.uri(uri))}
    parts = Parts(
        issuer=under,
        spki=forge.LEAF.spki,
        extensions=(*extensions.values(), issuer.issuer_id()),
        start=now - timedelta(minutes=1),
        end=now + timedelta(minutes=5),
    )
    return forge.LEAF.key, replace(parts, **changes).signed(issuer.key)  # type: ignore[arg-type]


def shown(key: PrivateKey, *chain: bytes) -> Identity:
    """What TLS is told to present, unread."""
    svid = parse_svid(chain[:1])
    return Identity(key, X509Svid(svid.spiffe_id, "", svid.not_before, svid.not_after, "", chain))


async def calls_seen(node: Node) -> float:
    text = (await node.admin.get("/metrics")).text
    lines = [line for line in text.splitlines() if line.startswith("sds_server_calls_total{")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


async def refused_at_the_door(node: Node, identity: Identity) -> None:
    """The handshake fails, so no call is ever seen."""
    before = await calls_seen(node)
    stub = node.node(identity)
    code, _ = await status_of(stub.SignX509Svids(node_pb2.SignX509SvidsRequest(), timeout=3))
    assert code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
    assert await calls_seen(node) == before


async def test_a_client_certificate_is_one_of_ours_or_none() -> None:
    async with running() as node:
        agent = await node.attest()
        await node.attest(OTHER_AGENT)
        authority = x509.load_pem_x509_certificate(node.roots)
        name = authority.subject.public_bytes()
        stranger = Party()
        key, forged = disguised(stranger, name)
        own = Party(agent.key)
        leaf_name = x509.load_der_x509_certificate(agent.svid.chain[0]).subject.public_bytes()
        _, below_an_agent = disguised(own, leaf_name, OTHER_AGENT)
        _, by_itself = disguised(forge.LEAF, forge.name("web"))
        attempts = {
            "signed by a stranger with the authority's name": shown(key, forged),
            "the same with the stranger's root": shown(key, forged, stranger_root(stranger, name)),
            "signed by an agent's own key": shown(key, below_an_agent, agent.svid.chain[0]),
            "signed by itself": shown(key, by_itself),
            "of another authority of the same trust domain": other_authority(),
        }
        for identity in attempts.values():
            await refused_at_the_door(node, identity)
        altered = bytearray(agent.svid.chain[0])
        altered[-1] ^= 1
        await refused_at_the_door(node, shown(agent.key, bytes(altered)))
        entry = (await node.entry())["id"]
        before = await calls_seen(node)
        assert codes(await sign(node, agent, (entry, build_csr(KEY)))) == [0]
        assert await calls_seen(node) == before + 1  # it does count, when somebody gets in


def stranger_root(stranger: Party, name: bytes) -> bytes:
    extensions = (
        forge.constraints(ca=True),
        forge.key_usage(0x06, 1),
        stranger.key_id(),
        forge.names(forge.uri("spiffe://example.org")),
    )
    now = datetime.now(UTC)
    return Parts(
        subject=name,
        issuer=name,
        spki=stranger.spki,
        extensions=extensions,
        start=now - timedelta(hours=1),
        end=now + timedelta(hours=1),
    ).signed(stranger.key)


def other_authority() -> Identity:
    now = datetime.now(UTC)
    holder = make_svid(AGENT, make_authority(now=now), profile="agent", now=now)  # type: ignore[arg-type]
    return Identity(holder.key, holder.svid)
