"""Node.ReportDelivery: the fleet view and what agents saw, once each, whatever is repeated."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from sds._pb.sds.node.v1 import node_pb2
from tests.contract.node.harness import AGENT, OTHER_AGENT, Identity, Node, agent_path, status_of


def stream(stream_id: str, **more: Any) -> node_pb2.StreamState:
    state = node_pb2.StreamState(
        id=stream_id,
        protocol="sotw",
        process=node_pb2.ProcessInfo(pid=7, uid=1000, path="/usr/bin/envoy"),
        spiffe_ids=["spiffe://example.org/web"],
        node_id="envoy-1",
        resources=[
            node_pb2.ResourceState(
                name="default", sent_version="v2", acked_version="v1", sent_serial="aa", acked_serial="bb"
            ),
            node_pb2.ResourceState(name="ROOTCA", sent_version="b2", sent_sequence=6, acked_sequence=5),
        ],
        **more,
    )
    state.opened_at.FromSeconds(1_790_000_000)
    return state


def ahead() -> node_pb2.StreamState:
    """A stream that ACKed a bundle of a number that no bundle can have."""
    state = stream("a")
    state.resources[1].acked_sequence = 2**63
    return state


def nack(number: int, **more: Any) -> node_pb2.DeliveryEvent:
    seen = node_pb2.DeliveryEvent(
        number=number,
        action="secret.nacked",
        outcome="failure",
        reason="bad certificate",
        process=node_pb2.ProcessInfo(pid=7, uid=1000, path="/usr/bin/envoy"),
        stream_id="s1",
        resource="default",
        version="v2",
        selectors=["unix:uid:1000"],
        spiffe_ids=["spiffe://example.org/web"],
    )
    seen.time.FromSeconds(1_790_000_000)
    for name, value in more.items():
        setattr(seen, name, value)
    return seen


async def report(node: Node, agent: Identity, sequence: int, run: str = "run-1", **fields: Any) -> bool:
    request = node_pb2.ReportDeliveryRequest(run_id=run, sequence=sequence, **fields)
    return bool((await node.node(agent).ReportDelivery(request)).resync)


async def streams(node: Node, **query: Any) -> list[Any]:
    response = await node.admin.get("/v1/streams", params=query)
    return list(response.json()["streams"])


async def test_the_fleet_view_is_what_was_reported(node: Node) -> None:
    agent, other = await node.attest(), await node.attest(OTHER_AGENT)
    assert not await report(node, agent, 1, snapshot=True, streams=[stream("s1"), stream("s2")])
    assert not await report(node, other, 1, snapshot=True, streams=[stream("s1")])
    assert [(s["agent_id"], s["id"]) for s in await streams(node)] == [
        (AGENT, "s1"),
        (AGENT, "s2"),
        (OTHER_AGENT, "s1"),
    ]
    (first, _) = await streams(node, agent_id=AGENT)
    assert first["process"] == {"pid": 7, "uid": 1000, "path": "/usr/bin/envoy"}
    assert first["resources"][0]["acked_serial"] == "bb"
    assert (first["resources"][1]["sent_sequence"], first["resources"][1]["acked_sequence"]) == (6, 5)
    assert (await node.api("GET", agent_path(AGENT)))["streams"] == 2

    assert not await report(node, agent, 2, closed_stream_ids=["s2", "never-was"], streams=[stream("s3")])
    assert [s["id"] for s in await streams(node, agent_id=AGENT)] == ["s1", "s3"]
    assert not await report(node, agent, 3, snapshot=True)
    assert [s["agent_id"] for s in await streams(node)] == [OTHER_AGENT]


async def test_the_bundle_that_an_agent_verifies_by_is_the_one_of_its_last_report(node: Node) -> None:
    agent, other = await node.attest(), await node.attest(OTHER_AGENT)
    for sequence, bundle_sequence in ((1, 3), (2, 4), (2, 9), (3, 2)):
        await report(node, agent, sequence, snapshot=True, bundle_sequence=bundle_sequence)
        if sequence == 2:
            assert (await node.api("GET", agent_path(AGENT)))["bundle_sequence"] == 4, "the repeat is dropped"
    assert (await node.api("GET", agent_path(AGENT)))["bundle_sequence"] == 2, "it may have been restored"
    assert (await node.api("GET", agent_path(OTHER_AGENT)))["bundle_sequence"] == 0
    assert other.svid.serial != agent.svid.serial
    await node.attest()
    assert (await node.api("GET", agent_path(AGENT)))["bundle_sequence"] == 2


async def test_nacks_and_refusals_are_audited_once(node: Node) -> None:
    agent = await node.attest()
    await report(node, agent, 1, snapshot=True)
    for _ in range(3):
        await report(node, agent, 2, events=[nack(1), nack(2, action="workload.refused", outcome="refused")])
    (event,) = await node.events("secret.nacked")
    assert event["reason"] == "bad certificate"
    assert event["actor"] == {"kind": "agent", "id": AGENT, "address": "127.0.0.1"}
    assert event["target"] == {"kind": "resource", "id": "default"}
    assert event["details"]["number"] == "1"
    assert event["details"]["spiffe_ids"] == ["spiffe://example.org/web"]
    (refused,) = await node.events("workload.refused")
    assert refused["outcome"] == "refused"


async def test_an_unknown_run_and_a_gap_ask_for_a_snapshot(node: Node) -> None:
    agent = await node.attest()
    assert await report(node, agent, 5, streams=[stream("s1")])
    assert not await report(node, agent, 6)
    assert await report(node, agent, 8)
    assert not await report(node, agent, 9, snapshot=True, streams=[stream("s2")])
    assert await report(node, agent, 1, run="run-2")
    assert not await report(node, agent, 2, run="run-2")


async def test_dropped_events_are_themselves_an_event(node: Node) -> None:
    agent = await node.attest()
    await report(node, agent, 1, snapshot=True, events_dropped=17)
    (event,) = await node.events("report.gap")
    assert (event["outcome"], event["details"]["dropped"]) == ("failure", "17")
    assert await node.metric("sds_server_reported_events_dropped_total") == 17


@pytest.mark.parametrize(
    "fields",
    [
        {"run": "", "sequence": 1},
        {"run": "x" * 200, "sequence": 1},
        {"run": "a\0b", "sequence": 1},
        {"sequence": 0},
        {"sequence": 2**63},
        {"sequence": 1, "streams": [node_pb2.StreamState(id="", protocol="sotw")]},
        {"sequence": 1, "streams": [node_pb2.StreamState(id="a\nb", protocol="sotw")]},
        {"sequence": 1, "streams": [node_pb2.StreamState(id="a", protocol="carrier pigeon")]},
        {"sequence": 1, "closed_stream_ids": ["x" * 1000]},
        {"sequence": 1, "bundle_sequence": 2**63},
        {"sequence": 1, "streams": [ahead()]},
        {"sequence": 1, "events": [nack(1, outcome="fine")]},
    ],
)
async def test_nonsense_is_refused(node: Node, fields: dict[str, Any]) -> None:
    agent = await node.attest()
    code, _ = await status_of(report(node, agent, **fields))
    assert code is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_time_out_of_range_is_refused(node: Node) -> None:
    agent = await node.attest()
    late = nack(1)
    late.time.seconds = 2**62
    code, _ = await status_of(report(node, agent, 1, events=[late]))
    assert code is grpc.StatusCode.INVALID_ARGUMENT


async def test_hostile_texts_are_made_harmless(node: Node) -> None:
    agent = await node.attest()
    evil = "\x1b[2J\0</script>" + "x" * 10_000
    state = stream("s1")
    state.node_id = evil
    state.resources[0].nack_detail = evil
    state.spiffe_ids.append(evil)
    await report(node, agent, 1, snapshot=True, streams=[state], events=[nack(1, reason=evil, resource=evil)])
    (shown,) = await streams(node)
    (event,) = await node.events("secret.nacked")
    for text in (shown["node_id"], shown["resources"][0]["nack_detail"], event["reason"], event["target"]["id"]):
        assert text.isprintable()
        assert len(text) <= 2048


async def test_unknown_kinds_of_event_are_left_out(node: Node) -> None:
    agent = await node.attest()
    await report(node, agent, 1, snapshot=True, events=[nack(1, action="agent.ban"), nack(2)])
    assert await node.events("agent.ban") == []
    assert len(await node.events("secret.nacked")) == 1


async def test_banning_an_agent_takes_its_streams_out_of_the_view(node: Node) -> None:
    agent = await node.attest()
    await report(node, agent, 1, snapshot=True, streams=[stream("s1")])
    await node.api("POST", f"{agent_path(AGENT)}/ban", {"reason": ""})
    assert await streams(node) == []


async def test_a_copied_identity_is_noticed(node: Node) -> None:
    agent, other = await node.attest(), await node.attest(OTHER_AGENT)
    for sequence in (1, 2, 3):
        await report(node, agent, sequence, run="run-1", snapshot=True)
        await report(node, agent, sequence, run="run-2", snapshot=True)
        await report(node, other, sequence, run="run-2", snapshot=True)
    (event,) = await node.events("agent.duplicate")
    assert (event["outcome"], event["target"]["id"]) == ("failure", AGENT)
    assert "ban the agent" in event["reason"]


async def test_of_too_many_resources_those_that_hold_our_bundle_are_kept(node: Node) -> None:
    agent = await node.attest()
    many = stream("s1")
    del many.resources[:]
    many.resources.extend(node_pb2.ResourceState(name=f"secret-{number}", sent_version="v") for number in range(300))
    many.resources.append(node_pb2.ResourceState(name="ROOTCA", sent_version="b", sent_sequence=6))
    await report(node, agent, 1, snapshot=True, streams=[many])
    (shown,) = (await node.api("GET", "/v1/streams"))["streams"]
    assert len(shown["resources"]) == 256
    assert shown["resources"][0]["name"] == "ROOTCA"


async def _seen(node: Node, action: str) -> list[Any]:
    answer = await node.admin.get("/v1/audit", params={"action": action, "after": 0, "limit": 1000})
    return list(answer.json()["events"])


async def test_events_that_come_again_after_a_restart_are_audited_once(node: Node) -> None:
    agent = await node.attest()
    await report(node, agent, 1, events=[nack(1), nack(2)], events_through=2)
    await report(node, agent, 2, events=[nack(3)], events_through=3)
    fields = {"events_run_id": "run-1", "events_through": 4, "events_cut": True}
    for sequence in (1, 2):  # the first answer was lost with the agent, say
        again = [nack(number) for number in (1, 2, 3, 4)]
        await report(node, agent, sequence, run="run-2", events=again, **fields)
    await report(node, agent, 3, run="run-2", events=[nack(1)], events_through=1)
    events = await _seen(node, "secret.nacked")
    assert [(event["details"]["run"], event["details"]["number"]) for event in events] == [
        ("run-1", "1"), ("run-1", "2"), ("run-1", "3"), ("run-1", "4"), ("run-2", "1"),
    ]  # fmt: skip
    (gap,) = await _seen(node, "report.gap")
    assert (gap["details"]["run"], gap["details"]["first"], gap["details"]["last"]) == ("run-1", "5", "")
    assert "killed" in gap["reason"]


async def test_numbers_that_are_missing_are_written_down(node: Node) -> None:
    agent = await node.attest()
    await report(node, agent, 1, events=[nack(2), nack(5)], events_through=7, events_dropped=4)
    await report(node, agent, 2, events=[nack(8)], events_through=8)
    await report(node, agent, 3, events_through=9)
    first, second = await _seen(node, "report.gap")
    assert first["details"] | {"user": None} == {
        "run": "run-1", "first": "1", "last": "7", "dropped": "5", "numbers": ["1", "3-4", "6-7"], "user": None,
    }  # fmt: skip
    assert (second["details"]["first"], second["details"]["last"]) == ("9", "9")
    assert first["outcome"] == "failure"


@pytest.mark.parametrize(
    "fields",
    [
        {"events": [nack(2), nack(1)], "events_through": 2},
        {"events": [nack(1), nack(1)], "events_through": 2},
        {"events": [nack(0)], "events_through": 2},
        {"events": [nack(3)], "events_through": 2},
        {"events_through": 2**63},
        {"events_run_id": "x" * 200, "events_through": 1},
        {"events_run_id": "a\nb", "events_through": 1},
    ],
)
async def test_numbers_that_make_no_sense_are_refused(node: Node, fields: dict[str, Any]) -> None:
    agent = await node.attest()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await report(node, agent, 1, **fields)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert await _seen(node, "report.gap") == []
