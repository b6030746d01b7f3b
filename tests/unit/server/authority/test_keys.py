"""Keys outside the database have their events in it, or are not used."""

from __future__ import annotations

import pytest

from ca.errors import AuthorityUnavailable
from ca.keys import KeyType
from sds.server.authority.keys import AuditedKeys
from sds.server.events import Events
from sds.store.errors import StoreError
from sds.store.store import Store
from tests.fakes.key_manager import FakeKeyManager


async def events_of(store: Store) -> list[tuple[str, str, object]]:
    events = [stored.event for stored in await store.read(lambda uow: uow.audit.tail(None))]
    return [(event.action, event.target.id, dict(event.details)) for event in events]


async def test_a_key_is_made_and_destroyed_on_record(store: Store, events: Events) -> None:
    inner = FakeKeyManager()
    keys = AuditedKeys(inner, store, events)
    made = await keys.generate(KeyType.ECDSA_P256, "x509")
    assert (await keys.signer(made.ref)).sign([b"m"])
    await keys.check([made.ref])
    assert keys.problem(made.ref) is None
    await keys.forget(made.ref)
    assert inner.keys == {}
    key_id = made.ref.removeprefix("pkcs11:")
    assert await events_of(store) == [
        ("key.create", key_id, {"purpose": "x509", "key_type": "ecdsa-p256", "key_manager": "pkcs11"}),
        ("key.destroy", key_id, {"key_manager": "pkcs11"}),
    ]
    await keys.close()
    assert inner.closed


async def test_a_key_without_its_event_is_destroyed(store: Store, events: Events) -> None:
    inner = FakeKeyManager()
    await store.close()
    with pytest.raises(StoreError):
        await AuditedKeys(inner, store, events).generate(KeyType.ECDSA_P256, "x509")
    assert inner.keys == {}


async def test_no_event_without_its_key(store: Store, events: Events) -> None:
    inner = FakeKeyManager()
    keys = AuditedKeys(inner, store, events)
    made = await keys.generate(KeyType.ECDSA_P256, "x509")
    inner.unplugged = True
    with pytest.raises(AuthorityUnavailable):
        await keys.generate(KeyType.ECDSA_P256, "x509")
    with pytest.raises(AuthorityUnavailable):
        await keys.forget(made.ref)
    assert [action for action, *_ in await events_of(store)] == ["key.create"]
