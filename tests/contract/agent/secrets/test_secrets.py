"""Named secrets through the whole agent: a small server that grants and changes them, sidecars with their own habits."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import grpc
import pytest

from sds._pb.sds.node.v1 import node_pb2
from tests.contract.agent.test_agent import ME, World
from tests.fakes.ca import make_svid
from tests.fakes.sds_clients import EnvoyDelta, EnvoySotw, Mosn

CANARY = b"canary-of-a-password"
TICKET_KEYS = {str(place): bytes([place]) * 80 for place in range(3)}


def inline(client: EnvoyDelta | EnvoySotw | Mosn, name: str) -> bytes:
    return bytes(client.secrets[name].generic_secret.secret.inline_bytes)


async def test_every_kind_reaches_envoy_in_its_shape(world: World, channel: grpc.aio.Channel) -> None:
    secrets = world.server.secrets
    holder = make_svid("spiffe://example.org/gateway", now=datetime.now(UTC))
    authority = world.server.bundle.pem()
    secrets.put("password", "1", CANARY, "e1")
    secrets.put("login", "1", {"username": b"u", "password": CANARY}, "e1", kind="map")
    pair = {"chain": holder.chain_pem, "private_key": holder.key_pem.reveal()}
    secrets.put("gateway/cert", "1", pair, "e1", kind="certificate")
    secrets.put("partners", "1", {"ca": authority}, "e1", kind="ca_bundle")
    secrets.put("tickets", "1", TICKET_KEYS, "e1", kind="tickets")
    names = ("password", "login", "gateway/cert", "partners", "tickets", "default")
    async with world.running(), EnvoySotw(channel, names) as envoy:
        await envoy.until_holds(*names)
        assert inline(envoy, "password") == CANARY
        login = envoy.secrets["login"].generic_secret.secrets
        assert {key: login[key].inline_bytes for key in login} == {"username": b"u", "password": CANARY}
        certificate = envoy.secrets["gateway/cert"].tls_certificate
        assert certificate.certificate_chain.inline_bytes == holder.chain_pem
        assert certificate.private_key.inline_bytes == holder.key_pem.reveal()
        assert envoy.secrets["partners"].validation_context.trusted_ca.inline_bytes == authority
        keys = envoy.secrets["tickets"].session_ticket_keys.keys
        assert [key.inline_bytes for key in keys] == list(TICKET_KEYS.values())
        (stream,) = (await world.ask("/v1/streams")).json()["streams"]
        sent = {resource["name"]: resource["sent_serial"] for resource in stream["resources"]}
        assert sent["gateway/cert"] == holder.svid.serial


@pytest.mark.parametrize("ads", [False, True])
@pytest.mark.parametrize("kind", [EnvoySotw, EnvoyDelta])
async def test_a_change_is_pushed_and_what_is_gone_is_told(
    world: World, channel: grpc.aio.Channel, kind: type[EnvoySotw | EnvoyDelta], ads: bool
) -> None:
    secrets = world.server.secrets
    secrets.put("password", "1", CANARY, "e1")
    async with world.running(), kind(channel, ("password", "default"), ads=ads) as envoy:
        await envoy.until_holds("password", "default")
        secrets.put("password", "2", b"newer")
        await envoy.until(lambda: inline(envoy, "password") == b"newer")
        assert [name for name, _ in envoy.received].count("password") == 2
        assert [name for name, _ in envoy.received].count("default") == 1, "nothing else was sent again"
        secrets.revoke("password", "e1")
        if isinstance(envoy, EnvoyDelta):
            await envoy.until(lambda: "password" in envoy.removed)
        async with kind(channel, ("password", "ROOTCA"), ads=ads) as late:
            await late.until_holds("ROOTCA")
            if isinstance(late, EnvoyDelta):
                await late.until(lambda: "password" in late.removed)
            assert "password" not in late.secrets
        secrets.put("password", "3", b"again", "e1")
        await envoy.until(lambda: inline(envoy, "password") == b"again")


async def test_nothing_is_said_before_it_is_known(world: World, channel: grpc.aio.Channel) -> None:
    """Delta's removal makes Envoy go on without the secret, so it comes only when there is none."""
    world.server.secrets.mute = True
    async with world.running(**{"secrets.patience": "1m"}), EnvoyDelta(channel, ("password", "default")) as envoy:
        await envoy.until_holds("default")
        await envoy.until(lambda: ("e1", "password") in world.server.secrets.wanted)
        await envoy.change(subscribe=["ROOTCA"])
        await envoy.until_holds("ROOTCA")  # asked for after the password, and answered
        assert "password" not in [name for name, _ in envoy.received]
        world.server.secrets.mute = False
        world.server.secrets.put("password", "1", CANARY, "e1")
        await envoy.until_holds("password")
        assert not envoy.removed
        assert not [event for report in world.server.seen.reports for event in report.events if event.resource]


