from __future__ import annotations

from dataclasses import replace

import pytest

from ca.errors import KeyUnwrapFailed
from ca.kek import WrappedKey
from sds.store.errors import ConstraintViolated
from sds.store.store import Store
from tests.contract.store.samples import change, wrapped_key
from tests.fakes.clock import FakeClock


async def test_keys_come_back_as_they_were_given(store: Store, clock: FakeClock) -> None:
    for name in ("k2", "k1"):
        await change(store, lambda unit, name=name: unit.keys.put(wrapped_key(name)))
        clock.advance(1)
    assert await store.read(lambda unit: unit.keys.get("k1")) == wrapped_key("k1")
    assert await store.read(lambda unit: unit.keys.all()) == (wrapped_key("k2"), wrapped_key("k1"))
    assert await store.read(lambda unit: unit.keys.get("k3")) is None
    with pytest.raises(ConstraintViolated):
        await change(store, lambda unit: unit.keys.put(wrapped_key("k1", "other")))


async def test_rewrapping_changes_all_keys_or_none(store: Store) -> None:
    for name, kek in (("k1", "old"), ("k2", "new"), ("k3", "old")):
        await change(store, lambda unit, n=name, k=kek: unit.keys.put(wrapped_key(n, k)))

    def wrap(key: WrappedKey) -> WrappedKey:
        return replace(key, kek_id="new", ciphertext=b"again") if key.kek_id == "old" else key

    def wrap_until_k3(key: WrappedKey) -> WrappedKey:
        if key.label.key_id == "k3":
            raise KeyUnwrapFailed("altered")
        return wrap(key)

    with pytest.raises(KeyUnwrapFailed):
        await change(store, lambda unit: unit.keys.rewrap(wrap_until_k3))
    assert [key.kek_id for key in await store.read(lambda unit: unit.keys.all())] == ["old", "new", "old"]
    assert await change(store, lambda unit: unit.keys.rewrap(wrap)) == 2
    keys = await store.read(lambda unit: unit.keys.all())
    assert {key.kek_id for key in keys} == {"new"}
    assert [key.ciphertext for key in keys] == [b"again", b"cipher\x00text", b"again"]
    assert await store.write(lambda unit: unit.keys.rewrap(wrap)) == 0  # nothing changed: needs no event
