from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from sds.store.errors import Banned, InvalidCursor, NotFound
from sds.store.records import ChangeKind
from sds.store.store import Store
from tests.contract.store.samples import AGENT, OTHER_AGENT, agent, change, later, spiffe
from tests.fakes.clock import EPOCH, FakeClock


async def test_an_agent_comes_back_as_it_was_given_and_is_told_of(store: Store) -> None:
    record = agent(renewed_at=later(1), last_seen=later(2))
    assert await change(store, lambda unit: unit.agents.upsert(record)) == record
    assert await store.read(lambda unit: unit.agents.get(AGENT)) == record
    batch = await store.read(lambda unit: unit.changes.since(0))
    assert [(c.kind, c.key, c.parent) for c in batch.changes] == [(ChangeKind.AGENT, str(AGENT), "")]


async def test_renewal_replaces_what_is_known(store: Store) -> None:
    await change(store, lambda unit: unit.agents.upsert(agent()))
    renewed = agent(serial="0b", renewed_at=later(60), not_after=EPOCH + timedelta(hours=2), key_hash="00" * 32)
    assert await change(store, lambda unit: unit.agents.upsert(renewed)) == renewed
    assert await store.read(lambda unit: unit.agents.all()) == (renewed,)


async def test_a_ban_stands_until_the_agent_is_deleted(store: Store, clock: FakeClock) -> None:
    await change(store, lambda unit: unit.agents.upsert(agent()))
    clock.advance(10)
    banned = await change(store, lambda unit: unit.agents.ban(AGENT, "stolen"))
    assert banned == agent(banned_at=later(10), banned_reason="stolen")
    assert banned.banned
    with pytest.raises(Banned):
        await change(store, lambda unit: unit.agents.upsert(agent(serial="0b")))
    assert (await store.read(lambda unit: unit.agents.get(AGENT))).serial == "0a"
    clock.advance(10)
    again = await store.write(lambda unit: unit.agents.ban(AGENT, "again"))  # changes nothing: needs no event
    assert again == banned
    assert await change(store, lambda unit: unit.agents.delete(AGENT)) == banned
    assert not (await change(store, lambda unit: unit.agents.upsert(agent()))).banned


async def test_unknown_agents(store: Store) -> None:
    for method in ("get", "delete"):
        with pytest.raises(NotFound):
            await change(store, lambda unit, m=method: getattr(unit.agents, m)(AGENT))
    with pytest.raises(NotFound):
        await change(store, lambda unit: unit.agents.ban(AGENT, "x"))


async def test_having_been_seen_is_neither_audited_nor_told(store: Store) -> None:
    await change(store, lambda unit: unit.agents.upsert(agent()))
    await store.write(lambda unit: unit.agents.seen([(OTHER_AGENT, later(3)), (AGENT, later(2))]))
    await store.write(lambda unit: unit.agents.seen([]))
    assert await store.read(lambda unit: unit.agents.all()) == (agent(last_seen=later(2)),)
    assert (await store.read(lambda unit: unit.changes.state())).newest == 1


async def test_versions_are_neither_audited_nor_told(store: Store) -> None:
    await change(store, lambda unit: unit.agents.upsert(agent()))
    await store.write(lambda unit: unit.agents.running([(OTHER_AGENT, "9"), (AGENT, "1.2.3")]))
    await store.write(lambda unit: unit.agents.running([]))
    assert await store.read(lambda unit: unit.agents.all()) == (agent(version="1.2.3"),)
    assert (await store.read(lambda unit: unit.changes.state())).newest == 1


async def test_lists_are_filtered_and_paged(store: Store) -> None:
    ids = [spiffe(f"/sds/agent/join_token/{n}") for n in (1, 2, 3, 10)]
    for identifier in ids:
        await change(store, lambda unit, i=identifier: unit.agents.upsert(agent(i)))
    await change(store, lambda unit: unit.agents.upsert(replace(agent(ids[2]), attestation_type="x509pop")))
    await change(store, lambda unit: unit.agents.ban(ids[1], "x"))
    first = await store.read(lambda unit: unit.agents.list(limit=3))
    assert [str(record.spiffe_id)[-2:] for record in first.items] == ["/1", "10", "/2"]
    second = await store.read(lambda unit: unit.agents.list(limit=3, cursor=first.next_cursor))
    assert [str(record.spiffe_id)[-2:] for record in second.items] == ["/3"]
    assert second.next_cursor is None
    assert len((await store.read(lambda unit: unit.agents.list(banned=True))).items) == 1
    assert len((await store.read(lambda unit: unit.agents.list(banned=False))).items) == 3
    assert len((await store.read(lambda unit: unit.agents.list(attestation_type="x509pop"))).items) == 1
    with pytest.raises(InvalidCursor):
        await store.read(lambda unit: unit.agents.list(cursor="no"))
