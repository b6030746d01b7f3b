"""Certificates by a profile of one's own: real Envoys take them, and follow when entry or profile change."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from cryptography import x509

from sds.demo.traffic import Tally
from tests.e2e.harness import sds_client
from tests.e2e.harness.cli import sds
from tests.e2e.harness.http import one_request
from tests.e2e.harness.wait import eventually
from tests.e2e.harness.world import World
from tests.e2e.harness.world import world as new_world

pytestmark = pytest.mark.e2e

PREFIX = "SDS_SERVER_CA__PROFILES__GATEWAY__"
GATEWAY = {
    f"{PREFIX}DNS_NAMES": ".example.org",
    f"{PREFIX}IP_RANGES": "10.0.0.0/8",
    f"{PREFIX}SUBJECT": "O=Example Ltd,C=DE",
    f"{PREFIX}SUBJECT_ATTRIBUTES": "CN:40",
    f"{PREFIX}KEY_USAGE": "digital_signature,key_agreement",
    f"{PREFIX}EXTENDED_KEY_USAGE": "server_auth,client_auth,email_protection",
    f"{PREFIX}CRL_DISTRIBUTION_POINTS": "http://pki.example.org/{authority}.crl",
    f"{PREFIX}OCSP_RESPONDERS": "http://pki.example.org/ocsp",
    f"{PREFIX}CA_ISSUERS": "http://pki.example.org/{authority}.cer",
}


async def held(world: World) -> x509.Certificate:
    """What this process gets from the agent."""
    svid = sds_client.svid_of(await sds_client.fetch(world.stack.sds_socket, "default"))
    return x509.load_pem_x509_certificates(svid.chain_pem)[0]


def alternative_names(leaf: x509.Certificate) -> list[object]:
    return [name.value for name in leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value][1:]


async def test_envoys_talk_with_certificates_of_a_profile() -> None:
    """With a subject, usages and addresses that the plain ones don't have."""
    async with new_world(server_env=GATEWAY) as world:
        await world.start()
        for name in ("front", "back"):
            dns = f"{name}.example.org"
            more = ("--profile", "gateway", "--dns", dns, "--san", "ip:10.0.0.7", "--subject", f"CN={dns}")
            await world.entry(name, *more)
        pair = await world.pair()
        tally = await one_request(pair.url, Tally())
        assert (tally.requests, tally.failed) == (1, 0), tally.failures


async def test_an_entry_and_its_profile_change_under_a_running_agent() -> None:
    async with new_world(server_env=GATEWAY) as world:
        await world.start()
        entry = await world.own_entry("test", "--profile", "gateway", "--dns", "a.example.org")
        assert alternative_names(await held(world)) == ["a.example.org"]
        await world.cli("entry", "update", entry["id"], "--san", "ip:10.0.0.7", "--subject", "CN=a.example.org")

        async def follows() -> bool:
            leaf = await held(world)
            return alternative_names(leaf) == ["a.example.org", ip_address("10.0.0.7")] and "CN=a.example.org" in str(
                leaf.subject.rfc4514_string()
            )

        await eventually(follows)
        refused = await sds(
            *("entry", "update", entry["id"], "--san", "ip:192.168.0.1"),
            *("--admin-socket", str(world.stack.admin_socket), "--output", "json"),
        )
        assert refused.status == 1
        assert "extra_sans" in refused.err
        assert alternative_names(await held(world)) == ["a.example.org", ip_address("10.0.0.7")]


async def test_a_server_with_a_profile_that_makes_no_sense_does_not_start() -> None:
    env = {**GATEWAY, f"{PREFIX}IP_RANGES": "224.0.0.0/4", "SDS_SERVER_TRUST_DOMAIN": "example.org"}
    for command in (("config", "check"), ("server", "run")):
        ran = await sds(*command, env=env)
        assert ran.status == 6
        assert "ca.profiles.gateway" in ran.err
        assert "names no host" in ran.err
