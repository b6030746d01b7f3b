"""A real Envoy's first secrets, and who gets none."""

from __future__ import annotations

import os

import grpc
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from sds.demo.envoy_config import SdsProtocol
from sds.demo.ports import free_ports
from sds.demo.traffic import Tally
from tests.e2e.harness import sds_client
from tests.e2e.harness.http import one_request
from tests.e2e.harness.tls import context, presented, uri_of
from tests.e2e.harness.wait import eventually, stays
from tests.e2e.harness.world import World

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("protocol", SdsProtocol)
async def test_two_envoys_load_their_secrets_and_talk(world: World, protocol: SdsProtocol) -> None:
    await world.entry("front")
    await world.entry("back")
    pair = await world.pair(protocol)
    tally = await one_request(pair.url, Tally())
    assert (tally.requests, tally.failed) == (1, 0), list(tally.failures)
    assert tally.client_ids == {world.id("front")}
    assert set(tally.client_serials) == await pair.front.admin.serials()
    assert set(tally.server_serials) == await pair.back.admin.serials()
    for envoy in (pair.front, pair.back):
        assert set(await envoy.admin.secrets()) == {"default", "ROOTCA"}
        assert all((await envoy.admin.stats("sds[.].*[.]update_success")).values())
        assert sum((await envoy.admin.stats("sds[.].*[.]update_rejected")).values()) == 0


async def test_what_the_peer_presents_is_an_svid_of_its_own_entry(world: World) -> None:
    await world.entry("front")
    await world.entry("back", "--dns", "back.test", "--x509-ttl", "1h")
    await world.own_entry("probe")
    pair = await world.pair()
    bundle = await sds_client.fetch(world.stack.sds_socket, "ROOTCA")
    leaf = await presented(pair.back_port, context(bundle.validation_context.trusted_ca.inline_bytes))
    assert uri_of(leaf) == world.id("back")
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["back.test"]
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usage) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


async def test_two_envoys_with_different_identities_share_the_socket(world: World) -> None:
    """Both ask for `default`, and each also for the other's ID by name."""
    for name in ("one", "two"):
        await world.entry(name)
    ports = free_ports(4)
    for i, (name, other) in enumerate((("one", "two"), ("two", "one"))):
        greedy = {"/greedy": world.id(other)}
        config = world.front_config(name, ports[i], ports[i + 2], [other], world.source(), greedy)
        envoy = await world.envoy(name, config)
        held = await envoy.admin.secrets()
        assert held["default"]
        assert held[world.id(other)] == ""
        certificates = (await envoy.admin.json("/certs"))["certificates"]
        leaves = [leaf for c in certificates for leaf in c.get("cert_chain", ())]
        assert {san["uri"] for leaf in leaves for san in leaf["subject_alt_names"] if "uri" in san} == {world.id(name)}


@pytest.mark.parametrize("protocol", SdsProtocol)
async def test_an_unknown_name_beside_a_good_one(world: World, protocol: SdsProtocol) -> None:
    """The good one arrives at once, the stream lives, and rotations of the good one still come."""
    entry = await world.entry("front")
    await world.entry("back")
    ports = free_ports(2)
    unknown = {"/unknown": "no-such-secret"}
    config = world.front_config("front", ports[0], ports[1], ["back"], world.source(protocol), unknown)
    envoy = await world.envoy("front", config)
    secrets = await envoy.admin.secrets()
    assert secrets["default"]
    assert secrets["no-such-secret"] == ""
    before = await envoy.admin.serials()
    await world.rotate(entry, 1)

    async def rotated() -> bool:
        return (await envoy.admin.serials()) != before

    await eventually(rotated)
    assert sum((await envoy.admin.stats("sds[.].*[.]update_rejected")).values()) == 0


async def test_a_process_with_no_entry_gets_nothing_and_the_log_says_which_selectors_it_had(world: World) -> None:
    ports = free_ports(2)
    envoy = await world.envoy(
        "nobody", world.front_config("nobody", ports[0], ports[1], ["back"], world.source(initial_fetch_timeout=0.5))
    )

    async def nothing() -> bool:
        return set((await envoy.admin.secrets()).values()) == {""} and not await envoy.admin.serials()

    await stays(nothing, during=1.0)
    log = world.stack.agent.log.read_text()
    assert f"unix:path:{world.binary('nobody')}" in log
    assert f"unix:uid:{os.geteuid()}" in log


async def test_fetch_of_an_unknown_name_is_not_found(world: World) -> None:
    await world.own_entry()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await sds_client.fetch(world.stack.sds_socket, "no-such-secret")
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND
