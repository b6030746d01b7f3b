"""Streams of secrets at their ends: bans, expiry, hostile wants, bounds, heartbeats, tickets, an audit log that cannot be written."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from ca.masked import Masked
from sds._pb.sds.node.v1 import node_pb2
from sds.server.secrets.hook import sign
from tests.contract.node.harness import AGENT, DEADLINE, Node, agent_path, running, status_of
from tests.contract.node.secret_kit import ABSENT, WEB, Operator, Stream, delivered


async def ended(stream: Stream) -> grpc.StatusCode:
    """How the stream ended, once it has."""
    async with asyncio.timeout(DEADLINE):
        try:
            while (await stream.call.read()) is not grpc.aio.EOF:
                pass
        except grpc.aio.AioRpcError as error:
            return error.code()
        return await stream.call.code()


async def test_a_banned_agent_is_cut_off_at_once(node: Node) -> None:
    agent, operator = await node.attest(), Operator(node)
    entry = (await node.entry("/web"))["id"]
    secret = await operator.define("s", WEB)
    await operator.put(secret, b"value")
    stream = Stream(node, agent)
    await stream.want((entry, "s"))
    await stream.until(entry, "s", b"value")
    await node.api("POST", f"{agent_path(AGENT)}/ban", {"reason": "test"})
    assert await ended(stream) in {grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAVAILABLE}
    await operator.put(secret, b"unseen")
    assert [one["version"] for one in await delivered(node)] == ["1"]
    assert not list(operator.engine.shelf.slots())


async def test_a_caller_whose_certificate_ends_is_cut_off(node: Node) -> None:
    agent, operator = await node.attest(), Operator(node)
    entry = (await node.entry("/web"))["id"]
    secret = await operator.define("s", WEB)
    await operator.put(secret, b"value")
    stream = Stream(node, agent)
    await stream.want((entry, "s"))
    await stream.until(entry, "s", b"value")
    node.clock.offset += agent.svid.not_after - agent.svid.not_before
    assert await ended(stream) is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize(
    ("wants", "status"),
    [
        ([("e" * 257, "s")], grpc.StatusCode.INVALID_ARGUMENT),
        ([("e", "s" * 257)], grpc.StatusCode.INVALID_ARGUMENT),
        ([("e", "s", "v" * 257)], grpc.StatusCode.INVALID_ARGUMENT),
        ([("e", f"s{number}") for number in range(51)], grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
)
async def test_hostile_wants_end_only_the_stream_that_said_them(wants: Any, status: grpc.StatusCode) -> None:
    async with running(secrets__max_wanted="50") as node:
        agent = await node.attest()
        stream = Stream(node, agent)
        await stream.want(*wants)
        assert await ended(stream) is status
        good = Stream(node, agent)
        await good.want(("e", "s"))
        await good.until("e", "s", ABSENT.REASON_NOT_GRANTED)


async def test_bytes_that_are_no_message_end_only_the_stream(node: Node) -> None:
    agent = await node.attest()
    channel = node.channel(agent)
    call: Any = channel.stream_stream("/sds.node.v1.Node/WatchSecrets")()
    await call.write(b"\xff" * 100)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        async with asyncio.timeout(DEADLINE):
            while (await call.read()) is not grpc.aio.EOF:
                pass
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "\\xff" not in (error.value.details() or "")


async def test_names_as_hostile_clients_choose_them(node: Node) -> None:
    agent = await node.attest()
    entry = (await node.entry("/web"))["id"]
    stream = Stream(node, agent)
    names = ["", "\x00", "../../etc/passwd", "spiffe://example.org/web", "a\nb", "ALL", "default", "\u202e"]
    await stream.want(*((entry, name) for name in names))
    for name in names:
        await stream.until(entry, name, ABSENT.REASON_NOT_GRANTED)
    assert set(stream.state) == {(entry, name) for name in names}


async def test_streams_of_one_agent_are_bounded() -> None:
    async with running(secrets__max_streams_per_agent="2") as node:
        agent = await node.attest()
        streams = [Stream(node, agent) for _ in range(2)]
        for stream in streams:
            await stream.read()
        third = Stream(node, agent)
        assert await ended(third) is grpc.StatusCode.RESOURCE_EXHAUSTED
        streams[0].call.cancel()
        async with asyncio.timeout(DEADLINE):
            while True:
                again = Stream(node, agent)
                try:
                    await again.read()
                    break
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.05)


async def test_a_silent_stream_hears_heartbeats() -> None:
    async with running(grpc__heartbeat="1s") as node:
        stream = Stream(node, await node.attest())
        for _ in range(3):
            async with asyncio.timeout(DEADLINE):
                assert not (await stream.read()).updates


async def test_session_tickets_are_everybody_s_own(node: Node) -> None:
    agent = await node.attest()
    web, db = (await node.entry("/web"))["id"], (await node.entry("/db"))["id"]
    stream = Stream(node, agent)
    await stream.want((web, "tickets"), (db, "tickets"))
    async with asyncio.timeout(DEADLINE):
        while len([one for one in stream.updates if one.HasField("value")]) < 2:
            await stream.read()
    mine, theirs = stream.state[web, "tickets"].value, stream.state[db, "tickets"].value
    assert mine.kind == theirs.kind == "tickets"
    assert {len(field.value) for field in mine.fields} == {80}
    assert mine.fields[0].value != theirs.fields[0].value
    assert any(event["details"]["name"] == "tickets" for event in await node.events("secret.deliver"))


async def test_tickets_can_be_switched_off() -> None:
    async with running(secrets__tickets__enabled="false") as node:
        stream = Stream(node, await node.attest())
        entry = (await node.entry("/web"))["id"]
        await stream.want((entry, "tickets"))
        told = await stream.until(entry, "tickets", ABSENT.REASON_NOT_GRANTED)
        assert list(told.entry_ids) == [entry]


async def test_values_are_held_back_while_the_audit_log_cannot_be_written(folder: Path) -> None:
    async with running(folder, database__busy_timeout="200ms") as node:
        agent, operator = await node.attest(), Operator(node)
        entry = (await node.entry("/web"))["id"]
        secret = await operator.define("s", WEB)
        await operator.put(secret, b"value")
        stream = Stream(node, agent)
        await stream.read()
        with locked(folder / "s" / "sds.sqlite3"):
            await stream.want((entry, "s"))
            async with asyncio.timeout(60):
                while await node.metric("sds_server_secret_unaudited_total") < 1:
                    await asyncio.sleep(0.05)
            await stream.nothing(1.0)
            assert [one for one in stream.updates if one.HasField("value")] == []
        await stream.until(entry, "s", b"value")
        assert [one["version"] for one in await delivered(node)] == ["1"]


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Another writer holds the database for as long as the block lasts."""
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


