"""A log with its keys over each database, and a sequencer that steps only when told."""

from __future__ import annotations

import os

import pytest
from prometheus_client import CollectorRegistry

from attestation.spiffe_id import TrustDomain
from ca.kek import Kek, KeyRing
from ca.key_managers.wrapped import WrappedKeyManager
from ca.masked import Masked
from sds.metrics.ledger import LedgerMetrics
from sds.server.audit.log_keys import LogKeys
from sds.server.audit.sequencer import Sequencer
from sds.server.authority.custody import KeyStore
from sds.server.events import Events
from sds.store.store import Store
from tests.contract.store.samples import event
from tests.fakes.clock import FakeClock

TD = TrustDomain("example.org")
RING = KeyRing(Kek.of(Masked(b"k" * 32)))
EVENTS = Events("test-node")


class Log:
    """One replica's view of a log."""

    def __init__(self, store: Store, clock: FakeClock, batch: int = 100) -> None:
        self.store = store
        self.clock = clock
        self.registry = CollectorRegistry()
        self.keeper = WrappedKeyManager(KeyStore(store, EVENTS), RING, TD, os.urandom)
        self.keys = LogKeys(store, self.keeper, EVENTS, TD)
        self.sequencer = Sequencer(store, self.keys, LedgerMetrics(self.registry), clock, batch=batch)

    async def append(self, count: int = 1, action: str = "test.change") -> None:
        await self.store.write(lambda uow: uow.audit.append_all(event(action, request_id="r-1") for _ in range(count)))

    async def grow(self, count: int = 1) -> int:
        """Append events and put all there is under a checkpoint; how many leaves there are."""
        await self.append(count)
        await self.sequencer.drain()
        return (await self.store.read(lambda uow: uow.audit_tree.head())).size


@pytest.fixture
def log(store: Store, clock: FakeClock) -> Log:
    return Log(store, clock)