async def test_a_server_that_stays_silent_is_not_waited_for_for_ever(world: World, channel: grpc.aio.Channel) -> None:
    world.server.secrets.mute = True
    async with world.running(**{"secrets.patience": "50ms"}), EnvoyDelta(channel, ("password",)) as envoy:
        await envoy.until(lambda: "password" in envoy.removed)
        assert not world.server.secrets.sent
        world.server.secrets.mute = False
        world.server.secrets.put("password", "1", CANARY, "e1")
        await envoy.until_holds("password")


async def test_a_server_that_knows_of_no_secrets(world: World, channel: grpc.aio.Channel) -> None:
    world.server.secrets.refusal = (grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
    async with world.running(**{"secrets.patience": "1m"}), EnvoyDelta(channel, ("password", "default")) as envoy:
        await envoy.until_holds("default")
        await envoy.until(lambda: "password" in envoy.removed)
        assert set(envoy.secrets) == {"default"}
        assert (await world.ask("/v1/status")).json()["secrets"]["held"] == 0


async def test_fetch_waits_for_what_nobody_has_asked_for_before(world: World, channel: grpc.aio.Channel) -> None:
    secrets = world.server.secrets
    secrets.put("password", "1", CANARY, "e1")
    async with world.running():
        mosn = Mosn(channel)
        assert (await mosn.fetch("password")).generic_secret.secret.inline_bytes == CANARY
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await mosn.fetch("nobody-granted-this")
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
        await mosn.until(lambda: not secrets.wanted)
        assert (await world.ask("/v1/status")).json()["secrets"]["wanted"] == 0


async def test_mosn_asks_for_each_name_alone_and_after_a_restart_for_none(
    world: World, channel: grpc.aio.Channel
) -> None:
    secrets = world.server.secrets
    secrets.put("password", "1", CANARY, "e1")
    secrets.put("token", "1", b"t", "e1")
    async with world.running():
        async with Mosn(channel) as mosn:
            await mosn.require("default")
            await mosn.require("password")
            await mosn.require("token")
            await mosn.until_holds("default", "password", "token")
            secrets.put("password", "2", b"newer")
            await mosn.until(lambda: inline(mosn, "password") == b"newer")
        await mosn.until(lambda: not secrets.wanted)
        async with Mosn(channel) as silent:
            await silent.until_holds("default", "password", "token")
            assert inline(silent, "password") == b"newer"


async def test_the_server_is_away_and_nothing_is_lost_or_sent_twice(world: World, channel: grpc.aio.Channel) -> None:
    secrets = world.server.secrets
    secrets.put("password", "1", CANARY, "e1")
    secrets.put("token", "1", b"t", "e1")
    async with world.running(), EnvoySotw(channel, ("password", "token", "default")) as envoy:
        await envoy.until_holds("password", "token", "default")
        await world.server.stop()
        await envoy.until(lambda: not secrets.streams)
        async with EnvoySotw(channel, ("password", "default")) as newcomer:
            await newcomer.until_holds("password", "default")
        secrets.put("token", "2", b"newer")
        await world.server.start()
        await envoy.until(lambda: inline(envoy, "token") == b"newer", within=60)
        assert secrets.sent == [("e1", "password", "1"), ("e1", "token", "1"), ("e1", "token", "2")]
        assert [name for name, _ in envoy.received].count("password") == 1


async def test_a_source_that_fails_takes_nothing_away(world: World, channel: grpc.aio.Channel) -> None:
    secrets = world.server.secrets
    secrets.put("password", "1", CANARY, "e1")
    async with world.running(), EnvoyDelta(channel, ("password",)) as envoy:
        await envoy.until_holds("password")
        secrets.fail("password")
        async with asyncio.timeout(30):
            while (await world.ask("/v1/status")).json()["secrets"]["attention_total"] == 0:
                await asyncio.sleep(0.01)
        (attention,) = (await world.ask("/v1/status")).json()["secrets"]["attention"]
        assert (attention["name"], attention["state"], attention["version"]) == ("password", "stale", "1")
        assert "sds_agent_secrets_stale 1.0" in (await world.ask("/metrics")).text
        async with EnvoyDelta(channel, ("password",)) as newcomer:
            await newcomer.until_holds("password")
        assert not envoy.removed


async def test_what_has_expired_goes_to_nobody_new(world: World, channel: grpc.aio.Channel) -> None:
    end = datetime.now(UTC) + timedelta(seconds=3)
    secrets = world.server.secrets
    secrets.put("login", "1", CANARY, "e1", not_after=end)
    async with world.running(), EnvoyDelta(channel, ("login",)) as envoy:
        await envoy.until_holds("login")

        def reported() -> bool:
            events = [event for report in world.server.seen.reports for event in report.events]
            return any(event.action == "secret.expired" and event.resource == "login" for event in events)

        await envoy.until(reported, within=30)
        async with EnvoyDelta(channel, ("login",)) as newcomer:
            await newcomer.until(lambda: "login" in newcomer.removed)
            assert not envoy.removed, "who has it is left alone"
            secrets.put("login", "2", b"newer", not_after=end + timedelta(hours=1))
            await newcomer.until_holds("login")
            await envoy.until(lambda: inline(envoy, "login") == b"newer")


async def test_a_secret_never_stands_in_for_an_identity_or_a_bundle(world: World, channel: grpc.aio.Channel) -> None:
    secrets = world.server.secrets
    names = ("default", "ROOTCA", "ALL", "spiffe://example.org/web", "spiffe://example.org", "file-cert:/x")
    for name in names:
        secrets.put(name, "1", CANARY, "e1")
    secrets.put("password", "1", b"good", "e1")
    value = node_pb2.SecretValue(kind="generic", version="1", fields=[node_pb2.SecretField(value=CANARY)])
    async with world.running(), EnvoySotw(channel, (*names, "password")) as envoy:
        await envoy.until_holds(*names[:-1], "password")
        assert secrets.wanted == {("e1", "password")}
        secrets.say(*(node_pb2.SecretUpdate(name=name, entry_ids=["e1"], value=value) for name in names))
        secrets.put("password", "2", b"newer")
        await envoy.until(lambda: inline(envoy, "password") == b"newer")  # said after them on the same stream
        assert {name for name, secret in envoy.secrets.items() if secret.HasField("generic_secret")} == {"password"}
        assert "file-cert:/x" not in envoy.secrets


async def test_another_identity_has_other_secrets_at_once(world: World, channel: grpc.aio.Channel) -> None:
    """An entry that is given another SPIFFE ID: what the former one had is not served to the next."""
    secrets = world.server.secrets
    secrets.put("password", "1", CANARY, "e1")
    async with world.running(), EnvoyDelta(channel, ("password",)) as envoy:
        await envoy.until_holds("password")
        secrets.mute = True
        await world.server.put("e1", "/another", ME)
        async with EnvoyDelta(channel, ("default",)) as newcomer:
            await newcomer.until(lambda: secrets.opened == 2)
            await newcomer.until_holds("default")
            await newcomer.change(subscribe=["password", "ROOTCA"])
            await newcomer.until_holds("ROOTCA")
            assert "password" not in newcomer.secrets
            assert "password" not in newcomer.removed
        assert secrets.streams[-1].wanted == {("e1", "password"): ""}


async def test_removed_entries_take_their_secrets_along(world: World, channel: grpc.aio.Channel) -> None:
    """Of two entries that grant one name the first counts; with it gone, the other."""
    secrets = world.server.secrets
    own = [
        node_pb2.SecretValue(kind="generic", version=f"of {i}", fields=[node_pb2.SecretField(value=b"%d" % i)])
        for i in (1, 2)
    ]
    secrets.put_own("password", "e1", own[0])
    secrets.put_own("password", "e2", own[1])
    await world.server.put("e2", "/web/second", ME)
    async with world.running(), EnvoyDelta(channel, ("password",)) as envoy:
        await envoy.until(lambda: "password" in envoy.secrets)
        first = inline(envoy, "password")
        gone = "e1" if first == b"1" else "e2"
        await world.server.delete(gone)
        await envoy.until(lambda: inline(envoy, "password") != first)
        await envoy.until(lambda: {entry for entry, _ in secrets.wanted} == {"e1", "e2"} - {gone})
        assert inline(envoy, "password") == {"e1": b"2", "e2": b"1"}[gone]


async def test_names_are_bounded(world: World, channel: grpc.aio.Channel) -> None:
    async with world.running(**{"secrets.max_per_process": 2}), EnvoyDelta(channel, ("a", "b")) as envoy:
        await envoy.until(lambda: envoy.removed == {"a", "b"})
        async with EnvoyDelta(channel, ("a", "c")) as another:
            code, text = await another.until_ended()
        assert (code, "more than 2 secrets" in text) == (grpc.StatusCode.RESOURCE_EXHAUSTED, True)
