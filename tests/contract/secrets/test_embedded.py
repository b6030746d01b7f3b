"""What only the embedded backend has: values are written here, judged, kept up to a limit, and made at random."""

from __future__ import annotations

import asyncio
import base64
import os
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import update

from ca.masked import Masked
from sds.secrets.errors import InvalidSecret, SecretError, SecretMalformed, SecretMissing, SecretUnavailable
from sds.secrets.judge import Limits
from sds.secrets.secret import EmbeddedSource, KvSource, RotationPolicy, Secret, SecretKind, SecretSpec
from sds.server.events import Events
from sds.server.secrets.embedded import EmbeddedValues, ValueGenerator
from sds.store.errors import Conflict, NotFound
from sds.store.records import AuditFilter, ChangeKind
from sds.store.secrets.records import VersionRecord
from sds.store.store import Store
from sds.store.tables import secret_versions, secrets
from sds.store.unit_of_work import UnitOfWork
from tests.contract.secrets.embedded import KEEP, EmbeddedHarness, new_ring
from tests.contract.secrets.harness import CANARY, World
from tests.contract.store.samples import change
from tests.fakes.clock import FakeClock
from tests.fakes.pki import make

DAY = timedelta(days=1)


@pytest.fixture
def side(store: Store, clock: FakeClock, request: pytest.FixtureRequest) -> EmbeddedHarness:
    return EmbeddedHarness(World(store, clock, request))


@pytest.fixture
def values(side: EmbeddedHarness) -> EmbeddedValues:
    return EmbeddedValues(side.versions, Limits(max_value_bytes=5000))


async def put(
    store: Store, values: EmbeddedValues, secret: Secret, fields: dict[str, bytes], if_version: int | None = None
) -> VersionRecord:
    masked = {name: Masked(value) for name, value in fields.items()}
    return await change(store, lambda uow: values.put(uow, secret, masked, by="uid:0", if_version=if_version))


async def text(side: EmbeddedHarness, secret: Secret) -> bytes:
    (value,) = (await side.backend.fetch(secret)).fields.values()
    return value.reveal()


async def test_what_is_put_is_fetched_and_told(store: Store, side: EmbeddedHarness, values: EmbeddedValues) -> None:
    secret = await side.define()
    before = len((await store.read(lambda uow: uow.changes.since(0))).changes)
    record = await put(store, values, secret, {"": CANARY})
    assert (record.version, record.created_by) == (1, "uid:0")
    assert await text(side, secret) == CANARY
    told = (await store.read(lambda uow: uow.changes.since(0))).changes[before:]
    assert [(one.kind, one.key) for one in told] == [(ChangeKind.SECRET, secret.id)]


async def test_what_could_not_be_sent_is_not_taken(store: Store, side: EmbeddedHarness, values: EmbeddedValues) -> None:
    secret = await side.define()
    for fields in ({"": b""}, {"": CANARY + b"\0"}, {"": CANARY * 500}, {"a": CANARY, "b": CANARY}, {}):
        with pytest.raises(SecretMalformed) as refused:
            await put(store, values, secret, fields)
        assert CANARY.decode() not in str(refused.value)
    elsewhere = replace(secret, spec=replace(secret.spec, source=KvSource("kv", "a")))
    with pytest.raises(InvalidSecret):
        await put(store, values, elsewhere, {"": CANARY})
    assert await side.backend.versions(secret) == ()


async def test_a_certificate_is_put_with_its_end(store: Store, side: EmbeddedHarness, values: EmbeddedValues) -> None:
    leaf = make("gw", ca=False)
    spec = SecretSpec("gw", SecretKind.CERTIFICATE, EmbeddedSource())
    secret = await change(store, lambda uow: uow.secrets.create(spec, "gw", side.sealer.fresh(uow, "gw")))
    record = await put(store, values, secret, {"chain": leaf.pem, "private_key": leaf.key_pem})
    assert record.not_after == leaf.certificate.not_valid_after_utc
    assert (await side.backend.fetch(secret)).not_after == record.not_after
    with pytest.raises(SecretMalformed, match="not the key of the leaf"):
        await put(store, values, secret, {"chain": leaf.pem, "private_key": make("other", ca=False).key_pem})


