"""Certificates of a real PKI engine: one for all replicas, replaced in time, kept through an outage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from sds.secrets.errors import SecretMalformed, SecretUnavailable
from sds.secrets.judge import Limits, judge
from sds.secrets.secret import PkiSource
from sds.store.store import Store
from tests.contract.secrets.harness import World
from tests.contract.secrets.pki import PkiHarness, pki_harnesses
from tests.fakes.clock import FakeClock


@pytest.fixture(params=sorted(pki_harnesses()))
async def pki(request: pytest.FixtureRequest, store: Store, clock: FakeClock) -> AsyncIterator[PkiHarness]:
    kind = pki_harnesses()[request.param]
    async with kind.open(World(store, clock, request)) as opened:
        assert isinstance(opened, PkiHarness)
        yield opened


async def test_replicas_that_ask_at_once_share_one(pki: PkiHarness) -> None:
    secret = await pki.define()
    replicas = [pki.replica() for _ in range(4)]
    fetched = await asyncio.gather(*(one.fetch(secret) for one in replicas))
    assert {one.version for one in fetched} == {"1"}
    assert len({one.fields["private_key"].reveal() for one in fetched}) == 1
    value = judge(secret.spec.kind, fetched[0], pki.world.clock.now(), Limits())
    assert value.not_after is not None


async def test_it_is_replaced_at_two_thirds_of_its_life_and_no_sooner(pki: PkiHarness) -> None:
    secret = await pki.define()
    await pki.backend.fetch(secret)
    pki.world.clock.advance(36 * 60)
    assert not pki.backend.due(secret, pki.world.clock.now())
    assert (await pki.backend.fetch(secret)).version == "1"
    pki.world.clock.advance(5 * 60)
    assert pki.backend.due(secret, pki.world.clock.now())
    assert (await pki.backend.fetch(secret)).version == "2"
    assert not pki.backend.due(secret, pki.world.clock.now())


async def test_an_outage_takes_nothing_from_who_comes_and_is_told_to_who_has_it(pki: PkiHarness) -> None:
    secret = await pki.define()
    first = await pki.backend.fetch(secret)
    pki.world.clock.advance(50 * 60)
    pki.vault.cut = True
    with pytest.raises(SecretUnavailable):
        await pki.backend.fetch(secret)
    fresh = pki.replica()
    assert (await fresh.fetch(secret)).version == first.version
    assert fresh.due(secret, pki.world.clock.now())
    with pytest.raises(SecretUnavailable):
        await fresh.fetch(secret)
    pki.vault.cut = False
    assert (await fresh.fetch(secret)).version == "2"
    assert (await pki.backend.fetch(secret)).version == "2"


async def test_a_changed_definition_has_another_one(pki: PkiHarness) -> None:
    secret = await pki.define()
    await pki.backend.fetch(secret)
    source = secret.spec.source
    assert isinstance(source, PkiSource)
    changed = replace(secret, spec=replace(secret.spec, source=replace(source, common_name="new.example.org")))
    assert (await pki.backend.fetch(changed)).version == "2"
    assert (await pki.backend.fetch(changed)).version == "2"


async def test_what_the_role_forbids_is_told(pki: PkiHarness) -> None:
    secret = await pki.define(common_name="elsewhere.example.com")
    with pytest.raises(SecretMalformed) as refused:
        await pki.backend.fetch(secret)
    assert "400" in str(refused.value)
