"""Keys in a real Vault's Transit engine: what cannot leave, what is not used, and Vault lost and found again."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from ca.authority import AuthorityKind
from ca.errors import AuthorityUnavailable
from ca.key_manager import ManagedKey
from ca.key_managers.transit import MAX_BATCH, TransitConfig, TransitKeyManager
from ca.key_managers.transit_keys import TransitKeyMissing
from ca.keys import KeyType
from sds.vault.answers import VaultAnswer
from sds.vault.errors import VaultUnavailable
from sds.vault.transit import TransitKeys
from tests.contract.ca.test_key_managers import verify
from tests.e2e.harness.vault_ca import documented_policy
from tests.fakes.ca import TRUST_DOMAIN
from tests.fakes.vault_direct import DirectVault
from tests.fakes.vault_server import VaultServer

X509 = AuthorityKind.X509
P256 = KeyType.ECDSA_P256


class Place:
    """An engine of its own, and a custodian over it that may do what the documentation says."""

    def __init__(self, vault: VaultServer) -> None:
        self.vault = vault
        self.mount = vault.mount("transit")
        policy = vault.policy(documented_policy("key-managers/vault-transit.md", transit=self.mount))
        self.client = DirectVault(vault, vault.token(policy))
        self.manager = self.open()

    def open(self, prefix: str = "sds-") -> TransitKeyManager:
        config = TransitConfig(TransitKeys(self.client, self.mount), prefix)
        return TransitKeyManager(config, TRUST_DOMAIN, os.urandom)

    def path(self, made: ManagedKey, *more: str) -> str:
        return "/".join((self.mount, "keys", name_of(made), *more))


def name_of(made: ManagedKey) -> str:
    return made.ref.removeprefix("vault_transit:")


@pytest.fixture
def place(vault_shared: VaultServer) -> Place:
    return Place(vault_shared)


@pytest.mark.both_vaults
async def test_the_key_cannot_be_had_and_is_called_as_it_is_documented(place: Place) -> None:
    made = await place.manager.generate(P256, X509)
    assert name_of(made).startswith("sds-example.org-x509-")
    shown = (await place.vault.read(place.path(made)))["data"]
    assert (shown["exportable"], shown["allow_plaintext_backup"], shown["deletion_allowed"]) == (False, False, False)
    for path in (f"export/signing-key/{name_of(made)}", f"backup/{name_of(made)}"):
        assert (await place.vault.call(f"{place.mount}/{path}")).status_code in {400, 500}  # not even to root
        assert (await place.vault.call(f"{place.mount}/{path}", token=place.client.token)).status_code == 403
    assert (await place.vault.call(place.path(made), method="DELETE")).status_code == 400
    slots = {name: getattr(made.signer, name) for name in type(made.signer).__slots__}
    assert set(slots) == {"_manager", "_name", "public_key"}


async def test_the_documented_policy_reaches_no_other_keys(place: Place) -> None:
    await place.vault.write(f"{place.mount}/keys/other", {"type": "ecdsa-p256"})
    with pytest.raises(AuthorityUnavailable, match="denies"):
        await place.manager.signer("vault_transit:other")
    with pytest.raises(AuthorityUnavailable, match="denies"):
        await place.open("elsewhere-").generate(P256, X509)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"exportable": True}, "can be taken out"),
        ({"allow_plaintext_backup": True}, "can be taken out"),
        ({"min_decryption_version": 2, "min_encryption_version": 2}, "version 1 of key"),
        ({"min_encryption_version": 2}, "refuses"),
    ],
)
async def test_a_key_that_was_made_unfit_is_used_no_more(place: Place, change: dict[str, object], why: str) -> None:
    """By somebody who may configure it. The others go on."""
    made, other = [await place.manager.generate(P256, X509) for _ in range(2)]
    await place.vault.write(place.path(made, "rotate"), {})
    await place.manager.check([made.ref])  # a version that nobody uses
    verify(made.signer.public_key, made.signer.sign([b"m"])[0], b"m")
    await place.vault.write(place.path(made, "config"), change)
    with pytest.raises(AuthorityUnavailable, match=why):
        await place.manager.check([made.ref, other.ref])
    assert why in (place.manager.problem(made.ref) or "")
    assert place.manager.problem(other.ref) is None
    with pytest.raises(AuthorityUnavailable, match=why):
        await place.open().signer(made.ref)


async def test_an_imported_key_is_not_used(place: Place) -> None:
    """Transit shows that there is a copy elsewhere."""
    operations = TransitKeys(place.client, place.mount)
    made = await place.manager.generate(P256, X509)
    shown = (await place.vault.read(place.path(made)))["data"]

    assert shown["imported_key"] is False
    assert operations.read(name_of(made)).imported is False
    config = TransitConfig(TransitKeys(Imported(place.client), place.mount))
    with pytest.raises(AuthorityUnavailable, match="was imported"):
        await TransitKeyManager(config, TRUST_DOMAIN, os.urandom).signer(made.ref)


async def test_another_key_under_the_same_name_is_not_used(place: Place) -> None:
    made = await place.manager.generate(P256, X509)
    await place.open().forget(made.ref)
    await place.vault.write(place.path(made), {"type": "ecdsa-p256"})
    with pytest.raises(AuthorityUnavailable, match="another key"):
        made.signer.sign([b"m"])
    with pytest.raises(AuthorityUnavailable, match="another one"):
        await place.manager.check([made.ref])


@pytest.mark.both_vaults
async def test_batches_take_one_request_each(place: Place) -> None:
    made = await place.manager.generate(P256, X509)
    place.client.requests.clear()
    messages = [str(number).encode() for number in range(2 * MAX_BATCH + 1)]
    signatures = await asyncio.to_thread(made.signer.sign, messages)
    for message, signature in zip(messages, signatures, strict=True):
        verify(made.signer.public_key, signature, message)
    assert len(place.client.requests) == 3


async def test_what_is_forgotten_is_deleted_in_vault_and_nothing_else(place: Place) -> None:
    one, other = [await place.manager.generate(P256, X509) for _ in range(2)]
    await place.manager.forget(one.ref)
    assert place.vault.list_blocking(f"{place.mount}/keys") == [name_of(other)]
    assert (await place.vault.read(place.path(other)))["data"]["deletion_allowed"] is False
    await place.manager.forget(one.ref)


async def test_a_key_whose_answer_was_lost_is_deleted_again(place: Place) -> None:
    """It was made, and then Vault could not be asked for it."""
    lost = Lost(place.client, "GET")
    config = TransitConfig(TransitKeys(lost, place.mount))
    with pytest.raises(AuthorityUnavailable, match="cannot be used"):
        await TransitKeyManager(config, TRUST_DOMAIN, os.urandom).generate(P256, X509)
    assert place.vault.list_blocking(f"{place.mount}/keys") == []


async def test_without_keys_it_is_known_whether_vault_can_be_used(place: Place, vault_shared: VaultServer) -> None:
    await place.manager.check([])
    denied = TransitKeys(DirectVault(vault_shared, vault_shared.token()), place.mount)
    manager = TransitKeyManager(TransitConfig(denied), TRUST_DOMAIN, os.urandom)
    with pytest.raises(AuthorityUnavailable, match="denies"):
        await manager.check([])
    nowhere = TransitKeys(DirectVault(vault_shared), "nowhere")
    manager = TransitKeyManager(TransitConfig(nowhere), TRUST_DOMAIN, os.urandom)
    with pytest.raises(AuthorityUnavailable, match="none at this path"):
        await manager.check([])


async def test_a_missing_key_is_told_from_a_missing_vault(place: Place) -> None:
    made = await place.manager.generate(P256, X509)
    await place.open().forget(made.ref)
    with pytest.raises(AuthorityUnavailable, match=r"signing key not found|is not in Vault"):
        made.signer.sign([b"m"])
    with pytest.raises(TransitKeyMissing, match="restore the backup"):
        await place.open().signer(made.ref)


async def test_vault_is_sealed_killed_and_back_and_nobody_has_to_do_anything(vault_on_disk: VaultServer) -> None:
    place = await asyncio.to_thread(Place, vault_on_disk)
    made = await place.manager.generate(P256, X509)

    async def away() -> None:
        with pytest.raises(AuthorityUnavailable):
            await asyncio.to_thread(made.signer.sign, [b"m"])
        with pytest.raises(AuthorityUnavailable):
            await place.manager.check([made.ref])
        assert place.manager.problem(made.ref)
        with pytest.raises(AuthorityUnavailable):
            await place.manager.generate(P256, X509)

    async def back() -> None:
        await place.manager.check([made.ref])
        assert place.manager.problem(made.ref) is None
        verify(made.signer.public_key, (await asyncio.to_thread(made.signer.sign, [b"m"]))[0], b"m")

    for leave, come in (
        (vault_on_disk.seal, vault_on_disk.unseal),
        (vault_on_disk.kill, vault_on_disk.start),
    ):
        await asyncio.to_thread(leave)
        await away()
        await asyncio.to_thread(come)
        await eventually(back)


async def eventually(attempt: Callable[[], Awaitable[None]]) -> None:
    """One on disk leads again some moments after it was unsealed."""
    async with asyncio.timeout(60):
        while True:
            try:
                await attempt()
            except AuthorityUnavailable:
                await asyncio.sleep(0.2)
            else:
                return


class Imported:
    """Shows every key as one that was imported."""

    def __init__(self, inner: DirectVault) -> None:
        self.inner = inner

    def request_blocking(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> VaultAnswer:
        answer = self.inner.request_blocking(method, path, body)
        return VaultAnswer({**answer.data, "imported_key": True}) if method == "GET" else answer


class Lost:
    """Answers to one method are lost on their way."""

    def __init__(self, inner: DirectVault, method: str) -> None:
        self.inner = inner
        self.method = method

    def request_blocking(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> VaultAnswer:
        answer = self.inner.request_blocking(method, path, body)
        if method == self.method:
            raise VaultUnavailable("the answer was lost")
        return answer
