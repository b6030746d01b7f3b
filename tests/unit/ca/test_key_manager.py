"""Custody: what WrappedKeyManager keeps, finds again and refuses to open."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from attestation.spiffe_id import TrustDomain
from ca.authority import AuthorityKind
from ca.errors import AuthorityUnavailable, KeyUnwrapFailed
from ca.kek import KeyLabel
from ca.key_manager import KeyManager
from ca.key_managers.wrapped import WrappedKeyManager
from ca.keys import KeyType, spki_der, to_pkcs8_der
from ca.masked import Masked
from tests.fakes.ca import CLASSICAL, FakeWrappedKeyStore, make_key_ring

TD = TrustDomain("example.org")


@pytest.fixture
def store() -> FakeWrappedKeyStore:
    return FakeWrappedKeyStore()


def manager(store: FakeWrappedKeyStore, trust_domain: TrustDomain = TD, seed: int = 1) -> WrappedKeyManager:
    return WrappedKeyManager(store, make_key_ring(seed), trust_domain, os.urandom)


@pytest.mark.parametrize("key_type", CLASSICAL)
async def test_a_key_is_found_again_by_another_process(store: FakeWrappedKeyStore, key_type: KeyType) -> None:
    first: KeyManager = manager(store)
    made = await first.generate(key_type, AuthorityKind.X509)
    assert made.ref.startswith("wrapped:")
    assert made.key_type is key_type
    again = await manager(store).signer(made.ref)
    assert spki_der(again.public_key) == spki_der(made.signer.public_key)
    assert again.sign([b"m"])


async def test_an_open_key_stays_open(store: FakeWrappedKeyStore) -> None:
    keys = manager(store)
    made = await keys.generate(KeyType.ECDSA_P256, AuthorityKind.X509)
    store.rows.clear()
    assert await keys.signer(made.ref) is made.signer
    fresh = manager(store)
    with pytest.raises(AuthorityUnavailable, match="not in the database"):
        await fresh.signer(made.ref)


async def test_only_wrapped_bytes_are_stored(store: FakeWrappedKeyStore) -> None:
    made = await manager(store).generate(KeyType.ECDSA_P256, AuthorityKind.X509)
    (row,) = store.rows.values()
    clear = to_pkcs8_der(made.signer.private_key).reveal()
    assert clear not in row.ciphertext
    assert clear[36:68] not in row.ciphertext  # the scalar
    assert row.label == KeyLabel(made.ref.removeprefix("wrapped:"), "example.org", "x509", KeyType.ECDSA_P256)


async def test_a_key_that_could_not_be_stored_is_not_handed_out(store: FakeWrappedKeyStore) -> None:
    class Full(FakeWrappedKeyStore):
        async def put(self, key: object) -> None:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        await manager(Full()).generate(KeyType.ECDSA_P256, AuthorityKind.X509)


async def test_another_key_encryption_key_does_not_open_it(store: FakeWrappedKeyStore) -> None:
    made = await manager(store).generate(KeyType.ECDSA_P256, AuthorityKind.X509)
    with pytest.raises(KeyUnwrapFailed, match="the key file lacks"):
        await manager(store, seed=2).signer(made.ref)


async def test_rows_that_were_moved_do_not_open(store: FakeWrappedKeyStore) -> None:
    """Whoever can write the database can neither swap two keys nor bring one from another trust domain."""
    keys = manager(store)
    one = await keys.generate(KeyType.ECDSA_P256, AuthorityKind.X509)
    two = await keys.generate(KeyType.ECDSA_P256, AuthorityKind.JWT)
    first, second = (ref.removeprefix("wrapped:") for ref in (one.ref, two.ref))
    row_one, row_two = store.rows[first], store.rows[second]
    store.rows[first] = row_two
    with pytest.raises(KeyUnwrapFailed):
        await manager(store).signer(one.ref)
    store.rows[first] = replace(row_two, label=row_one.label)
    with pytest.raises(KeyUnwrapFailed):
        await manager(store).signer(one.ref)
    with pytest.raises(KeyUnwrapFailed):
        await manager(store, TrustDomain("example.com")).signer(two.ref)
    store.rows[second] = replace(row_two, label=replace(row_two.label, trust_domain="example.com"))
    with pytest.raises(KeyUnwrapFailed):
        await manager(store, TrustDomain("example.com")).signer(two.ref)


@pytest.mark.parametrize("ref", ["", "wrapped", "transit:1", "pkcs11:wrapped:1", ":1"])
async def test_references_of_other_managers(store: FakeWrappedKeyStore, ref: str) -> None:
    with pytest.raises(AuthorityUnavailable):
        await manager(store).signer(ref)


async def test_wrapped_bytes_that_are_no_key(store: FakeWrappedKeyStore) -> None:
    label = KeyLabel("aa", TD.name, "x509", KeyType.ECDSA_P256)
    await store.put(make_key_ring().wrap(label, Masked(b"canary"), bytes(12)))
    with pytest.raises(KeyUnwrapFailed, match="holds no private key") as caught:
        await manager(store).signer("wrapped:aa")
    assert "canary" not in f"{caught.value!r}{caught.value.__cause__!r}"


async def test_rotation_of_the_key_encryption_key(store: FakeWrappedKeyStore) -> None:
    keys = manager(store)
    made = await keys.generate(KeyType.ECDSA_P256, AuthorityKind.X509)
    ring = keys.ring.rotated(make_key_ring(2).current)
    store.rows = {key_id: ring.rewrap(row, os.urandom(12)) for key_id, row in store.rows.items()}
    keys.use(ring.retired())
    another = await keys.generate(KeyType.ED25519, AuthorityKind.JWT)
    fresh = manager(store, seed=2)
    for ref in (made.ref, another.ref):
        assert (await fresh.signer(ref)).sign([b"m"])


async def test_nonces_do_not_repeat(store: FakeWrappedKeyStore) -> None:
    keys = manager(store)
    for _ in range(20):
        await keys.generate(KeyType.ECDSA_P256, AuthorityKind.X509)
    assert len({row.nonce for row in store.rows.values()}) == 20