async def test_who_saw_another_version_writes_nothing(
    store: Store, side: EmbeddedHarness, values: EmbeddedValues
) -> None:
    secret = await side.define()
    await put(store, values, secret, {"": b"1"}, if_version=0)
    with pytest.raises(Conflict):
        await put(store, values, secret, {"": b"2"}, if_version=0)
    results = await asyncio.gather(
        *(put(store, values, secret, {"": b"%d" % n}, if_version=1) for n in range(5)), return_exceptions=True
    )
    assert sorted(type(one).__name__ for one in results) == ["Conflict"] * 4 + ["VersionRecord"]
    await asyncio.gather(*(put(store, values, secret, {"": b"x"}) for _ in range(3)))  # whoever does not mind, waits
    assert [one.version for one in await side.backend.versions(secret)] == ["5", "4", "3", "2", "1"]


async def test_some_versions_are_kept(store: Store, side: EmbeddedHarness, values: EmbeddedValues) -> None:
    secret = await side.define()
    for number in range(1, KEEP + 4):
        await put(store, values, secret, {"": b"v%d" % number})
        if number == 2:
            pinned = await change(store, lambda uow: uow.secrets.pin(secret.id, 2))
    kept = [int(one.version) for one in await side.backend.versions(secret)]
    assert kept == [*range(KEEP + 3, 3, -1), 2]
    assert await text(side, pinned) == b"v2"
    assert await text(side, secret) == b"v%d" % (KEEP + 3)


async def test_a_secret_without_a_key_gets_one_with_its_first_value(
    store: Store, side: EmbeddedHarness, values: EmbeddedValues
) -> None:
    spec = SecretSpec("late", SecretKind.GENERIC, EmbeddedSource())
    secret = await change(store, lambda uow: uow.secrets.create(spec, "late"))
    await put(store, values, secret, {"": CANARY})
    assert await text(side, secret) == CANARY
    with pytest.raises(NotFound):
        await put(store, values, replace(secret, id="gone"), {"": CANARY})


async def test_what_is_deleted_opens_no_more(store: Store, side: EmbeddedHarness) -> None:
    secret = await side.define()
    await side.put(secret, {"": CANARY})
    key, stored = await store.read(lambda uow: (uow.secrets.data_key(secret.id), uow.secrets.version(secret.id, 1)))
    assert key is not None
    await change(store, lambda uow: uow.secrets.delete(secret.id))
    with pytest.raises(SecretMissing):
        await side.backend.fetch(secret)
    assert await store.read(lambda uow: uow.secrets.kek_ids()) == frozenset()
    assert CANARY not in stored.sealed.ciphertext


# Rows that somebody changed in the database.


async def damage(store: Store, statement: object) -> None:
    await store.write(lambda uow: uow._tx.note(statement))  # type: ignore[arg-type]


def flipped(raw: bytes) -> bytes:
    return bytes([raw[0] ^ 1]) + raw[1:]


async def test_a_value_that_was_moved_or_altered_does_not_open(store: Store, side: EmbeddedHarness) -> None:
    secret, other = await side.define("one"), await side.define("other")
    await side.put(secret, {"": CANARY})
    await side.put(secret, {"": CANARY + b"2"})
    await side.put(other, {"": b"other"})

    def stored(uow: UnitOfWork) -> tuple[bytes, bytes]:
        sealed = uow.secrets.version(secret.id, 1).sealed
        return sealed.nonce, sealed.ciphertext

    nonce, ciphertext = await store.read(stored)
    second = (secret_versions.c.secret_id == secret.id) & (secret_versions.c.version == 2)
    theirs = secret_versions.c.secret_id == other.id
    for place, values in (
        (second, {"nonce": nonce, "ciphertext": ciphertext}),  # an old version sold as the new one
        (theirs, {"nonce": nonce, "ciphertext": ciphertext}),  # one secret's value sold as another's
        (second, {"nonce": nonce, "ciphertext": flipped(ciphertext)}),
        (second, {"nonce": b"", "ciphertext": b""}),
        (second, {"nonce": nonce, "ciphertext": ciphertext[:5]}),
    ):
        await damage(store, update(secret_versions).where(place).values(values))
        with pytest.raises(SecretMalformed, match="was altered") as refused:
            await side.backend.fetch(secret if place is second else other)
        assert CANARY.decode() not in str(refused.value)


