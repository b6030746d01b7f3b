from __future__ import annotations

import pytest

from sds.store.errors import InvalidCursor
from sds.store.filters import StreamFilter
from sds.store.records import ReportPosition, ResourceRecord
from sds.store.store import Store
from tests.contract.store.samples import AGENT, OTHER_AGENT, later, spiffe, stream
from tests.fakes.clock import EPOCH


async def ids(store: Store, filters: StreamFilter = StreamFilter()) -> list[str]:  # noqa: B008 - frozen
    return [record.stream_id for record in (await store.read(lambda unit: unit.streams.list(filters))).items]


async def test_a_stream_comes_back_as_it_was_reported(store: Store) -> None:
    await store.write(lambda unit: unit.streams.upsert([stream()]))
    assert (await store.read(lambda unit: unit.streams.list())).items == (stream(),)
    changed = stream(resources=(), node_id="other", opened_at=later(5))
    await store.write(lambda unit: unit.streams.upsert([changed]))
    assert (await store.read(lambda unit: unit.streams.list())).items == (changed,)
    await store.write(lambda unit: unit.streams.upsert([]))


async def test_a_snapshot_replaces_one_agents_streams_only(store: Store) -> None:
    await store.write(lambda unit: unit.streams.upsert([stream("a"), stream("b"), stream("c", OTHER_AGENT)]))
    await store.write(lambda unit: unit.streams.replace(AGENT, [stream("b"), stream("d")]))
    assert await ids(store) == ["b", "d", "c"]
    await store.write(lambda unit: unit.streams.delete(AGENT, ["b", "c", "unknown"]))
    assert await ids(store) == ["d", "c"]
    await store.write(lambda unit: unit.streams.forget(AGENT))
    assert await ids(store) == ["c"]


async def test_many_streams_are_deleted_at_once(store: Store) -> None:
    names = [f"s{n}" for n in range(1200)]
    await store.write(lambda unit: unit.streams.upsert([stream(name, resources=()) for name in names]))
    await store.write(lambda unit: unit.streams.delete(AGENT, names))
    assert await ids(store) == []


async def test_filters(store: Store) -> None:
    web, web2 = str(spiffe("/web")), str(spiffe("/web2"))
    records = [
        stream("a", spiffe_ids=(web,)),
        stream("b", spiffe_ids=(web2, web)),
        stream("c", OTHER_AGENT, spiffe_ids=(web2,)),
        stream("d", OTHER_AGENT, spiffe_ids=(str(spiffe("/WEB")),)),
    ]
    await store.write(lambda unit: unit.streams.upsert(records))
    assert await ids(store, StreamFilter(spiffe_id=spiffe("/web"))) == ["a", "b"]
    assert await ids(store, StreamFilter(agent_id=OTHER_AGENT)) == ["c", "d"]
    assert await ids(store, StreamFilter(OTHER_AGENT, spiffe("/web2"))) == ["c"]


async def test_pages(store: Store) -> None:
    await store.write(lambda unit: unit.streams.upsert([stream(f"s{n}") for n in range(5)]))
    first = await store.read(lambda unit: unit.streams.list(limit=3))
    rest = await store.read(lambda unit: unit.streams.list(cursor=first.next_cursor, limit=3))
    assert [r.stream_id for r in first.items + rest.items] == [f"s{n}" for n in range(5)]
    assert rest.next_cursor is None
    with pytest.raises(InvalidCursor):
        await store.read(lambda unit: unit.streams.list(cursor="00"))


async def test_what_a_client_says_of_itself_may_hold_anything(store: Store) -> None:
    await store.write(lambda unit: unit.streams.upsert([stream(node_id="\0'\"; --\ud800", stream_id="x\0y")]))
    found = (await store.read(lambda unit: unit.streams.list())).items[0]
    assert found.node_id == "\ufffd'\"; --?"
    assert found.resources == stream().resources  # NUL is escaped inside JSON


async def test_the_place_in_an_agents_reports_is_remembered(store: Store) -> None:
    assert await store.read(lambda unit: unit.streams.position(AGENT)) is None
    for position in (ReportPosition("run-1", 7), ReportPosition("run-2", 1)):
        await store.write(lambda unit, p=position: unit.streams.set_position(AGENT, p))
        assert await store.read(lambda unit: unit.streams.position(AGENT)) == position
    assert await store.read(lambda unit: unit.streams.position(OTHER_AGENT)) is None


async def test_who_has_which_bundle_without_records_of_those_who_have_all(store: Store) -> None:
    """Only what is beyond doubt is counted; everything else is handed out to be judged."""

    def holds(sent: int, acked: int, nacked: str = "") -> ResourceRecord:
        return ResourceRecord(
            "ROOTCA", "v", sent_at=EPOCH, nacked_version=nacked, sent_sequence=sent, acked_sequence=acked
        )

    certificate = ResourceRecord("default", "v", "v")
    records = [
        stream("has it", resources=(holds(7, 7), certificate)),
        stream("newer", resources=(holds(9, 8),)),
        stream("older", resources=(holds(9, 6),)),
        stream("one older", resources=(holds(7, 7), holds(7, 6))),
        stream("rejected once", resources=(holds(7, 7, "v"),)),
        stream("never sent any", resources=(certificate,)),
        stream("of an older agent", resources=()),
        stream("settled", OTHER_AGENT, protocol="workload-api", resources=(holds(7, 0),)),
        stream("old", OTHER_AGENT, protocol="workload-api", resources=(holds(6, 0),)),
    ]
    await store.write(lambda unit: unit.streams.upsert(records))
    ahead, others = await store.read(lambda unit: unit.streams.holding(7, EPOCH))
    assert ahead == {AGENT: 2, OTHER_AGENT: 1}
    assert {one.stream_id for one in others} == {"older", "one older", "rejected once", "old"}
    assert set(others) <= set(records)
    ahead, others = await store.read(lambda unit: unit.streams.holding(7, later(-1)))  # just sent
    assert OTHER_AGENT not in ahead
    assert len(others) == 5
