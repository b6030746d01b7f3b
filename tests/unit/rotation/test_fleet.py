from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from attestation.spiffe_id import SpiffeId
from ca.gate import Fleet, Holder, Lag
from sds.rotation.fleet import SILENT_AFTER, fleet_of
from sds.store.records import AgentRecord, ProcessRecord, ResourceRecord, StreamRecord
from tests.fakes.clock import EPOCH
from tests.fakes.slots import TD

NOW = EPOCH + timedelta(hours=1)
SECOND = timedelta(seconds=1)
SETTLE = 5 * SECOND
ID = SpiffeId(TD, "/sds/agent/n1")
AGENT = AgentRecord(ID, "join_token", frozenset(), "01", NOW + SECOND, "00", EPOCH, last_seen=NOW, bundle_sequence=7)
ACKED = ResourceRecord("ROOTCA", "v7", "v7", sent_at=NOW, acked_at=NOW, sent_sequence=7, acked_sequence=7)
STREAM = StreamRecord(
    ID, "s1", "sotw", ProcessRecord(42, 1000, "/usr/bin/envoy"), ("spiffe://example.org/web",), "", EPOCH, (ACKED,)
)


def fleet(*streams: StreamRecord, agent: AgentRecord = AGENT) -> Fleet:
    return fleet_of([agent], streams, NOW, SETTLE)


def only(*resources: ResourceRecord, protocol: str = "sotw", agent: AgentRecord = AGENT) -> Holder:
    """The holder that a stream with these resources is."""
    _, holder = fleet(replace(STREAM, protocol=protocol, resources=resources), agent=agent).holders
    return holder


def test_an_agent_holds_what_it_says_that_it_verifies_by() -> None:
    (holder,) = fleet().holders
    assert holder == Holder(ID, 7, Lag.NOT_ACKED, last_seen=NOW)


def test_one_that_was_not_heard_of_is_not_connected() -> None:
    def lag(seen: timedelta | None) -> Lag:
        last_seen = None if seen is None else NOW - seen
        return fleet(agent=replace(AGENT, last_seen=last_seen)).holders[0].lag

    assert [lag(SILENT_AFTER), lag(SILENT_AFTER + SECOND), lag(None)] == [
        Lag.NOT_ACKED,
        Lag.NOT_CONNECTED,
        Lag.NOT_CONNECTED,
    ]
    assert only(ACKED, agent=replace(AGENT, last_seen=None)).lag is Lag.NOT_CONNECTED


def test_banned_agents_expired_ones_and_their_streams_do_not_count() -> None:
    assert fleet(STREAM, agent=replace(AGENT, banned_at=EPOCH)).holders == ()
    assert fleet(STREAM, agent=replace(AGENT, not_after=NOW - SECOND)).holders == ()
    assert len(fleet(STREAM, agent=replace(AGENT, not_after=NOW)).holders) == 2
    stranger = replace(STREAM, agent_id=SpiffeId(TD, "/sds/agent/deleted"))
    assert len(fleet(stranger).holders) == 1


def test_a_stream_is_named_with_its_process_and_identities() -> None:
    holder = only(ACKED)
    assert (holder.sequence, holder.stream_id, holder.pid, holder.path) == (7, "s1", 42, "/usr/bin/envoy")
    assert (holder.spiffe_ids, holder.last_seen) == (("spiffe://example.org/web",), NOW)


def test_a_stream_has_what_the_worst_of_its_resources_has() -> None:
    older = replace(ACKED, name="ALL", acked_version="v5", acked_sequence=5)
    assert only(ACKED, older).sequence == 5
    never = replace(ACKED, name="ALL", acked_version="", acked_sequence=0)
    assert only(ACKED, never).sequence == 0
    certificate = ResourceRecord("default", "c1", "c1")
    assert only(ACKED, certificate).sequence == 7


def test_a_stream_that_never_got_the_bundle_verifies_nobody_by_it() -> None:
    assert len(fleet(replace(STREAM, resources=(ResourceRecord("default", "c1", "c1"),))).holders) == 1
    assert len(fleet(replace(STREAM, resources=())).holders) == 1


def test_a_rejection_is_told_with_its_text() -> None:
    bad = replace(ACKED, sent_version="v8", sent_sequence=8, nacked_version="v8", nack_detail="bad CA")
    holder = only(bad)
    assert (holder.sequence, holder.lag, holder.detail) == (7, Lag.NACKED, "bad CA")
    # An older rejection, after which something else was sent, says nothing of the present.
    assert only(replace(bad, sent_version="v9", sent_sequence=9)).lag is Lag.NOT_ACKED


def test_who_accepts_and_then_rejects_the_same_is_taken_to_have_nothing() -> None:
    holder = only(replace(ACKED, nacked_version="v7", nack_detail="changed my mind"))
    assert (holder.sequence, holder.lag) == (0, Lag.NACKED)


def test_where_nothing_is_acknowledged_what_was_sent_counts_once_it_has_settled() -> None:
    first = ResourceRecord("a", "v7", sent_at=NOW - SECOND, sent_sequence=7)
    second = ResourceRecord("b", "v8", sent_at=NOW, sent_sequence=8)
    holder = only(first, second, protocol="workload-api")
    assert (holder.sequence, holder.settles_at) == (7, NOW + SETTLE)
    assert not holder.has(7, NOW + SETTLE - SECOND)
    assert holder.has(7, NOW + SETTLE)


def test_streams_of_counted_agents_that_have_all_are_counted() -> None:
    other = SpiffeId(TD, "/sds/agent/banned")
    banned = replace(AGENT, spiffe_id=other, banned_at=EPOCH)
    made = fleet_of([AGENT, banned], [], NOW, SETTLE, ahead={ID: 3, other: 4})
    assert (made.ahead, len(made.holders)) == (3, 1)


def test_the_latest_expiries_are_handed_on() -> None:
    assert fleet_of([], [], NOW, SETTLE, last_leaf={"a": NOW}).last_leaf == {"a": NOW}