async def test_a_data_key_that_was_moved_or_altered_does_not_open(store: Store, side: EmbeddedHarness) -> None:
    secret, other = await side.define("one"), await side.define("other")
    for one in (secret, other):
        await side.put(one, {"": CANARY})
    key = await store.read(lambda uow: uow.secrets.data_key(secret.id))
    foreign = await store.read(lambda uow: uow.secrets.data_key(other.id))
    assert key is not None
    assert foreign is not None
    for changed in (foreign, replace(key, ciphertext=flipped(key.ciphertext)), replace(key, kek_id="00000000")):
        columns = {"kek_id": changed.kek_id, "key_nonce": changed.nonce, "key_ciphertext": changed.ciphertext}
        await damage(store, update(secrets).where(secrets.c.id == secret.id).values(columns))
        with pytest.raises(SecretUnavailable, match="data key does not open"):
            await side.backend.fetch(secret)
    side.ring = new_ring()
    with pytest.raises(SecretUnavailable, match="lacks"):
        await side.backend.fetch(other)


# Values made at random.


def generator(store: Store, side: EmbeddedHarness) -> ValueGenerator:
    return ValueGenerator(store, side.versions, Events("test-host"), os.urandom)


async def rotating(store: Store, side: EmbeddedHarness, policy: RotationPolicy) -> Secret:
    spec = SecretSpec("random", SecretKind.GENERIC, EmbeddedSource(), rotation=policy)
    return await change(store, lambda uow: uow.secrets.create(spec, "r1", side.sealer.fresh(uow, "r1")))


async def test_a_random_value_is_made_when_it_is_due(store: Store, side: EmbeddedHarness, clock: FakeClock) -> None:
    secret = await rotating(store, side, RotationPolicy(DAY, 32))
    made = generator(store, side)
    assert await made.generate_due(secret)
    assert not await made.generate_due(secret)
    first = await text(side, secret)
    assert len(base64.urlsafe_b64decode(first + b"=")) == 32
    clock.advance(DAY.total_seconds())
    assert await made.generate_due(secret)
    second = await text(side, secret)
    assert first != second
    events = await store.read(lambda uow: uow.audit.tail(None, 10, AuditFilter(action="secret.rotate")))
    assert [one.event.details["version"] for one in events] == ["1", "2"]
    for value in (first, second):
        assert all(value not in one.canonical for one in events)


async def test_of_many_replicas_one_makes_it(store: Store, side: EmbeddedHarness) -> None:
    secret = await rotating(store, side, RotationPolicy(DAY, 16))
    made = await asyncio.gather(*(generator(store, side).generate_due(secret) for _ in range(6)))
    assert sorted(made) == [False] * 5 + [True]
    assert len(await side.backend.versions(secret)) == 1


async def test_what_is_pinned_or_gone_is_not_made_anew(store: Store, side: EmbeddedHarness, clock: FakeClock) -> None:
    secret = await rotating(store, side, RotationPolicy(DAY, 16))
    made = generator(store, side)
    await made.generate_due(secret)
    await change(store, lambda uow: uow.secrets.pin(secret.id, 1))
    clock.advance(2 * DAY.total_seconds())
    assert not await made.generate_due(secret)
    await change(store, lambda uow: uow.secrets.pin(secret.id, None))
    await change(store, lambda uow: uow.secrets.destroy(secret.id, 1))
    assert await made.generate_due(secret)  # a destroyed value is none
    await change(store, lambda uow: uow.secrets.delete(secret.id))
    assert not await made.generate_due(secret)


async def test_errors_are_of_the_kinds_that_callers_know(store: Store, side: EmbeddedHarness) -> None:
    secret = await side.define()
    await store.close()
    for asked in (side.backend.fetch(secret), side.backend.newest([secret]), side.backend.versions(secret)):
        with pytest.raises(SecretError):
            await asked
