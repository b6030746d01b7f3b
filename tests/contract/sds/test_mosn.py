"""MOSN's habits through a real server: research into its client says that strict servers break it."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from sds.delivery.messages import NOT_GRANTED
from sds.delivery.view import EMPTY
from tests.contract.sds.conftest import Running
from tests.fakes.sds_clients import Mosn, node
from tests.fakes.secrets import DB, WEB, view

BOTH = ("default", "ROOTCA")


async def test_each_secret_is_asked_for_alone_and_both_rotate(running: Running):
    async with Mosn(running.channel()) as mosn:
        for name in BOTH:
            await mosn.require(name)
        await mosn.until(lambda: len(running.observer.of("acked")) == 2)
        for generation in (2, 3):
            running.caller.change(view(generation, generation))
            await mosn.until(lambda: len(running.observer.of("acked")) == 2 * generation)  # noqa: B023
        assert len(mosn.received) == 6
    assert not running.observer.of("ignored") + running.observer.of("nacked")


async def test_a_name_that_is_not_there_yet_is_not_lost_by_acks_of_the_others(running: Running):
    async with Mosn(running.channel()) as mosn:
        for name in (str(DB), *BOTH):
            await mosn.require(name)
        await mosn.until(lambda: len(running.observer.of("acked")) == 2)
        running.caller.change(view(ids=(WEB, DB)))
        await mosn.until_holds(str(DB))
    assert running.observer.of("refused") == [(str(DB), NOT_GRANTED)]


async def test_a_name_asked_for_later_is_answered(running: Running):
    async with Mosn(running.channel()) as mosn:
        await mosn.require("default")
        await mosn.until(lambda: len(running.observer.of("acked")) == 1)
        await mosn.require("ROOTCA")
        await mosn.until_holds(*BOTH)
        assert [name for name, _ in mosn.received] == list(BOTH)


async def test_after_a_reconnect_the_silent_stream_is_served_what_was_asked_for_before(running: Running):
    async with Mosn(running.channel()) as mosn:
        for name in BOTH:
            await mosn.require(name)
        await mosn.until_holds(*BOTH)
        await mosn.disconnect()
        await running.settled()
        running.caller.change(view(2, ca=2))
        await mosn.connect()
        await mosn.until(lambda: len(mosn.received) == 4)
        running.caller.change(view(3, ca=3))
        await mosn.until(lambda: len(mosn.received) == 6)
    assert running.observer.of("resumed") == [(2,)]


async def test_a_silent_stream_of_a_stranger_is_served_nothing(running: Running):
    async with Mosn(running.channel()) as mosn:
        await asyncio.sleep(0.3)
        running.caller.change(view(2))
        await asyncio.sleep(0.1)
        assert not mosn.received
    assert not running.observer.of("resumed")


async def test_a_silent_stream_waits_for_an_identity_that_is_not_there_yet(running: Running):
    """The agent was restarted and has not heard from its server yet."""
    running.caller.change(EMPTY)
    running.caller.remember(BOTH)
    async with Mosn(running.channel()) as mosn:
        await mosn.until(lambda: running.observer.of("resumed") == [(2,)])
        running.caller.change(view())
        await mosn.until_holds(*BOTH)
    assert running.observer.of("resumed") == [(2,)]


async def test_who_speaks_in_time_is_not_served_what_it_did_not_ask_for(running: Running):
    running.caller.remember(BOTH)
    async with Mosn(running.channel()) as mosn:
        await mosn.require("ROOTCA")
        await mosn.until_holds("ROOTCA")
        await asyncio.sleep(0.3)
        assert [name for name, _ in mosn.received] == ["ROOTCA"]
    assert not running.observer.of("resumed")


async def test_what_is_remembered_is_safe_to_store(running: Running):
    async with Mosn(running.channel()) as mosn:
        for name in ("a\x00b", "default", "\u202e"):
            await mosn.require(name)
        await mosn.until_holds("default")
        await mosn.until(lambda: len(running.observer.of("refused")) == 2)
    assert running.caller.remembered() == ("default",)
    shown = [name for name, _ in running.observer.of("refused")]
    assert shown == ["a\ufffdb", "\ufffd"]


async def test_more_remembered_than_a_stream_may_ask_for_is_let_be(running: Running):
    running.caller.remember([f"n{number}" for number in range(1001)])
    async with Mosn(running.channel()) as mosn:
        await asyncio.sleep(0.3)
        assert mosn.ended is None
        await mosn.require("default")
        await mosn.until_holds("default")


async def test_fetch(running: Running):
    async with Mosn(running.channel()) as mosn:
        assert (await mosn.fetch("default")).tls_certificate.certificate_chain.inline_bytes
        assert (await mosn.fetch("ROOTCA")).validation_context.trusted_ca.inline_bytes
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await mosn.fetch("nope")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert running.observer.of("refused") == [("nope", NOT_GRANTED)]


async def test_bundles_are_plain_cas_that_mosn_can_read(running: Running):
    async with Mosn(running.channel(), identity=node("mosn", interval="1")) as mosn:
        await mosn.require("ROOTCA")
        await mosn.until_holds("ROOTCA")
        context = mosn.secrets["ROOTCA"].validation_context
        assert context.trusted_ca.inline_bytes
        assert not context.HasField("custom_validator_config")
