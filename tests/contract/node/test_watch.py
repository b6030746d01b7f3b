"""Node.WatchAuthorized: a snapshot, then what changes; only what hangs on the caller; resumable; never behind for long."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc

from sds._pb.sds.node.v1 import node_pb2, node_pb2_grpc
from tests.contract.node.harness import (
    AGENT,
    DEADLINE,
    OTHER_AGENT,
    Identity,
    Node,
    bundle_pem,
    next_message,
    running,
    status_of,
)


def watch(node: Node, identity: Identity, revision: int = 0, epoch: str = "") -> Any:
    request = node_pb2.WatchAuthorizedRequest(resume_revision=revision, resume_epoch=epoch)
    return node.node(identity).WatchAuthorized(request)


def ids(message: Any) -> list[str]:
    return [entry.spiffe_id.rpartition("/")[2] for entry in message.upserted]


async def test_the_first_message_is_a_snapshot(node: Node) -> None:
    agent = await node.attest()
    made = await node.entry(
        "/web", dns_names=["web.example.org"], hint="main", x509_ttl=120, owner="team", labels={"a": "b"}
    )
    first = await next_message(watch(node, agent))
    assert first.snapshot
    assert first.epoch
    assert first.revision > 0
    assert bundle_pem(first.bundle) == node.roots
    assert abs(first.server_time.ToDatetime().timestamp() - node.clock.now().replace(tzinfo=None).timestamp()) < 5
    (entry,) = first.upserted
    assert entry.id == made["id"]
    assert entry.revision == 1
    assert entry.spiffe_id == "spiffe://example.org/web"
    assert list(entry.selectors) == ["unix:uid:1000"]
    assert list(entry.dns_names) == ["web.example.org"]
    assert entry.hint == "main"
    assert entry.x509_svid_ttl.ToTimedelta() == timedelta(seconds=120)
    assert not entry.HasField("expires_at")
    assert "team" not in str(entry)


async def test_changes_are_pushed_at_once(node: Node) -> None:
    agent = await node.attest()
    stream = watch(node, agent)
    revision = (await next_message(stream)).revision
    loop = asyncio.get_running_loop()
    took = []
    for number in range(10):
        started = loop.time()
        made = await node.entry(f"/w{number}")
        update = await next_message(stream)
        took.append(loop.time() - started)
        assert (ids(update), update.snapshot, update.HasField("bundle")) == ([f"w{number}"], False, False)
        assert update.revision > revision
        revision = update.revision
    assert sorted(took)[5] < 0.1

    body = {"spiffe_id": "spiffe://example.org/renamed", "parent_id": AGENT, "selectors": ["unix:uid:1"], "revision": 1}
    await node.api("PUT", f"/v1/entries/{made['id']}", body)
    update = await next_message(stream)
    assert ids(update) == ["renamed"]
    assert update.upserted[0].revision == 2

    await node.api("DELETE", f"/v1/entries/{made['id']}")
    update = await next_message(stream)
    assert list(update.removed_entry_ids) == [made["id"]]
    assert not update.upserted


async def test_an_agent_sees_nothing_that_is_not_parented_to_it(node: Node) -> None:
    agent, other = await node.attest(), await node.attest(OTHER_AGENT)
    await node.entry("/theirs", OTHER_AGENT)
    stream, others = watch(node, agent), watch(node, other)
    assert ids(await next_message(stream)) == []
    assert ids(await next_message(others)) == ["theirs"]
    await node.entry("/theirs2", OTHER_AGENT)
    await node.entry("/mine")
    assert ids(await next_message(stream)) == ["mine"]
    assert ids(await next_message(others)) == ["theirs2"]


async def test_an_entry_that_moves_leaves_one_agent_and_reaches_the_other(node: Node) -> None:
    agent, other = await node.attest(), await node.attest(OTHER_AGENT)
    made = await node.entry("/web")
    stream, others = watch(node, agent), watch(node, other)
    await next_message(stream)
    await next_message(others)
    body = {"spiffe_id": "spiffe://example.org/web", "parent_id": OTHER_AGENT, "selectors": ["unix:uid:1000"]}
    await node.api("PUT", f"/v1/entries/{made['id']}", {**body, "revision": 1})
    assert list((await next_message(stream)).removed_entry_ids) == [made["id"]]
    assert ids(await next_message(others)) == ["web"]


async def test_resuming_tells_only_what_changed_since(node: Node) -> None:
    agent = await node.attest()
    kept, gone = await node.entry("/kept"), await node.entry("/gone")
    await node.entry("/untouched")
    stream = watch(node, agent)
    first = await next_message(stream)
    stream.cancel()
    await node.api("DELETE", f"/v1/entries/{gone['id']}")
    body = {"spiffe_id": "spiffe://example.org/kept", "parent_id": AGENT, "selectors": ["unix:uid:2"], "revision": 1}
    await node.api("PUT", f"/v1/entries/{kept['id']}", body)
    await node.entry("/new")

    resumed = await next_message(watch(node, agent, first.revision, first.epoch))
    assert not resumed.snapshot
    assert sorted(ids(resumed)) == ["kept", "new"]
    assert list(resumed.removed_entry_ids) == [gone["id"]]
    again = await next_message(watch(node, agent, resumed.revision, resumed.epoch))
    assert (again.snapshot, ids(again), list(again.removed_entry_ids)) == (False, [], [])


async def test_unknown_places_get_a_snapshot(node: Node) -> None:
    agent = await node.attest()
    await node.entry("/web")
    first = await next_message(watch(node, agent))
    for revision, epoch in (
        (first.revision, "another"),
        (first.revision, ""),
        (first.revision + 1000, first.epoch),
        (2**64 - 1, first.epoch),
        (0, first.epoch),
    ):
        stream = watch(node, agent, revision, epoch)
        message = await next_message(stream)
        assert (message.snapshot, ids(message)) == (True, ["web"])
        stream.cancel()
    code, _ = await status_of(next_message(watch(node, agent, 1, "x" * 10_000)))
    assert code is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_watch_resumes_across_a_restart_of_the_server(folder: Path) -> None:
    async with running(folder) as node:
        agent = await node.attest()
        await node.entry("/old")
        first = await next_message(watch(node, agent))
        await node.entry("/later")
    async with running(folder) as node:
        message = await next_message(watch(node, agent, first.revision, first.epoch))
        assert (message.snapshot, ids(message)) == (False, ["later"])


async def test_an_entry_goes_when_it_expires(node: Node) -> None:
    agent = await node.attest()
    soon = node.clock.now() + timedelta(seconds=3)
    made = await node.entry("/short", expires_at=soon.isoformat())
    await node.entry("/long")
    stream = watch(node, agent)
    first = await next_message(stream)
    assert sorted(ids(first)) == ["long", "short"]
    message = await next_message(stream)
    assert list(message.removed_entry_ids) == [made["id"]]
    assert soon <= node.clock.now() < soon + timedelta(seconds=1)
    # Also told to who was away meanwhile, and left out of snapshots.
    resumed = await next_message(watch(node, agent, first.revision, first.epoch))
    assert list(resumed.removed_entry_ids) == [made["id"]]
    assert ids(await next_message(watch(node, agent))) == ["long"]


async def test_an_expiry_that_is_put_off_brings_the_entry_back(node: Node) -> None:
    agent = await node.attest()
    made = await node.entry("/short", expires_at=(node.clock.now() + timedelta(seconds=3)).isoformat())
    stream = watch(node, agent)
    await next_message(stream)
    assert list((await next_message(stream)).removed_entry_ids) == [made["id"]]
    body = {"spiffe_id": "spiffe://example.org/short", "parent_id": AGENT, "selectors": ["unix:uid:1000"]}
    await node.api("PUT", f"/v1/entries/{made['id']}", {**body, "revision": 1})
    assert ids(await next_message(stream)) == ["short"]


async def test_a_slow_reader_gets_the_latest_only(node: Node) -> None:
    """It reads nothing while two hundred changes happen to five entries; then it is told the end of the story."""
    agent = await node.attest()
    labels = {f"k{n}": "v" * 250 for n in range(20)}
    dns = [f"{'n' * 50}.{'x' * 60}.h{n}.example.org" for n in range(60)]
    made = [await node.entry(f"/w{n}", dns_names=dns, labels=labels) for n in range(5)]
    narrow = node.channel(agent, grpc__http2__bdp_probe=0, grpc__http2__lookahead_bytes=65_536)
    stream = node_pb2_grpc.NodeStub(narrow).WatchAuthorized(node_pb2.WatchAuthorizedRequest())
    first = await next_message(stream)
    revisions = {entry.id: entry.revision for entry in first.upserted}
    for round_ in range(40):
        for number, entry in enumerate(made):
            body = {
                "spiffe_id": f"spiffe://example.org/w{number}",
                "parent_id": AGENT,
                "selectors": [f"unix:uid:{round_}"],
                "dns_names": dns,
            }
            await node.api("PUT", f"/v1/entries/{entry['id']}", body)
    messages = 0
    while any(revision != 41 for revision in revisions.values()):
        update = await next_message(stream)
        messages += 1
        for entry in update.upserted:
            assert entry.revision > revisions[entry.id]
            revisions[entry.id] = entry.revision
    assert messages < 100


async def test_a_silent_stream_has_a_heartbeat() -> None:
    async with running(grpc__heartbeat="1s") as node:
        agent = await node.attest()
        stream = watch(node, agent)
        first = await next_message(stream)
        beat = await next_message(stream)
        assert beat.revision == first.revision
        assert beat.epoch == first.epoch
        assert beat.HasField("server_time")
        assert (beat.snapshot, len(beat.upserted), beat.HasField("bundle")) == (False, 0, False)


async def test_streams_are_limited_for_each_agent() -> None:
    async with running(limits__max_watch_streams_per_agent="2") as node:
        agent, other = await node.attest(), await node.attest(OTHER_AGENT)
        streams = [watch(node, agent) for _ in range(2)]
        for stream in streams:
            await next_message(stream)
        code, _ = await status_of(next_message(watch(node, agent)))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        await next_message(watch(node, other))
        assert await node.metric("sds_server_watch_streams") == 3
        assert await node.metric("sds_server_agents_connected") == 2
        streams[0].cancel()
        async with asyncio.timeout(DEADLINE):
            while await node.metric("sds_server_watch_streams") == 3:
                await asyncio.sleep(0.02)
        await next_message(watch(node, agent))


async def test_a_shutdown_ends_streams_with_a_reason_to_come_back() -> None:
    async with running() as node:
        stream = watch(node, await node.attest())
        await next_message(stream)
        stopping = asyncio.create_task(node.server.stop())
        code, text = await status_of(next_message(stream))
        assert (code, "shutting down" in text) == (grpc.StatusCode.UNAVAILABLE, True)
        loop = asyncio.get_running_loop()
        started = loop.time()
        await stopping
        assert loop.time() - started < 1.5
