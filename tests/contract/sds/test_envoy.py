"""Envoy's two conversations, on the SDS services and over ADS, through a real server."""

from __future__ import annotations

from collections.abc import Callable

import grpc
import pytest
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.extensions.transport_sockets.tls.v3.tls_spiffe_validator_config_pb2 import SPIFFECertValidatorConfig
from envoy.service.discovery.v3 import discovery_pb2 as xds

from sds.delivery.messages import NO_IDENTITY, NOT_GRANTED, OTHER_TYPE
from sds.delivery.view import EMPTY, View
from tests.contract.sds.conftest import Running
from tests.fakes.sds_clients import SECRET_TYPE, EnvoyDelta, EnvoySotw, node
from tests.fakes.secrets import CANARY_KEY, DB, WEB, view

Make = Callable[..., EnvoySotw | EnvoyDelta]
NAMES = ("default", "ROOTCA", str(WEB))


@pytest.fixture(params=["sotw", "delta", "ads-sotw", "ads-delta"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def envoy(protocol: str, running: Running) -> Make:
    kind = EnvoyDelta if "delta" in protocol else EnvoySotw

    def make(*names: str, **options: object) -> EnvoySotw | EnvoyDelta:
        return kind(running.channel(), names, ads="ads" in protocol, **options)

    return make


def version(source: View, name: str) -> str:
    resource = source.resolve(name)
    assert resource is not None
    return resource.version


async def test_first_load_and_rotation(running: Running, envoy: Make, protocol: str):
    async with envoy(*NAMES) as client:
        await client.until(lambda: len(running.observer.of("acked")) == 3)
        assert client.secrets["default"].tls_certificate.private_key.inline_bytes == CANARY_KEY % 1
        assert client.secrets["ROOTCA"].validation_context.trusted_ca.inline_bytes
        for generation in range(2, 6):
            rotated = view(generation)
            running.caller.change(rotated)
            acks = 3 + 2 * (generation - 1)
            await client.until(lambda: len(running.observer.of("acked")) == acks)  # noqa: B023
            assert client.versions["default"] == version(rotated, "default")
    assert [name for name, _ in client.received].count("ROOTCA") == 1, "unchanged, so sent once"
    assert running.observer.of("opened") == [(protocol,)]
    assert not running.observer.of("ignored") + running.observer.of("refused")


async def test_an_unknown_name_beside_a_good_one(running: Running, envoy: Make):
    async with envoy("nope", "default") as client:
        await client.until_holds("default")
        running.caller.change(view(2))
        await client.until(lambda: client.versions["default"] == version(view(2), "default"))
        assert client.ended is None
        if isinstance(client, EnvoyDelta):
            assert client.removed == {"nope"}
    assert running.observer.of("refused") == [("nope", NOT_GRANTED)]


async def test_an_entry_added_while_envoy_waits(running: Running, envoy: Make):
    running.caller.change(EMPTY)
    async with envoy("default", str(DB)) as client:
        await client.until(lambda: len(running.observer.of("refused")) == 2)
        running.caller.change(view(ids=(DB,)))
        await client.until_holds("default", str(DB))
    assert running.observer.of("refused") == [("default", NO_IDENTITY), (str(DB), NO_IDENTITY)]


async def test_an_entry_deleted(running: Running, envoy: Make):
    async with envoy("default") as client:
        await client.until_holds("default")
        running.caller.change(EMPTY)
        await client.until(lambda: bool(running.observer.of("refused")))
        if isinstance(client, EnvoyDelta):
            await client.until(lambda: client.removed == {"default"})
        assert client.ended is None
        async with envoy("default") as late:
            running.caller.change(EMPTY)
            await client.until(lambda: len(running.observer.of("refused")) == 2)
            assert not late.secrets


async def test_a_nack_is_reported_and_the_same_bytes_never_come_back(running: Running, envoy: Make):
    bad = CANARY_KEY % 2

    def judge(secret: Secret) -> str | None:
        return "key\x1b[31m\nmismatch" if secret.tls_certificate.private_key.inline_bytes == bad else None

    async with envoy("default", judge=judge) as client:
        await client.until(lambda: len(running.observer.of("acked")) == 1)
        running.caller.change(view(2))
        await client.until(lambda: bool(running.observer.of("nacked")))
        running.caller.wake()
        running.caller.change(view(2))
        running.caller.change(view(3))
        await client.until(lambda: len(running.observer.of("acked")) == 2)
        assert client.versions["default"] == version(view(3), "default")
        (state,) = running.registry.snapshot()
    assert [got for _, got in client.received].count(version(view(2), "default")) == 1
    detail = "key\ufffd[31m\ufffdmismatch"
    assert running.observer.of("nacked") == [("default", version(view(2), "default"), detail)]
    assert state.resources[0].nack_detail == detail
    assert state.resources[0].acked_serial == "3"


async def test_reconnecting_is_answered_in_full(running: Running, envoy: Make):
    async with envoy("default") as client:
        await client.until_holds("default")
        await client.disconnect()
        await running.settled()
        await client.connect()
        await client.until(lambda: len(client.received) == 2)
    await running.settled()
    assert {reason for (reason,) in running.observer.of("closed")} == {""}


async def test_two_callers_on_one_socket_get_their_own(running: Running, envoy: Make):
    async with envoy(str(WEB), str(DB)) as web:
        await web.until_holds(str(WEB))
        running.callers.caller = type(running.caller)(view(ids=(DB,)))
        async with envoy(str(WEB), str(DB)) as db:
            await db.until_holds(str(DB))
            assert str(WEB) not in db.secrets
        assert str(DB) not in web.secrets


async def test_names_change_on_the_open_stream(running: Running, envoy: Make):
    async with envoy("default") as client:
        await client.until_holds("default")
        if isinstance(client, EnvoyDelta):
            await client.change(subscribe=["ROOTCA"], unsubscribe=["default"])
        else:
            await client.want("ROOTCA")
        await client.until_holds("ROOTCA")
        running.caller.change(view(2, ca=2))
        await client.until(lambda: client.versions["ROOTCA"] == version(view(2, ca=2), "ROOTCA"))
        assert [name for name, _ in client.received] == ["default", "ROOTCA", "ROOTCA"]


async def test_the_spiffe_validator_on_request(running: Running, envoy: Make):
    async with envoy("ROOTCA", "ALL", identity=node("n", disable_spiffe_cert_validation=False)) as client:
        await client.until_holds("ROOTCA", "ALL")
        for secret in client.secrets.values():
            extension = secret.validation_context.custom_validator_config
            config = SPIFFECertValidatorConfig()
            assert extension.name == "envoy.tls.cert_validator.spiffe"
            assert extension.typed_config.Unpack(config)
            assert [domain.name for domain in config.trust_domains] == ["example.org"]


@pytest.mark.parametrize("kind", [EnvoySotw, EnvoyDelta])
async def test_other_types_on_ads_are_ignored_and_counted(running: Running, kind: type[EnvoySotw | EnvoyDelta]):
    async with kind(running.channel(), (), ads=True, identity=node("n2")) as client:
        request = client.REQUEST(type_url="type.googleapis.com/envoy.config.cluster.v3.Cluster", node=node("n1"))
        await client.send(request)
        await client.send(client.REQUEST(node=node("n2")))
        named = {"resource_names": ["default"]} if kind is EnvoySotw else {"resource_names_subscribe": ["default"]}
        client.names = ["default"]
        await client.send(client.REQUEST(type_url=SECRET_TYPE, **named))
        await client.until_holds("default")
        assert [state.node_id for state in running.registry.snapshot()] == ["n2"]
    assert running.observer.of("ignored") == [(OTHER_TYPE,), (OTHER_TYPE,)]


async def test_a_first_request_with_the_nonce_and_version_of_an_older_stream_is_answered(running: Running):
    async with EnvoySotw(running.channel()) as client:
        client.names = ["default"]
        stale = xds.DiscoveryRequest(
            type_url=SECRET_TYPE, resource_names=["default"], version_info="old", response_nonce="run-1.1"
        )
        await client.send(stale)
        await client.until_holds("default")
        assert [name for name, _ in client.received] == ["default"]


async def test_a_caller_that_is_gone_ends_its_streams(running: Running, envoy: Make):
    async with envoy("default") as client:
        await client.until_holds("default")
        running.caller.leave("process 42 has exited")
        assert await client.until_ended() == (grpc.StatusCode.PERMISSION_DENIED, "process 42 has exited")
    await running.settled()
    assert running.observer.of("closed") == [("process 42 has exited",)]
