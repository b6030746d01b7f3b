"""The engine without a server: a catalog, a shelf over a fake source, and watches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from attestation.entry import EntrySpec, RegistrationEntry
from attestation.selector import Selector
from attestation.spiffe_id import SpiffeId
from sds.secrets.grant import Exactly, Grant
from sds.secrets.judge import Limits
from sds.secrets.secret import DatabaseSource, EmbeddedSource, Secret, SecretKind, SecretSpec, SecretState
from sds.server.secrets.backends import SecretBackends
from sds.server.secrets.catalog import SecretCatalog
from sds.server.secrets.schedule import PollPolicy
from sds.server.secrets.shelf import Shelf
from sds.server.secrets.slot import Slot
from sds.server.secrets.watches import SecretWatches
from tests.fakes.clock import EPOCH, FakeClock
from tests.fakes.secret_backend import FakeBackend

AGENT = SpiffeId.parse("spiffe://example.org/sds/agent/a")
OTHER = SpiffeId.parse("spiffe://example.org/sds/agent/b")


def make_secret(name: str, *, per_identity: bool = False) -> Secret:
    source = DatabaseSource("db", "role") if per_identity else EmbeddedSource()
    kind = SecretKind.MAP if per_identity else SecretKind.GENERIC
    return Secret(f"id-{name}", 1, EPOCH, EPOCH, SecretSpec(name, kind, source))


def make_entry(name: str, parent: SpiffeId = AGENT, **labels: str) -> RegistrationEntry:
    spiffe_id = SpiffeId.parse(f"spiffe://example.org/{name}")
    spec = EntrySpec(spiffe_id, parent, frozenset({Selector("unix", "uid:1")}), labels=labels)
    return RegistrationEntry(name, 1, EPOCH, EPOCH, spec)


class Observer:
    def __init__(self) -> None:
        self.outcomes: list[tuple[str, str]] = []

    def secret_fetched(self, backend: str, outcome: str, seconds: float) -> None:
        self.outcomes.append((backend, outcome))

    def secrets_held(self, values: int, problems: int) -> None:
        self.held, self.problems = values, problems


class Notes:
    def __init__(self) -> None:
        self.states: dict[str, SecretState] = {}

    def note(self, secret: Secret, state: SecretState) -> None:
        self.states[secret.name] = state


class User:
    def __init__(self) -> None:
        self.told = 0

    def slot_changed(self, slot: Slot) -> None:
        self.told += 1


@dataclass
class Kit:
    clock: FakeClock = field(default_factory=FakeClock)
    embedded: FakeBackend = field(default_factory=FakeBackend)
    database: FakeBackend = field(default_factory=lambda: FakeBackend("database", per_identity=True))
    notes: Notes = field(default_factory=Notes)
    observer: Observer = field(default_factory=Observer)
    catalog: SecretCatalog = field(default_factory=SecretCatalog)
    entries: dict[str, RegistrationEntry] = field(default_factory=dict)
    linger: float = 0.02
    max_wanted: int = 100
    tickets: bool = False

    def __post_init__(self) -> None:
        self.backends = SecretBackends({"embedded": self.embedded, "database": self.database})
        self.shelf = Shelf(
            self.backends,
            self.notes,
            self.clock,
            Limits(max_value_bytes=64),
            PollPolicy(retry=0.02, patience=0.1),
            self.observer,
            self.linger,
        )
        self.watches = SecretWatches(
            self.entries.get, self.catalog, self.shelf, max_wanted=self.max_wanted, tickets=self.tickets
        )

    def define(self, name: str, *granted: str, per_identity: bool = False) -> Secret:
        """A secret that is granted to these entries."""
        secret = make_secret(name, per_identity=per_identity)
        grants = [
            Grant(f"{name}-{entry}", secret.id, Exactly(SpiffeId.parse(f"spiffe://example.org/{entry}")), EPOCH, "")
            for entry in granted
        ]
        self.watches.names_changed(self.catalog.put(secret.id, secret, grants))
        return secret

    def register(self, *entries: RegistrationEntry) -> None:
        for entry in entries:
            self.entries[entry.id] = entry
            self.watches.entry_changed(entry.id)


async def until(true: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.002)
