"""A server that says nonsense about secrets: nothing of it is used, nothing that was there is lost, nothing ends."""

from __future__ import annotations

from datetime import UTC, datetime

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from sds._pb.sds.node.v1 import node_pb2
from tests.contract.agent.test_agent import World
from tests.fakes.ca import make_svid
from tests.fakes.sds_clients import EnvoyDelta

CANARY = b"canary-of-a-secret"
PAIR = {"chain": b"no PEM " + CANARY, "private_key": CANARY}


def value(fields: dict[str, bytes] | None = None, **changes: object) -> node_pb2.SecretValue:
    given = {"": CANARY} if fields is None else fields
    message = node_pb2.SecretValue(
        kind="generic", version="2", fields=[node_pb2.SecretField(name=k, value=v) for k, v in given.items()]
    )
    for name, change in changes.items():
        setattr(message, name, change)
    return message


def endless() -> node_pb2.SecretValue:
    message = value()
    message.not_after.CopyFrom(Timestamp(seconds=2**60))
    return message


def twice() -> node_pb2.SecretValue:
    message = value()
    message.fields.add(name="", value=b"another")
    return message


BAD = {
    "no kind": value(kind=""),
    "unknown kind": value(kind="recipe"),
    "no version": value(version=""),
    "long version": value(version="v" * 257),
    "unprintable version": value(version="\x1b[2J"),
    "no fields": value({}),
    "a field of no generic": value({"password": CANARY}),
    "twice the same field": twice(),
    "a map without a name": value(kind="map"),
    "too many fields": value({str(i): b"" for i in range(1_025)}, kind="map"),
    "long field name": value({"n" * 257: CANARY}, kind="map"),
    "unprintable field name": value({"\n": CANARY}, kind="map"),
    "oversize": value({"": CANARY * 1_000}),
    "end beyond time": endless(),
    "no certificate": value(PAIR, kind="certificate"),
    "certificate without key": value({"chain": CANARY}, kind="certificate"),
    "no CA": value({"ca": CANARY}, kind="ca_bundle"),
    "empty CA": value({"ca": b""}, kind="ca_bundle"),
    "short ticket key": value({"0": CANARY}, kind="tickets"),
    "tickets with a gap": value({"0": bytes(80), "2": bytes(80)}, kind="tickets"),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
async def test_a_bad_value_is_as_none(
    world: World, channel: grpc.aio.Channel, bad: node_pb2.SecretValue, capsys: pytest.CaptureFixture[str]
) -> None:
    secrets = world.server.secrets
    secrets.put("password", "1", b"good", "e1")
    secrets.put("neighbour", "1", b"1", "e1")
    async with (
        world.running(**{"secrets.max_bytes": 16_384}),
        EnvoyDelta(channel, ("password", "neighbour", "hopeless")) as envoy,
    ):
        await envoy.until_holds("password", "neighbour")
        secrets.say(
            node_pb2.SecretUpdate(name="password", entry_ids=["e1"], value=bad),
            node_pb2.SecretUpdate(name="hopeless", entry_ids=["e1"], value=bad),
        )
        secrets.put("neighbour", "2", b"2")
        await envoy.until(lambda: envoy.secrets["neighbour"].generic_secret.secret.inline_bytes == b"2")
        assert envoy.secrets["password"].generic_secret.secret.inline_bytes == b"good"
        assert "hopeless" not in envoy.secrets
        assert "sds_agent_secrets_rejected_total 2.0" in (await world.ask("/metrics")).text
        status = (await world.ask("/v1/status")).text
    told = capsys.readouterr()
    assert "cannot be used" in told.out + told.err
    for text in (told.out, told.err, status):
        assert CANARY.decode() not in text


ODD = {
    "nothing": node_pb2.SecretUpdate(),
    "no state": node_pb2.SecretUpdate(name="password", entry_ids=["e1"]),
    "no reason": node_pb2.SecretUpdate(name="password", entry_ids=["e1"], absence=node_pb2.SecretAbsence()),
    "unknown reason": node_pb2.SecretUpdate(
        name="password",
        entry_ids=["e1"],
        absence=node_pb2.SecretAbsence(reason=77),  # type: ignore[arg-type]
    ),
    "nobody wants it": node_pb2.SecretUpdate(name="another", entry_ids=["e1"], value=value()),
    "nobody's entry": node_pb2.SecretUpdate(name="password", entry_ids=["e2", "", "x" * 10_000], value=value()),
    "unchanged what never was": node_pb2.SecretUpdate(
        name="hopeless",
        entry_ids=["e1"],
        absence=node_pb2.SecretAbsence(reason=node_pb2.SecretAbsence.REASON_UNCHANGED),
    ),
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())
async def test_odd_updates_change_nothing(world: World, channel: grpc.aio.Channel, odd: node_pb2.SecretUpdate) -> None:
    secrets = world.server.secrets
    secrets.put("password", "1", b"good", "e1")
    async with world.running(), EnvoyDelta(channel, ("password", "hopeless")) as envoy:
        await envoy.until_holds("password")
        for _ in range(3):
            secrets.say(odd)
        secrets.put("password", "3", b"newer")
        await envoy.until(lambda: envoy.secrets["password"].generic_secret.secret.inline_bytes == b"newer")
        assert [name for name, version in envoy.received if version] == ["password", "password"]
        assert secrets.opened == 1


async def test_what_stops_listening_is_asked_anew(world: World, channel: grpc.aio.Channel) -> None:
    secrets = world.server.secrets
    secrets.put("password", "1", b"good", "e1")
    async with world.running(), EnvoyDelta(channel, ("password",)) as envoy:
        await envoy.until_holds("password")
        secrets.refusal = (grpc.StatusCode.RESOURCE_EXHAUSTED, "an agent may want at most 1 secrets at once")
        secrets.cut()
        await envoy.until(lambda: secrets.refused >= 2)
        assert secrets.opened == 1
        assert envoy.secrets["password"].generic_secret.secret.inline_bytes == b"good"
        assert not envoy.removed
        secrets.put("password", "2", b"newer")
        secrets.refusal = None
        await envoy.until(lambda: envoy.secrets["password"].generic_secret.secret.inline_bytes == b"newer")
        assert ("e1", "password") in secrets.wanted
        assert secrets.opened == 2


async def test_a_gateway_certificate_that_has_a_wrong_neighbour(world: World, channel: grpc.aio.Channel) -> None:
    """Several names on one stream: one bad value holds up no other."""
    secrets = world.server.secrets
    holder = make_svid("spiffe://example.org/gateway", now=datetime.now(UTC))
    good = {"chain": holder.chain_pem, "private_key": holder.key_pem.reveal()}
    names = [f"gateway/{number}" for number in range(20)]
    for number, name in enumerate(names):
        secrets.put(name, "1", PAIR if number == 7 else good, "e1", kind="certificate")
    async with world.running(), EnvoyDelta(channel, names, ads=True) as envoy:
        await envoy.until_holds(*(name for name in names if name != "gateway/7"))
        await envoy.until(lambda: envoy.removed == {"gateway/7"})
        secrets.put("gateway/7", "2", good, kind="certificate")
        await envoy.until_holds("gateway/7")
        chains = {envoy.secrets[name].tls_certificate.certificate_chain.inline_bytes for name in names}
        assert chains == {holder.chain_pem}
        assert not envoy.removed
