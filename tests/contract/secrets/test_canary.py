"""Values and the keys over them never rest in clear: every byte of the database is searched, and all that is said."""

from __future__ import annotations

import base64
import os
import traceback
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import update

from ca.masked import Masked
from sds.secrets.errors import SecretError
from sds.secrets.judge import Limits
from sds.secrets.secret import EmbeddedSource, RotationPolicy, Secret, SecretKind, SecretSpec
from sds.server.events import Events
from sds.server.secrets.embedded import EmbeddedBackend, EmbeddedValues, ValueGenerator
from sds.server.secrets.sealing import Sealer
from sds.server.secrets.versions import SealedVersions
from sds.store.records import AuditFilter
from sds.store.store import Store
from sds.store.tables import metadata, secret_versions
from sds.store.unit_of_work import UnitOfWork
from tests.contract.secrets.embedded import TD, new_ring
from tests.contract.store.samples import change

CANARY = b"canary-9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d"
PIECE = 12
"""Bytes in a row; random ones do not meet by chance in a database of this size."""


class Recorded:
    """Randomness that is remembered, so that it can be searched for."""

    def __init__(self) -> None:
        self.given: list[bytes] = []

    def __call__(self, size: int) -> bytes:
        made = os.urandom(size)
        self.given.append(made)
        return made

    @property
    def keys(self) -> list[bytes]:
        return [one for one in self.given if len(one) == 32]


class Places:
    """Everything under test, over one store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.random = Recorded()
        self.ring = new_ring()
        sealer = Sealer(lambda: self.ring, TD, self.random)
        self.sealer = sealer
        self.versions = SealedVersions(sealer, 3)
        self.values = EmbeddedValues(self.versions, Limits())
        self.backend = EmbeddedBackend(store, self.versions)
        self.generator = ValueGenerator(store, self.versions, Events("test-host"), self.random)

    async def create(self, name: str, policy: RotationPolicy = RotationPolicy()) -> Secret:  # noqa: B008  # frozen
        spec = SecretSpec(name, SecretKind.GENERIC, EmbeddedSource(), rotation=policy)
        return await change(self.store, lambda uow: uow.secrets.create(spec, name, self.sealer.fresh(uow, name)))

    async def put(self, secret: Secret, value: bytes) -> None:
        await change(self.store, lambda uow: self.values.put(uow, secret, {"": Masked(value)}, by="uid:0"))

    async def use_all(self) -> list[bytes]:
        """Write, change, trim, generate, seal masters, destroy, delete; returns all that must be seen nowhere."""
        first, second = await self.create("first"), await self.create("second")
        values = [CANARY + b"-%d" % number for number in range(6)]
        for value in values:
            await self.put(first, value)
            await self.put(second, value[::-1])
        random = await self.create("random", RotationPolicy(generate=24))
        assert await self.generator.generate_due(random)
        generated = (await self.backend.fetch(random)).fields[""].reveal()
        master = self.random(32)

        def finish(uow: UnitOfWork) -> None:
            uow.changes.lock()
            uow.ticket_masters.add(1, self.sealer.seal_master(1, Masked(master)))
            uow.secrets.destroy(first.id, 6)
            uow.secrets.delete(second.id)

        await change(self.store, finish)
        raw = [one for one in self.random.given if len(one) == 24]
        assert raw
        return [*values, *(value[::-1] for value in values), generated, *raw, *self.random.keys]


def spellings(secret: bytes) -> Iterable[bytes]:
    """The bytes, and the texts that something might have made of them."""
    yield secret
    yield secret.hex().encode()
    yield repr(secret)[2:-1].encode()
    for skipped in range(3):  # base64 of a part looks different by where it begins
        text = base64.b64encode(secret[skipped:])
        yield text[: len(text) // 4 * 4 - 4]


def found(haystack: bytes, secrets: Iterable[bytes]) -> list[bytes]:
    hits = []
    for secret in secrets:
        for spelling in spellings(secret):
            parts = {spelling[at : at + PIECE] for at in range(0, max(len(spelling) - PIECE, 0) + 1, PIECE)}
            hits += [part for part in parts if len(part) == PIECE and part in haystack]
    return hits


async def test_nothing_is_in_clear_in_any_byte_of_the_sqlite_file(sqlite_store: Store, sqlite_url: str) -> None:
    hidden = await Places(sqlite_store).use_all()
    folder = Path(sqlite_url.removeprefix("sqlite:///")).parent
    while_open = {one.name: one.read_bytes() for one in folder.iterdir()}
    assert any(name.endswith("-wal") and content for name, content in while_open.items())
    await sqlite_store.close()
    closed = {one.name: one.read_bytes() for one in folder.iterdir()}
    for content in (*while_open.values(), *closed.values()):
        assert found(content, hidden) == []
    whole = b"".join(while_open.values())
    assert b"first" in whole  # the search would find what is there
    assert found(whole + CANARY, hidden)


async def test_nothing_is_in_clear_in_any_row_of_postgresql(postgresql_store: Store, postgresql_url: str) -> None:
    hidden = await Places(postgresql_store).use_all()
    whole = bytearray()
    with psycopg.connect(postgresql_url) as connection:
        for table in metadata.sorted_tables:
            for row in connection.execute(f"SELECT * FROM {table.name}"):  # our own tables' names
                for cell in row:
                    whole += bytes(cell) if isinstance(cell, bytes | memoryview) else str(cell).encode()
                    whole += b"\n"
    assert b"first" in whole
    assert found(bytes(whole), hidden) == []


async def test_nothing_that_is_said_holds_a_value(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    places = Places(store)
    hidden = [*await places.use_all(), places.ring.current.encode().reveal().split()[1].encode()]
    said: list[str] = []
    secret = await places.create("loud")
    for bad in (CANARY + b"\0", CANARY * 5000):
        with pytest.raises(SecretError) as refused:
            await places.put(secret, bad)
        said += traceback.format_exception(refused.value)
    await places.put(secret, CANARY)
    fetched = await places.backend.fetch(secret)
    key = await store.read(lambda uow: uow.secrets.data_key(secret.id))
    opened = await store.read(lambda uow: places.versions.newest(uow, secret.id))
    stored = await store.read(lambda uow: uow.secrets.version(secret.id, 1))
    for thing in (fetched, fetched.fields, key, opened, stored, places.ring, places.backend, places.values, secret):
        said += [repr(thing), str(thing), f"{thing}"]
    await store.write(lambda uow: uow._tx.note(update(secret_versions).values(ciphertext=b"x" * 40)))
    ring, places.ring = places.ring, new_ring()
    for broken in (places.ring, ring):
        places.ring = broken
        with pytest.raises(SecretError) as refused:
            await places.backend.fetch(secret)
        said += traceback.format_exception(refused.value)
        said.append(repr(await places.backend.newest([secret, replace(secret, pinned=99)])))
    events = await store.read(lambda uow: uow.audit.tail(None, 1000, AuditFilter()))
    said += [one.canonical.decode() for one in events]
    said += capsys.readouterr()
    assert len(events) > 10
    assert found("\n".join(said).encode(), hidden) == []


def test_the_search_finds_what_is_hidden_in_other_spellings() -> None:
    key = os.urandom(32)
    for text in (
        key,
        key.hex().encode(),
        base64.b64encode(b"x" + key),
        base64.b64encode(b"xy" + key),
        repr(key).encode(),
    ):
        assert found(b"before " + text + b" after", [key])
    assert found(b"nothing", [key]) == []
