"""The key ring in the database, encrypted by a real Vault: replicas share it, nothing wrapped is ever lost."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from attestation.spiffe_id import TrustDomain
from ca.errors import KeyUnwrapFailed
from ca.kek import NONCE_BYTES, DataKeyLabel, KeyLabel
from ca.keys import KeyType, generate, to_pkcs8_der
from ca.masked import Masked
from sds.server.authority.custody import Custody, KeyStore, open_custody
from sds.server.authority.kek_file import KekFile, KekUnusable
from sds.server.authority.kek_ring import GRACE, SETTING, KekOvertaken, TransitPlace
from sds.server.events import Events, system_actor
from sds.store.secrets.records import WrappedDataKey
from sds.store.store import Store
from sds.vault.transit import TransitCipher
from tests.contract.store.samples import change
from tests.e2e.harness.vault_ca import KEK_KEY, documented_policy
from tests.fakes.ca import TRUST_DOMAIN
from tests.fakes.clock import FakeClock
from tests.fakes.vault_direct import DirectVault
from tests.fakes.vault_server import VaultServer

P256 = KeyType.ECDSA_P256


@dataclass
class Place:
    """A database and a key in Vault, over which servers start as replicas, or one after the other."""

    store: Store
    vault: VaultServer
    folder: Path
    events: Events = field(default_factory=lambda: Events("test-host"))

    def __post_init__(self) -> None:
        self.mount = self.vault.mount("transit")
        self.vault.write_blocking(f"{self.mount}/keys/{KEK_KEY}", {"type": "aes256-gcm96"})
        policy = self.vault.policy(documented_policy("operations.md", transit=self.mount))
        self.client = DirectVault(self.vault, self.vault.token(policy))

    @property
    def path(self) -> Path:
        return self.folder / "kek"

    async def start(
        self, *, in_file: bool = False, configured: bool = True, trust_domain: TrustDomain = TRUST_DOMAIN
    ) -> Custody:
        cipher = TransitCipher(self.client, self.mount, KEK_KEY)
        transit = TransitPlace(cipher, self.store, trust_domain) if configured else None
        file = KekFile(self.path, os.urandom)
        return await open_custody(
            self.store, file, trust_domain, self.events, os.urandom, transit=transit, in_file=in_file
        )

    async def stored(self) -> str:
        return await self.store.read(lambda uow: uow.settings.get(SETTING) or "")

    async def kek_ids(self) -> set[str]:
        return {key.kek_id for key in await self.store.read(lambda uow: uow.keys.all())}

    async def actions(self) -> list[str]:
        return [one.event.action for one in await self.store.read(lambda uow: uow.audit.tail(None))]


@pytest.fixture
def place(store: Store, vault_shared: VaultServer, tmp_path: Path) -> Place:
    return Place(store, vault_shared, tmp_path)


async def opens(custody: Custody, *refs: str) -> None:
    """As a server that has just been started."""
    custody.manager._open.clear()
    for ref in refs:
        await custody.manager.signer(ref)


async def test_the_first_start_makes_it_and_replicas_share_it(place: Place) -> None:
    first, second = await place.start(), await place.start()
    key = await first.manager.generate(P256, "x509")
    await opens(second, key.ref)
    assert not place.path.exists()
    text = await place.stored()
    assert first.manager.ring.current.id in text
    assert first.manager.ring.current.encode().reveal().split()[1] not in text
    await first.check()
    await second.check()


async def test_a_rotation_reaches_the_replicas_and_the_former_key_goes_when_all_have_learned(
    place: Place, clock: FakeClock
) -> None:
    one, other = await place.start(), await place.start()
    before = await other.manager.generate(P256, "x509")
    old, new, count = await one.rotate(system_actor(), "request-1")
    assert (old != new, count) == (True, 1)
    assert await place.kek_ids() == {new}
    with pytest.raises(KekOvertaken, match="another server has just rotated"):
        await other.manager.generate(P256, "x509")  # it would be under a key that goes
    assert await place.kek_ids() == {new}
    await opens(other, before.ref)  # learns by itself: the key lies under another one now
    during = await other.manager.generate(P256, "x509")
    assert await place.kek_ids() == {new}
    await one.check()
    assert {kek.id for kek in one.manager.ring.previous} == {old}
    clock.advance(GRACE.total_seconds() + 1)
    await other.check()
    assert other.manager.ring.previous == ()
    await one.check()
    assert one.manager.ring.previous == ()
    for custody in (one, other, await place.start()):
        await opens(custody, before.ref, during.ref)
    events = [one.event for one in await place.store.read(lambda uow: uow.audit.tail(None))]
    assert [event.request_id for event in events if event.action == "kek.rotate"].count("request-1") == 1


async def test_two_replicas_that_rotate_one_after_the_other_agree(place: Place) -> None:
    one, other = await place.start(), await place.start()
    key = await one.manager.generate(P256, "x509")
    first = await one.rotate(system_actor(), "")
    second = await other.rotate(system_actor(), "")
    assert second[0] == first[1]
    assert await place.kek_ids() == {second[1]}
    for custody in (one, other, await place.start()):
        await opens(custody, key.ref)


async def test_all_that_the_ring_wraps_is_wrapped_anew(place: Place) -> None:
    """Data keys of ticket masters as well as private keys, in one transaction, or none of them."""
    custody = await place.start()
    label, master = DataKeyLabel("7", TRUST_DOMAIN.name, "tickets"), Masked(os.urandom(32))
    wrapped = custody.manager.ring.wrap(label, master, os.urandom(NONCE_BYTES))
    sealed = WrappedDataKey(wrapped.kek_id, wrapped.nonce, wrapped.ciphertext)
    await change(place.store, lambda uow: uow.ticket_masters.add(7, sealed))
    key = await custody.manager.generate(P256, "x509")
    rewraps = custody.rewraps

    def fails(*_: object) -> int:
        raise KeyUnwrapFailed("altered")

    custody.rewraps = (*rewraps, fails)
    with pytest.raises(KeyUnwrapFailed, match="altered"):
        await custody.rotate(system_actor(), "")
    again = await place.start()  # with both keys: nothing is lost
    await opens(again, key.ref)
    old = {wrapped.kek_id}
    assert await place.kek_ids() | await place.store.read(lambda uow: uow.ticket_masters.kek_ids()) == old
    custody.rewraps = rewraps
    _, new, count = await custody.rotate(system_actor(), "")
    assert count == 2
    assert await place.kek_ids() | await place.store.read(lambda uow: uow.ticket_masters.kek_ids()) == {new}


async def test_it_moves_from_the_file_and_back(place: Place) -> None:
    before = await place.start(in_file=True, configured=False)
    key = await before.manager.generate(P256, "x509")
    kek_id = before.manager.ring.current.id
    moved = await place.start()
    assert moved.manager.ring.current.id == kek_id
    await opens(moved, key.ref)
    place.path.unlink()
    _, new, _ = await moved.rotate(system_actor(), "")
    with pytest.raises(KekUnusable, match=r"configure kek\.vault_transit"):
        await place.start(in_file=True, configured=False)
    assert not place.path.exists()
    back = await place.start(in_file=True)
    assert back.manager.ring.current.id == new
    await opens(back, key.ref)
    assert await place.stored() == ""
    assert (await place.actions()).count("kek.move") == 2
    await opens(await place.start(in_file=True, configured=False), key.ref)


async def test_a_file_with_other_keys_is_not_written_over(place: Place) -> None:
    custody = await place.start()
    key = await custody.manager.generate(P256, "x509")
    other = KekFile(place.path, os.urandom).create()
    with pytest.raises(KekUnusable, match="move the file out of the way"):
        await place.start(in_file=True)
    assert other.current.id in place.path.read_text()
    await opens(await place.start(), key.ref)


async def test_moving_back_once_more_after_a_crash(place: Place) -> None:
    """The file is written, and the database still has the keys."""
    custody = await place.start()
    key = await custody.manager.generate(P256, "x509")
    KekFile(place.path, os.urandom).put_first(custody.manager.ring)
    await opens(await place.start(in_file=True), key.ref)
    assert await place.stored() == ""


async def test_without_vault_nobody_starts_and_who_runs_goes_on(place: Place, vault_own: VaultServer) -> None:
    apart = Place(place.store, vault_own, place.folder)
    custody = await apart.start()
    key = await custody.manager.generate(P256, "x509")
    vault_own.stop()
    with pytest.raises(KekUnusable, match="does not decrypt the key-encryption keys"):
        await apart.start()
    with pytest.raises(KekUnusable, match="does not decrypt"):  # the alarm
        await custody.check()
    await opens(custody, key.ref)
    assert await custody.manager.generate(P256, "x509")
    with pytest.raises(KekUnusable):
        await custody.rotate(system_actor(), "")
    await opens(custody, key.ref)


async def test_what_was_taken_elsewhere_or_altered_does_not_open(place: Place) -> None:
    custody = await place.start()
    await custody.manager.generate(P256, "x509")
    with pytest.raises(KekUnusable, match="does not decrypt"):
        await place.start(trust_domain=TrustDomain("other.example"))
    whole = await place.stored()
    for damaged, why in ((whole.replace("vault:v1:", "vault:v1:AAAA"), "does not decrypt"), ("{}", "damaged")):
        await place.store.write(lambda uow, text=damaged: uow.settings.put(SETTING, text))
        with pytest.raises(KekUnusable, match=why):
            await place.start()
        with pytest.raises(KekUnusable, match=why):
            await custody.check()
    await place.store.write(lambda uow: uow.settings.put(SETTING, ""))
    with pytest.raises(KekUnusable, match="is gone"):
        await place.start()
    with pytest.raises(KekUnusable, match="is gone"):
        await custody.check()


async def test_a_rotation_of_the_key_in_vault_needs_nothing(place: Place) -> None:
    custody = await place.start()
    key = await custody.manager.generate(P256, "x509")
    place.vault.write_blocking(f"{place.mount}/keys/{KEK_KEY}/rotate", {})
    await opens(await place.start(), key.ref)
    assert "vault:v1:" in await place.stored()
    await custody.rotate(system_actor(), "")
    assert "vault:v2:" in await place.stored()
    await opens(await place.start(), key.ref)


async def test_a_server_with_a_file_of_its_own_cannot_write_beside_a_shared_ring(place: Place) -> None:
    """A replica that was not restarted with the others, after the ring moved and was rotated."""
    left = await place.start(in_file=True, configured=False)
    moved = await place.start()
    await moved.rotate(system_actor(), "")
    with pytest.raises(KekOvertaken):
        await left.manager.generate(P256, "x509")
    pkcs8 = to_pkcs8_der(generate(P256))
    wrapped = left.manager.ring.wrap(KeyLabel("k", TRUST_DOMAIN.name, "x509", P256), pkcs8, os.urandom(NONCE_BYTES))
    with pytest.raises(KekOvertaken):
        await KeyStore(place.store, place.events).put(wrapped)
    assert await place.kek_ids() == set()
