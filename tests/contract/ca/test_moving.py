"""From wrapped keys into a token, by rotating; and rotation while the token is away."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from cryptography import x509

from attestation.spiffe_id import SpiffeId
from ca.authority import AuthorityKind, AuthorityState
from ca.csr import VerifiedCsr
from ca.errors import AuthorityUnavailable, CaError, KeyManagerUnavailable
from ca.intent import IssueRequest
from ca.key_manager import KeyManager, KeyManagers, manager_of
from ca.key_managers.pkcs11 import Pkcs11KeyManager
from ca.key_managers.token import RETRY_AFTER
from ca.key_managers.wrapped import WrappedKeyManager
from ca.keys import KeyType, generate, spki_der
from ca.profile import ProfileName
from sds.server.authority.authorities import Authorities
from sds.server.authority.custody import KeyStore
from sds.server.authority.keys import AuditedKeys
from sds.server.events import Events
from sds.store.store import Store
from tests.contract.ca.conftest import TOKEN
from tests.fakes.ca import TRUST_DOMAIN, issue_one, make_key_ring
from tests.fakes.clock import FakeClock
from tests.fakes.rotation import ASKED, HOUR, X509_LIFE, make_authorities
from tests.fakes.softhsm import SoftHsm

X509, JWT = AuthorityKind.X509, AuthorityKind.JWT


@dataclass
class Place:
    """One database and one token, over which servers with other configurations are started one after the other."""

    store: Store
    clock: FakeClock
    hsm: SoftHsm
    events: Events = field(default_factory=lambda: Events("test-host"))
    open: list[KeyManagers] = field(default_factory=list)

    async def server(self, chosen: str, *configured: str) -> Authorities:
        await self.close()
        keys = KeyStore(self.store, self.events)
        token = Pkcs11KeyManager(self.hsm.config(TOKEN), TRUST_DOMAIN, os.urandom, self.clock.monotonic)
        every: dict[str, KeyManager] = {
            "wrapped": WrappedKeyManager(keys, make_key_ring(), TRUST_DOMAIN, os.urandom),
            "pkcs11": AuditedKeys(token, self.store, self.events),
        }
        managers = KeyManagers({name: every[name] for name in configured}, chosen)
        self.open.append(managers)
        authorities = make_authorities(self.store, managers, self.events, self.clock)
        await authorities.ensure()
        return authorities

    async def close(self) -> None:
        for managers in self.open:
            await managers.close()
        self.open.clear()


@pytest.fixture
async def place(sqlite_store: Store, clock: FakeClock, softhsm: SoftHsm) -> AsyncIterator[Place]:
    made = Place(sqlite_store, clock, softhsm)
    yield made
    await made.close()


async def rotate(authorities: Authorities, kind: AuthorityKind) -> None:
    made = await authorities.prepare(kind, ASKED)
    await authorities.activate(made.id, ASKED, force=True)


async def leaf_verifies(authorities: Authorities, clock: FakeClock) -> None:
    signing = authorities.signing()
    csr = VerifiedCsr.of_own_key(generate(KeyType.ECDSA_P256))
    request = IssueRequest(ProfileName.WORKLOAD, SpiffeId(TRUST_DOMAIN, "/web"), csr)
    issued = await asyncio.to_thread(issue_one, request, signing, clock.now())
    x509.load_der_x509_certificate(issued.chain[0]).verify_directly_issued_by(signing.certificate)


async def test_a_fleet_moves_into_a_token_by_rotating(place: Place, clock: FakeClock) -> None:
    """A changed plugin changes nothing by itself; each authority keeps its key until it is gone."""
    before = await place.server("wrapped", "wrapped")
    old = {kind: next(iter(before.slots(kind))) for kind in AuthorityKind}
    assert {manager_of(one.key_ref) for one in old.values()} == {"wrapped"}

    moving = await place.server("pkcs11", "wrapped", "pkcs11")
    assert moving.signing().authority == old[X509]
    await leaf_verifies(moving, clock)
    for kind in AuthorityKind:
        await rotate(moving, kind)
    active = (moving.signing().authority, moving.signing_jwt().authority)
    assert {manager_of(one.key_ref) for one in active} == {"pkcs11"}
    await leaf_verifies(moving, clock)
    retired = next(one for one in moving.slots(X509) if one.state is AuthorityState.OLD)
    assert retired.id == old[X509].id
    signer = await moving.signer(retired)  # its revocation lists are signed on
    assert spki_der(signer.public_key) == retired.public_key
    assert signer.sign([b"list"])

    with pytest.raises(CaError, match="'pkcs11', which is not configured"):
        await place.server("wrapped", "wrapped")
    moved = await place.server("pkcs11", "wrapped", "pkcs11")
    clock.advance((3 * HOUR + X509_LIFE / 20).total_seconds())
    for _ in range(20):
        clock.advance(HOUR.total_seconds())
        await moved.tick()
    assert {manager_of(one.key_ref) for one in moved.all()} == {"pkcs11"}
    assert await place.store.read(lambda uow: uow.keys.all()) == ()
    alone = await place.server("pkcs11", "pkcs11")
    await leaf_verifies(alone, clock)
    actions = [stored.event.action for stored in await place.store.read(lambda uow: uow.audit.tail(None))]
    assert (actions.count("key.create"), actions.count("key.destroy")) == (4, 2)


async def test_rotation_waits_for_a_lost_token(place: Place, clock: FakeClock) -> None:
    """The step that is due fails and says why; nothing is left behind, and the next tick does it."""
    authorities = await place.server("pkcs11", "pkcs11")
    standing = authorities.signing().authority
    place.hsm.unplug()
    clock.advance((X509_LIFE / 2 + HOUR).total_seconds())
    await authorities.tick()
    with pytest.raises(AuthorityUnavailable):
        await authorities.prepare(X509, ASKED)
    assert [one.state for one in authorities.slots(X509)] == [AuthorityState.ACTIVE]
    with pytest.raises(KeyManagerUnavailable):
        authorities.signing()
    place.hsm.plug_in()
    clock.advance(RETRY_AFTER)
    await authorities.tick()
    assert [one.state for one in authorities.slots(X509)] == [AuthorityState.ACTIVE, AuthorityState.PREPARED]
    assert authorities.signing().authority == standing
    await leaf_verifies(authorities, clock)
