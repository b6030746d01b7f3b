"""The service under clients that are hostile, hung, gone, or many."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from attestation.errors import AttestationRefused
from sds.delivery.service import DeliverySettings
from sds.delivery.subscription import Limits
from tests.contract.sds.conftest import Running, serve
from tests.fakes.sds_clients import ADS, SDS, SECRET_TYPE, EnvoyDelta, EnvoySotw, Mosn
from tests.fakes.secrets import CANARY_KEY, view

STREAMS = (
    f"{SDS}StreamSecrets",
    f"{SDS}DeltaSecrets",
    f"{ADS}StreamAggregatedResources",
    f"{ADS}DeltaAggregatedResources",
)
TIGHT = DeliverySettings(streams=3, message_bytes=4096, silent_grace=0.05, names=Limits(names=4, name_length=100))


@pytest.fixture
async def tight(tmp_path: Path) -> AsyncIterator[Running]:
    async with serve(tmp_path / "tight.sock", TIGHT) as started:
        yield started


async def ending(running: Running, method: str, *messages: bytes) -> tuple[grpc.StatusCode, str]:
    """How a stream of raw `messages` ends."""
    call = running.channel().stream_stream(method)()
    try:
        for message in messages:
            await call.write(message)
        while await call.read() is not grpc.aio.EOF:
            pass
    except (grpc.RpcError, asyncio.InvalidStateError):
        pass
    return await call.code(), await call.details()


async def served(running: Running) -> None:
    """Someone else still is."""
    async with EnvoySotw(running.channel(), ("default",)) as other:
        await other.until_holds("default")


# Bad messages


@pytest.mark.parametrize("method", STREAMS)
async def test_what_cannot_be_parsed_ends_the_stream_without_an_echo(running: Running, method: str):
    code, details = await ending(running, method, b"\xff\xffcanary")
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "DiscoveryRequest" in details and "canary" not in details
    await served(running)


@pytest.mark.parametrize("method", STREAMS)
async def test_random_bytes_harm_only_their_stream(running: Running, method: str):
    """Seeded, and mutated from a good request, so that much of it goes deep. Bounded: the point is that it is served."""
    dice = random.Random(20260101)
    kind = EnvoyDelta if "Delta" in method else EnvoySotw
    field = "resource_names_subscribe" if "Delta" in method else "resource_names"
    good = kind.REQUEST(type_url=SECRET_TYPE, **{field: ["default", "nope"]}).SerializeToString()
    async with EnvoySotw(running.channel(), ("default",)) as other:
        await other.until_holds("default")
        channel = running.channel()
        for _ in range(60):
            bytes_ = bytearray(good)
            for _ in range(dice.randrange(1, 6)):
                bytes_[dice.randrange(len(bytes_))] = dice.randrange(256)
            call = channel.stream_stream(method)()
            await call.write(bytes(bytes_[: dice.randrange(len(bytes_) + 1)]))
            await call.done_writing()
            while True:
                try:
                    if await call.read() is grpc.aio.EOF:
                        break
                except grpc.RpcError:
                    break
            assert await call.code() in {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT}
        running.caller.change(view(2))
        await other.until(lambda: len(other.received) == 2)
    assert not running.observer.of("crashed")


async def test_invalid_text_in_a_name_is_an_invalid_request(running: Running):
    message = b"\x1a\x02\xff\xfe"  # field 3, resource_names, no UTF-8
    assert (await ending(running, STREAMS[0], message))[0] is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_malformed_fetch(running: Running):
    fetch = running.channel().unary_unary(f"{SDS}FetchSecrets")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await fetch(b"\xff\xffcanary")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "canary" not in str(caught.value.details())


# Limits


async def test_too_many_names_too_long_names_and_too_large_messages(tight: Running):
    many = EnvoySotw.REQUEST(resource_names=[f"n{number}" for number in range(5)]).SerializeToString()
    long = EnvoySotw.REQUEST(resource_names=["n" * 101]).SerializeToString()
    large = EnvoySotw.REQUEST(resource_names=["n" * 5000]).SerializeToString()
    assert await ending(tight, STREAMS[0], many) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "more than 4 resource names on one stream",
    )
    assert await ending(tight, STREAMS[0], long) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "a resource name is longer than 100 characters",
    )
    assert (await ending(tight, STREAMS[0], large))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
    await served(tight)


async def test_too_many_streams(tight: Running):
    channel = tight.channel()
    held = [await EnvoySotw(channel, ("default",)).connect() for _ in range(3)]
    for client in held:
        await client.until_holds("default")
    assert (await ending(tight, STREAMS[1]))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert tight.observer.of("rejected") == [("delta", "too many streams")]
    await held[0].close()
    await tight.settled(2)
    await served(tight)
    for client in held[1:]:
        await client.close()


# Who may not


async def test_a_caller_that_is_not_attested_is_refused_with_the_reason(running: Running):
    running.callers.refusal = AttestationRefused("process 7 has exited")
    for method in STREAMS:
        assert await ending(running, method) == (grpc.StatusCode.PERMISSION_DENIED, "process 7 has exited")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await Mosn(running.channel()).fetch("default")
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert [reason for _, reason in running.observer.of("rejected")] == ["process 7 has exited"] * 5
    running.callers.refusal = None
    await served(running)


async def test_a_mistake_of_ours_says_nothing_to_the_client(running: Running):
    running.callers.refusal = RuntimeError("canary")
    assert await ending(running, STREAMS[0]) == (grpc.StatusCode.INTERNAL, "internal error")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await Mosn(running.channel()).fetch("default")
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.INTERNAL, "internal error")
    assert [protocol for protocol, _ in running.observer.of("crashed")] == ["sotw", "fetch"]


# Slow, hung and vanished


async def test_a_client_that_does_not_read_holds_up_nobody_and_gets_the_newest(running: Running):
    slow = EnvoySotw(running.channel(), ("default",))
    await slow.connect()
    await slow.until_holds("default")
    slow.stall()
    async with EnvoySotw(running.channel(), ("default",)) as other:
        await other.until_holds("default")
        for generation in range(2, 62):
            running.caller.change(view(generation, padding=200_000))
            await other.until(lambda: len(other.received) == generation)  # noqa: B023
        slow.unstall()
        newest = other.versions["default"]
        await slow.until(lambda: slow.versions["default"] == newest)
    assert len(slow.received) < 50, "what was overtaken is not delivered"
    await slow.close()


async def test_many_streams_of_a_client_that_vanishes_leave_everyone_else_served(running: Running):
    async with EnvoyDelta(running.channel(), ("default",)) as other:
        await other.until_holds("default")
        channel = running.channel()
        calls = [channel.stream_stream(STREAMS[0])() for _ in range(2000)]
        ask = EnvoySotw.REQUEST(resource_names=["default"]).SerializeToString()
        await asyncio.gather(*(call.write(ask) for call in calls[:200]))
        await asyncio.sleep(0.05)
        await channel.close()
        running.caller.change(view(2))
        await other.until(lambda: len(other.received) == 2)
        await running.settled(1)
        await served(running)
    assert not running.observer.of("crashed")


async def test_a_server_that_stops_ends_its_streams_quietly(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """`serve` checks that no task and no watch is left."""
    async with serve(tmp_path / "sds.sock") as running:
        clients = [await EnvoySotw(running.channel(), ("default",)).connect() for _ in range(5)]
        for client in clients:
            await client.until_holds("default")
        await running.stop()
        for client in clients:
            code, _ = await client.until_ended()
            assert code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
            await client.close()
    assert not caplog.records


# Secrets


async def test_keys_leave_memory_with_their_view_and_show_in_no_text(running: Running):
    async with EnvoySotw(running.channel(), ("default", "ROOTCA")) as client:
        await client.until(lambda: len(running.observer.of("acked")) == 2)
        for generation in range(2, 30):
            running.caller.change(view(generation))
            await client.until(lambda: len(running.observer.of("acked")) == generation + 1)  # noqa: B023
        assert len(running.service.encodings) <= 4, "superseded versions are forgotten"
        texts = repr((running.caller.view(), running.registry.snapshot(), running.observer.events, running.service))
        assert b"canary" in CANARY_KEY and "canary" not in texts
