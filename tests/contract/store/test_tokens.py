from __future__ import annotations

import asyncio

import pytest

from sds.store.errors import ConstraintViolated, TokenRefused
from sds.store.records import TokenRecord
from sds.store.store import Store
from tests.contract.store.samples import AGENT, change, later
from tests.fakes.clock import EPOCH

HASH = "ab" * 32


async def test_a_token_is_good_once(store: Store) -> None:
    created = await change(store, lambda unit: unit.tokens.create(HASH, AGENT, later(60)))
    assert created == TokenRecord(HASH, AGENT, EPOCH, later(60))
    used = await change(store, lambda unit: unit.tokens.consume(HASH, later(59.999999), "192.0.2.1"))
    assert used == TokenRecord(HASH, AGENT, EPOCH, later(60), later(59.999999), "192.0.2.1")
    with pytest.raises(TokenRefused) as caught:
        await change(store, lambda unit: unit.tokens.consume(HASH, later(1)))
    assert caught.value.why == "used"
    assert "used or expired" in str(caught.value)
    assert HASH not in str(caught.value)


async def test_of_many_uses_at_once_one_succeeds(store: Store) -> None:
    await change(store, lambda unit: unit.tokens.create(HASH, AGENT, later(60)))
    results = await asyncio.gather(
        *(change(store, lambda unit: unit.tokens.consume(HASH, EPOCH)) for _ in range(10)), return_exceptions=True
    )
    assert sorted(type(result).__name__ for result in results) == ["TokenRecord"] + ["TokenRefused"] * 9


async def test_a_use_that_is_rolled_back_was_none(store: Store) -> None:
    await change(store, lambda unit: unit.tokens.create(HASH, AGENT, later(60)))

    def fail_after(unit):
        unit.tokens.consume(HASH, EPOCH)
        raise RuntimeError("attestation went wrong")

    with pytest.raises(RuntimeError):
        await change(store, fail_after)
    await change(store, lambda unit: unit.tokens.consume(HASH, EPOCH))


@pytest.mark.parametrize(("token", "at", "why"), [("00", 0, "unknown"), (HASH, 60, "expired"), (HASH, 61, "expired")])
async def test_unknown_and_expired_tokens_are_refused_alike(store: Store, token: str, at: float, why: str) -> None:
    await change(store, lambda unit: unit.tokens.create(HASH, AGENT, later(60)))
    with pytest.raises(TokenRefused) as caught:
        await change(store, lambda unit: unit.tokens.consume(token, later(at)))
    assert caught.value.why == why
    assert why not in str(caught.value).replace("unknown, used or expired", "")


async def test_a_hash_is_stored_once(store: Store) -> None:
    await change(store, lambda unit: unit.tokens.create(HASH, AGENT, later(60)))
    with pytest.raises(ConstraintViolated) as caught:
        await change(store, lambda unit: unit.tokens.create(HASH, AGENT, later(60)))
    assert HASH not in str(caught.value)


async def test_expired_tokens_are_purged(store: Store) -> None:
    await change(store, lambda unit: unit.tokens.create(HASH, AGENT, later(60)))
    assert await store.write(lambda unit: unit.tokens.purge(later(60))) == 0
    assert await store.write(lambda unit: unit.tokens.purge(later(61))) == 1
