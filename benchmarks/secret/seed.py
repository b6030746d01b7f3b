"""Secrets, grants and entries written into the store of a server that is stopped, hundreds a transaction."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from attestation.entry import EntrySpec
from attestation.selector import parse_selectors
from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.masked import Masked
from sds.audit.event import Actor, ActorKind, AuditEvent, Outcome, Target
from sds.clock import SystemClock
from sds.demo.stack import Stack
from sds.secrets.grant import Below, Exactly, Subject
from sds.secrets.secret import EmbeddedSource, SecretKind, SecretSpec, Source
from sds.server.authority.kek_file import KekFile
from sds.server.secrets.sealing import Sealer
from sds.server.secrets.versions import SealedVersions
from sds.store.store import Store, open_store
from sds.store.unit_of_work import UnitOfWork

CHUNK = 250
HERE = EmbeddedSource()
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Planned:
    """A secret to be. `value` empty: it lies elsewhere."""

    name: str
    source: Source = HERE
    value: bytes = b""
    grants: tuple[Subject, ...] = ()


@dataclass(slots=True)
class Plan:
    """`entries`: by ID, the path of the identity."""

    parent: str
    entries: dict[str, str] = field(default_factory=dict)
    secrets: list[Planned] = field(default_factory=list)


def identity(stack: Stack, path: str) -> Exactly:
    return Exactly(SpiffeId.parse(stack.id(path)))


def everybody(stack: Stack, path: str) -> Below:
    return Below(SpiffeId.parse(stack.id(path)))


async def sow(stack: Stack, plan: Plan) -> None:
    """The server must have run once, and be stopped."""
    clock, folder = SystemClock(), stack.folder / "server"
    ring = KekFile(folder / "kek", os.urandom).load()
    if ring is None:
        raise RuntimeError("start the server once, so that there is a key-encryption key")
    versions = SealedVersions(Sealer(lambda: ring, TrustDomain(stack.trust_domain), os.urandom), keep=20)
    store = open_store(f"sqlite:///{folder / 'sds.sqlite3'}", clock=clock)
    try:
        parent = SpiffeId.parse(plan.parent)
        for entries in _chunks(list(plan.entries.items())):
            await _write(store, partial(_entries, stack, parent, entries))
        for secrets in _chunks(plan.secrets):
            await _write(store, partial(_secrets, versions, secrets))
    finally:
        await store.close()


async def _write(store: Store, work: Callable[[UnitOfWork], None]) -> None:
    def audited(uow: UnitOfWork) -> None:
        work(uow)
        actor, target = Actor(ActorKind.SYSTEM, "benchmark"), Target("benchmark", "secret")
        uow.audit.append(AuditEvent(os.urandom(16).hex(), uow.now, "benchmark.fill", Outcome.SUCCESS, actor, target))

    await store.write(audited)


def _entries(stack: Stack, parent: SpiffeId, some: Sequence[tuple[str, str]], uow: UnitOfWork) -> None:
    for number, (entry_id, path) in enumerate(some):
        selectors = parse_selectors([f"unix:uid:{100_000 + number}", f"unix:path:/bin/{path}"])
        uow.entries.create(EntrySpec(SpiffeId.parse(stack.id(path)), parent, selectors), entry_id)


def _secrets(versions: SealedVersions, some: Sequence[Planned], uow: UnitOfWork) -> None:
    for planned in some:
        secret = uow.secrets.create(SecretSpec(planned.name, SecretKind.GENERIC, planned.source), os.urandom(16).hex())
        if planned.value:
            versions.write(uow, secret.id, {"": Masked(planned.value)}, by="benchmark")
        for subject in planned.grants:
            uow.grants.create(secret.id, subject, os.urandom(16).hex(), "benchmark")


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]
