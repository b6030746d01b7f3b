from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from sds.store.errors import UnauditedChange
from sds.store.records import ChangeKind
from sds.store.secrets.records import TicketMaster, WrappedDataKey
from sds.store.store import Store
from tests.contract.store.samples import change
from tests.fakes.clock import EPOCH

KEY = WrappedDataKey("11111111", b"\x00" * 12, b"wrapped\x00key")


async def test_what_is_added_comes_back(store: Store) -> None:
    for epoch in (12, 3):
        added = await change(store, lambda unit, e=epoch: unit.ticket_masters.add(e, KEY))
        assert added == TicketMaster(epoch, KEY, EPOCH)
    assert [one.epoch for one in await store.read(lambda unit: unit.ticket_masters.all())] == [3, 12]
    changes = await store.read(lambda unit: unit.changes.since(0).changes)
    assert [(one.kind, one.key) for one in changes] == [(ChangeKind.TICKETS, "12"), (ChangeKind.TICKETS, "3")]


async def test_of_many_who_add_an_epoch_all_get_the_same(store: Store) -> None:
    keys = [replace(KEY, ciphertext=b"%d" % number) for number in range(6)]
    added = await asyncio.gather(*(change(store, lambda unit, k=key: unit.ticket_masters.add(1, k)) for key in keys))
    (standing,) = await store.read(lambda unit: unit.ticket_masters.all())
    assert set(added) == {standing}
    await store.write(lambda unit: unit.ticket_masters.add(1, KEY))  # changes nothing, needs no event


async def test_every_change_needs_an_event(store: Store) -> None:
    with pytest.raises(UnauditedChange):
        await store.write(lambda unit: unit.ticket_masters.add(1, KEY))
    await change(store, lambda unit: unit.ticket_masters.add(1, KEY))
    for work in (
        lambda unit: unit.ticket_masters.destroy_before(2),
        lambda unit: unit.ticket_masters.rewrap(lambda _, key: replace(key, kek_id="new")),
    ):
        with pytest.raises(UnauditedChange):
            await store.write(work)
    assert await store.read(lambda unit: unit.ticket_masters.kek_ids()) == {"11111111"}


async def test_past_epochs_are_destroyed(store: Store) -> None:
    for epoch in range(5):
        await change(store, lambda unit, e=epoch: unit.ticket_masters.add(e, KEY))
    assert await change(store, lambda unit: unit.ticket_masters.destroy_before(3)) == 3
    assert [one.epoch for one in await store.read(lambda unit: unit.ticket_masters.all())] == [3, 4]
    assert await store.write(lambda unit: unit.ticket_masters.destroy_before(3)) == 0


async def test_masters_are_wrapped_anew(store: Store) -> None:
    for epoch in (1, 2):
        await change(store, lambda unit, e=epoch: unit.ticket_masters.add(e, KEY))

    def wrap(epoch: int, key: WrappedDataKey) -> WrappedDataKey:
        return WrappedDataKey("new", b"n", b"%d" % epoch) if epoch == 2 else key

    assert await change(store, lambda unit: unit.ticket_masters.rewrap(wrap)) == 1
    first, second = await store.read(lambda unit: unit.ticket_masters.all())
    assert (first.key, second.key) == (KEY, WrappedDataKey("new", b"n", b"2"))
    assert await store.read(lambda unit: unit.ticket_masters.kek_ids()) == {"11111111", "new"}
