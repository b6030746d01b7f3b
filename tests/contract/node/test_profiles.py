"""Certificate profiles through the front door: what an entry may ask for, what an agent then gets, and what narrows it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from structlog.testing import capture_logs

from ca.keys import KeyType, generate
from ca.svid import parse_svid
from sds._pb.sds.node.v1 import node_pb2
from sds.clock import SystemClock
from sds.config import load_server_config
from sds.store.store import open_store
from tests.contract.node.harness import AGENT, Node, csr, next_message, running
from tests.contract.node.test_sign import codes, sign
from tests.contract.store import samples

E = node_pb2.SignError
GATEWAY = {
    "ca.profiles.gateway.dns_names": ".example.org",
    "ca.profiles.gateway.ip_ranges": "10.0.0.0/8",
    "ca.profiles.gateway.email_domains": "example.org",
    "ca.profiles.gateway.subject": "O=Example,C=DE",
    "ca.profiles.gateway.subject_attributes": "CN:20",
    "ca.profiles.gateway.key_types": "ecdsa-p256,rsa-3072",
    "ca.profiles.gateway.crl_distribution_points": "http://crl.example.org/{authority}.crl",
    "ca.profiles.gateway.max_ttl": "2h",
}
ENTRY = {
    "profile": "gateway",
    "dns_names": ["web.example.org"],
    "extra_sans": ["ip:10.0.0.1", "email:ops@example.org"],
    "subject": "CN=web.example.org",
}


def settings(**changes: str) -> dict[str, Any]:
    wanted = {**GATEWAY, **{f"ca.profiles.gateway.{key}": value for key, value in changes.items()}}
    return {key.replace(".", "__"): value for key, value in wanted.items()}


async def reconfigure(node: Node, given: dict[str, Any]) -> None:
    """What SIGHUP does with a file that says this."""
    flags = {key.replace("__", "."): value for key, value in given.items()}
    node.server.reconfigure(load_server_config(None, {}, {"trust_domain": "example.org", **flags}))
    await node.server._parts.reconfigure.settled()


async def test_a_certificate_is_what_its_profile_and_entry_say() -> None:
    async with running(**settings()) as node:
        agent = await node.attest()
        made = await node.entry(**ENTRY)
        assert {key: made[key] for key in ENTRY} == ENTRY
        (result,) = await sign(node, agent, (made["id"], csr()))
        svid = parse_svid(tuple(result.svid.certificate_chain))
        leaf = x509.load_der_x509_certificate(svid.chain[0])
        get = leaf.extensions.get_extension_for_class
        assert list(get(x509.SubjectAlternativeName).value) == [
            x509.UniformResourceIdentifier("spiffe://example.org/web"),
            x509.DNSName("web.example.org"),
            x509.IPAddress(ip_address("10.0.0.1")),
            x509.RFC822Name("ops@example.org"),
        ]
        assert [(each.oid, each.value) for each in leaf.subject][:3] == [
            (NameOID.COUNTRY_NAME, "DE"),
            (NameOID.ORGANIZATION_NAME, "Example"),
            (NameOID.COMMON_NAME, "web.example.org"),
        ]
        (event,) = [e for e in await node.events("certificate.issue") if e["target"]["id"] == svid.serial]
        (point,) = get(x509.CRLDistributionPoints).value
        issuer = event["details"]["authority_id"]
        assert point.full_name == [x509.UniformResourceIdentifier(f"http://crl.example.org/{issuer}.crl")]
        details = {key: event["details"][key] for key in ("profile", "dns_names", "extra_sans", "subject")}
        assert details == ENTRY
        assert await node.metric("sds_server_issued_total", profile="workload", outcome="success") == 1


async def test_agents_are_told_of_what_their_certificates_follow_from() -> None:
    async with running(**settings()) as node:
        agent = await node.attest()
        made = await node.entry(**ENTRY)
        watch = node.node(agent).WatchAuthorized(node_pb2.WatchAuthorizedRequest())
        (told,) = (await next_message(watch)).upserted
        assert (told.profile, list(told.extra_sans), told.subject) == (
            "gateway",
            ENTRY["extra_sans"],
            ENTRY["subject"],
        )
        await node.api("PUT", f"/v1/entries/{made['id']}", {**made, "extra_sans": []})
        (told,) = (await next_message(watch)).upserted
        assert (told.revision, list(told.extra_sans)) == (2, [])
        watch.cancel()


async def test_a_key_that_the_profile_does_not_take_is_refused() -> None:
    async with running(**settings()) as node:
        agent = await node.attest()
        made = await node.entry(**ENTRY)
        keys = [
            generate(KeyType.ECDSA_P256),
            generate(KeyType.ECDSA_P384),
            generate(KeyType.ED25519),
            rsa.generate_private_key(65537, 2048),
            rsa.generate_private_key(65537, 3072),
        ]
        results = await sign(node, agent, *((made["id"], csr(key)) for key in keys))
        assert codes(results) == [0, E.CODE_REFUSED, E.CODE_REFUSED, E.CODE_REFUSED, 0]
        assert "the profile gateway takes ecdsa-p256, rsa-3072, rsa-4096" in results[1].error.message


async def test_a_profile_that_narrows_counts_from_the_next_certificate_on() -> None:
    """Without a restart; the entry stands, is named in the log, and gets nothing until it fits again."""
    async with running(**settings()) as node:
        agent = await node.attest()
        made = await node.entry(**ENTRY)
        assert codes(await sign(node, agent, (made["id"], csr()))) == [0]
        with capture_logs() as lines:
            await reconfigure(node, settings(ip_ranges="192.168.0.0/16"))
        (line,) = [line for line in lines if "do not fit" in line["event"]]
        assert line["entries"] == [{"id": made["id"], "profile": "gateway"}]
        (result,) = await sign(node, agent, (made["id"], csr()))
        assert result.error.code == E.CODE_REFUSED
        assert "extra_sans: name 1 is in none of the networks" in result.error.message
        refused = await node.admin.put(f"/v1/entries/{made['id']}", json={**made, "hint": "x"})
        assert refused.status_code == 422
        assert [each["field"] for each in refused.json()["problems"]] == ["extra_sans"]
        await reconfigure(node, settings())
        assert codes(await sign(node, agent, (made["id"], csr()))) == [0]


async def test_a_profile_that_is_gone_issues_nothing() -> None:
    async with running(**settings()) as node:
        agent = await node.attest()
        made, plain = await node.entry(**ENTRY), await node.entry("/plain")
        await reconfigure(node, {})
        (result, other) = await sign(node, agent, (made["id"], csr()), (plain["id"], csr()))
        assert result.error.code == E.CODE_REFUSED
        assert "there is no certificate profile gateway" in result.error.message
        assert codes([other]) == [0]


async def test_a_longer_lifetime_than_the_profile_has_is_cut_but_not_taken_anew() -> None:
    async with running(**settings()) as node:
        agent = await node.attest()
        made = await node.entry(**ENTRY, x509_ttl="2h")
        await reconfigure(node, settings(max_ttl="90m"))
        (result,) = await sign(node, agent, (made["id"], csr()))
        svid = parse_svid(tuple(result.svid.certificate_chain))
        assert svid.not_after - svid.not_before < timedelta(minutes=91)
        refused = await node.admin.put(f"/v1/entries/{made['id']}", json={**made, "hint": "x"})
        assert [each["field"] for each in refused.json()["problems"]] == ["x509_ttl"]


async def test_a_row_that_names_an_agents_or_the_servers_profile_gets_nothing(node: Node) -> None:
    """No API stores such a row; here somebody has written it into the database."""
    agent = await node.attest()
    made = [await node.entry(f"/{name}") for name in ("agent", "server")]
    store = open_store(f"sqlite:///{node.folder}/s/sds.sqlite3", clock=SystemClock())
    try:
        for entry in made:

            def forge(uow: Any, entry: dict[str, Any] = entry) -> None:
                standing = uow.entries.get(entry["id"])
                uow.entries.update(entry["id"], replace(standing.spec, profile=entry["spiffe_id"].rpartition("/")[2]))
                uow.audit.append(samples.event("entry.update"))

            await store.write(forge)
    finally:
        await store.close()
    watch = node.node(agent).WatchAuthorized(node_pb2.WatchAuthorizedRequest())
    profiles: dict[str, str] = {}
    while set(profiles.values()) != {"agent", "server"}:
        profiles.update({each.id: each.profile for each in (await next_message(watch)).upserted})
    watch.cancel()
    results = await sign(node, agent, *((entry["id"], csr()) for entry in made))
    assert codes(results) == [E.CODE_REFUSED] * 2
    assert "is not for workloads" in results[0].error.message


async def test_the_servers_own_name_comes_by_no_way(node: Node) -> None:
    """Entry, further name, subject, wildcard: each is told by its field."""
    await node.attest()
    tries = {
        "dns_names": ({"dns_names": ["server.sds.internal"]}, {"dns_names": ["*.internal"]}),
        "extra_sans": ({"extra_sans": ["email:x@server.sds.internal"]}, {"extra_sans": ["dns:server.sds.internal"]}),
        "subject": ({"subject": "CN=server.sds.internal"}, {"subject": "CN=a/CN\\=server.SDS.internal"}),
    }
    for field, bodies in tries.items():
        for body in bodies:
            wanted = {"spiffe_id": "spiffe://example.org/x", "parent_id": AGENT, "selectors": ["unix:uid:1"], **body}
            answer = await node.admin.post("/v1/entries", json=wanted)
            assert answer.status_code == 422, body
            assert {each["field"] for each in answer.json()["problems"]} == {field}