async def test_a_server_that_stops_ends_the_streams(folder: Path) -> None:
    async with running(folder) as node:
        stream = Stream(node, await node.attest())
        await stream.read()
        stopping = asyncio.create_task(node.server.stop())
        assert await ended(stream) is grpc.StatusCode.UNAVAILABLE
        await stopping


async def test_nobody_without_an_agent_s_certificate_is_heard(node: Node) -> None:
    await node.attest()
    stub = node_pb2.WatchSecretsRequest()
    call: Any = node.channel(name="attest").stream_stream("/sds.node.v1.Node/WatchSecrets")(
        iter([stub.SerializeToString()])
    )
    status, _ = await status_of(call.read())
    assert status is grpc.StatusCode.UNIMPLEMENTED


async def test_the_webhook_has_all_look_at_once(folder: Path) -> None:
    key = folder / "hook-key"
    key.touch(mode=0o600)
    key.write_text("k" * 40 + "\n")
    settings = {"secrets__webhook__listen": "127.0.0.1:0", "secrets__webhook__profile": "http"}
    async with running(folder, secrets__webhook__signing_key_file=str(key), **settings) as node:
        operator = Operator(node)
        secret = await operator.define("s", WEB)
        url = f"http://{node.target('hook')}/v1/secrets/changed"
        body, now = b'{"names": ["s", "there-is-none"]}', str(int(node.clock.now().timestamp()))
        headers = {"x-sds-time": now, "x-sds-signature": sign(Masked(b"k" * 40), now, body)}
        async with httpx.AsyncClient(timeout=DEADLINE) as client:
            assert (await client.post(url, content=body)).status_code == 401
            assert (await client.post(url, content=body, headers=headers)).status_code == 202
            assert (await client.post(url, content=body, headers=headers)).status_code == 409
            assert (await client.post(url, content=b"x" * 20_000, headers=headers)).status_code == 413
        (event,) = await node.events("secret.refresh")
        assert (event["actor"]["id"], event["target"]["id"]) == ("webhook", secret.id)
        assert await node.metric("sds_server_secret_hooks_total", outcome="accepted") == 1
