from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509

from ca.authority import SigningAuthority
from ca.bundle import TrustBundle
from ca.errors import AuthorityUnavailable
from ca.issuer import Issuer
from ca.profile import IssuancePolicy, Profile, ProfileName, default_profiles
from ca.svid import parse_svid_pem
from sds.server.events import Events
from sds.server.issuance import Issuance
from sds.server.own_svid import OwnSvid
from sds.server.tls import TlsMaterial
from sds.store.store import Store
from tests.fakes.authorities import install
from tests.fakes.ca import TRUST_DOMAIN, make_authority, serial_source
from tests.fakes.clock import EPOCH, FakeClock
from tests.fakes.wait import until

TTL = timedelta(hours=1)


class Authorities:
    def __init__(self) -> None:
        self.current: SigningAuthority | None = make_authority()

    def signing(self) -> SigningAuthority:
        if self.current is None:
            raise AuthorityUnavailable("none")
        return self.current


class Nobody:
    def issued(self, profile: str, outcome: str) -> None: ...


class World:
    def __init__(self, store: Store, events: Events, clock: FakeClock) -> None:
        self.clock = clock
        self.authorities = Authorities()
        self.bundle = TrustBundle(TRUST_DOMAIN, (self.authorities.signing().authority.certificate,), 1)
        profile = Profile(ProfileName.SERVER, default_ttl=TTL, max_ttl=TTL)
        policy = IssuancePolicy({**default_profiles(), ProfileName.SERVER: profile})
        issuance = Issuance(store, Issuer(policy, serial_source), self.authorities, events, clock, Nobody())
        self.own = OwnSvid(issuance, lambda: self.bundle, TRUST_DOMAIN, clock)

    @property
    def serial(self) -> str:
        return parse_svid_pem(self.own.current().chain_pem).serial

    async def settled(self, before: TlsMaterial) -> TlsMaterial:
        await until(lambda: self.own.current() is not before)
        return self.own.current()


@pytest.fixture
async def world(store: Store, events: Events, clock: FakeClock) -> AsyncIterator[World]:
    made = World(store, events, clock)
    await install(store, events, made.authorities.signing().authority)
    yield made


@pytest.fixture
async def running(world: World) -> AsyncIterator[World]:
    await world.own.renew()
    task = asyncio.create_task(world.own.run())
    await asyncio.sleep(0.02)
    yield world
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_there_is_nothing_before_the_first(world: World) -> None:
    assert world.own.not_after is None
    with pytest.raises(RuntimeError):
        world.own.current()


async def test_what_it_shows(world: World) -> None:
    await world.own.renew()
    material = world.own.current()
    leaf = x509.load_pem_x509_certificate(material.chain_pem)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["server.sds.internal"]
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://example.org/sds/server"]
    assert material.roots_pem == world.bundle.pem()
    assert world.own.not_after == EPOCH + TTL
    assert "PRIVATE" not in repr(material)


async def test_it_renews_at_half_of_its_life(running: World) -> None:
    first = running.own.current()
    running.clock.advance(TTL.total_seconds() / 2 - 30)
    running.own.bundle_changed()  # wakes it; nothing is due
    await asyncio.sleep(0.1)
    assert running.own.current() is first
    running.clock.advance(60)
    running.own.bundle_changed()
    second = await running.settled(first)
    assert second.generation == first.generation + 1
    assert second.private_key_pem.reveal() != first.private_key_pem.reveal()
    assert running.own.not_after == EPOCH + TTL * 1.5 + timedelta(seconds=30)


async def test_a_new_bundle_is_trusted_at_once(running: World) -> None:
    first, serial = running.own.current(), running.serial
    other = make_authority().authority.certificate
    running.bundle = replace(running.bundle, x509_authorities=(*running.bundle.x509_authorities, other))
    running.own.bundle_changed()
    second = running.own.current()
    assert (second.generation, running.serial) == (first.generation + 1, serial)
    assert second.roots_pem == running.bundle.pem() != first.roots_pem
    running.own.bundle_changed()
    assert running.own.current() is second


async def test_it_moves_to_the_authority_that_signs_now(running: World, store: Store, events: Events) -> None:
    first = running.own.current()
    running.own.authority_is(running.authorities.signing().authority.id)
    await asyncio.sleep(0.05)
    assert running.own.current() is first
    running.authorities.current = make_authority()
    await install(store, events, running.authorities.signing().authority)
    running.own.authority_is(running.authorities.signing().authority.id)
    await running.settled(first)


async def test_it_is_made_anew_when_the_clock_is_set_back(running: World) -> None:
    """What is not valid yet is no use in a handshake with anybody whose clock is right."""
    running.clock.jump(600)
    await running.own.renew()
    ahead = running.own.current()
    running.clock.jump(-600)
    running.own.bundle_changed()  # wakes it; by itself it looks every few seconds
    made = await running.settled(ahead)
    assert x509.load_pem_x509_certificate(made.chain_pem).not_valid_before_utc <= running.clock.now()


async def test_without_an_authority_what_stands_is_used_on(running: World) -> None:
    first, authority = running.own.current(), running.authorities.current
    running.authorities.current = None
    running.clock.advance(TTL.total_seconds() * 0.6)
    running.own.bundle_changed()
    await asyncio.sleep(0.1)
    assert running.own.current() is first
    running.authorities.current = authority
    await running.settled(first)
