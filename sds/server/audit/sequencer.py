"""Gives each event its place in the tree and signs the tree, within a second of the event's commit.

Every replica does it for whatever is there; what stands is decided by compare-and-swap. All that a step writes is one
transaction, so a process that dies leaves either nothing of a step or all of it.
"""

from __future__ import annotations

import asyncio
from functools import cache

from ca.errors import CaError
from sds.audit.checkpoint import Checkpoint, signed
from sds.audit.merkle import DamagedTree, leaf_hash
from sds.audit.tiles import GrowingTree
from sds.clock import Clock
from sds.logs import get_logger
from sds.metrics.ledger import LedgerMetrics
from sds.server.audit.log_keys import LedgerUnusable, LogKey, LogKeys
from sds.server.transactions import Transactions
from sds.store.errors import StoreError
from sds.store.ledger.tree import Addition, Head, SignedHead
from sds.store.unit_of_work import UnitOfWork

INTERVAL = 0.25
"""Seconds between two looks at whether there is something new; each asks for one number."""
BATCH = 2048
"""Events that one transaction places, so that issuance never waits long for it."""
LATE = 10.0
"""Seconds that events may wait before the server says that it is degraded."""
_MAX_PAUSE = 5.0


class Sequencer:
    """`run` for as long as the server does; `tick` is one step of it."""

    def __init__(
        self, store: Transactions, keys: LogKeys, metrics: LedgerMetrics, clock: Clock, *, batch: int = BATCH
    ) -> None:
        self._store = store
        self._keys = keys
        self._metrics = metrics
        self._clock = clock
        self._batch = batch
        self._head: Head | None = None
        self._waiting_since: float | None = None
        self._problem = ""
        self._log = get_logger(__name__)

    async def run(self) -> None:
        """Never returns. What goes wrong is said once, shows in readiness and is tried again."""
        pause = INTERVAL
        while True:
            started = self._clock.monotonic()
            try:
                more = await self.tick()
            except (StoreError, LedgerUnusable, CaError) as error:
                pause = min(_MAX_PAUSE, pause * 2)
                self._failed(error)
            else:
                # With much to do half of the time is left to others.
                pause = max(0.01, self._clock.monotonic() - started) if more else INTERVAL
                self._problem = ""
            self._tell()
            await asyncio.sleep(pause * (0.75 + self._clock.jitter() / 2))

    async def tick(self) -> bool:
        """Place what waits, at most a batch; whether there may be more. Raises StoreError, LedgerUnusable, CaError."""
        if self._head is None:
            self._head = await self._store.read(lambda uow: uow.audit_tree.head())
        head = self._head
        if await self._store.read(lambda uow: uow.audit.newest()) <= head.seq:
            self._waiting_since = None
            return False
        if self._waiting_since is None:
            self._waiting_since = self._clock.monotonic()
        key = await self._keys.current()
        try:
            found, newest_key, addition = await self._store.read(lambda uow: self._looked(uow, head, key))
        except DamagedTree as error:
            raise LedgerUnusable(f"{error}; restore the audit log's tables from a backup") from error
        self._keys.overtaken(newest_key)
        if found != head or newest_key != key.number:
            self._head = found  # another process has been here
            return True
        if addition is None:
            return False
        if not await self._store.write(lambda uow: uow.audit_tree.extend(head, addition)):
            self._head = None
            return True
        self._grown(addition)
        more = len(addition.seqs) == self._batch
        self._waiting_since = self._clock.monotonic() if more else None
        return more

    async def drain(self) -> None:
        """Place all that is there, for a server that ends. Raises as `tick`."""
        while await self.tick():
            continue
        self._tell()

    async def readiness(self) -> str | None:
        """Why events have waited too long for a checkpoint; None while they don't."""
        waiting = self._waiting()
        if waiting < LATE:
            return None
        why = self._problem or "a transaction that does not end may hold them back"
        return f"audit events have waited {waiting:.0f} s for a signed checkpoint: {why}"

    def _looked(self, uow: UnitOfWork, head: Head, key: LogKey) -> tuple[Head, int, Addition | None]:
        """Runs in a worker thread: where the tree ends, which key is the newest, and what is to be added."""
        pending = uow.audit.settled_after(head.seq, self._batch)
        found = uow.audit_tree.head()
        newest_key = uow.audit_keys.all()[-1].number
        if not pending or found != head or newest_key != key.number:
            return found, newest_key, None
        tree = GrowingTree(head.size, cache(uow.audit_tree.tile))
        tree.extend(leaf_hash(canonical) for _, canonical in pending)
        note = signed(Checkpoint(key.verifier.name, tree.size, tree.root()).text, key.verifier, key.sign)
        checkpoint = SignedHead(tree.size, tree.root(), note, uow.now)
        return found, newest_key, Addition([seq for seq, _ in pending], tree.changed(), checkpoint)

    def _grown(self, addition: Addition) -> None:
        self._head = Head(addition.checkpoint.size, addition.seqs[-1])
        self._metrics.size.set(addition.checkpoint.size)
        self._metrics.checkpoint_time.set(addition.checkpoint.signed_at.timestamp())

    def _failed(self, error: Exception) -> None:
        self._metrics.failures.inc()
        if str(error) != self._problem:
            self._log.warning("audit events cannot be put under a checkpoint now", reason=str(error))
        self._problem = str(error)
        self._head = None

    def _waiting(self) -> float:
        return 0.0 if self._waiting_since is None else self._clock.monotonic() - self._waiting_since

    def _tell(self) -> None:
        self._metrics.waiting.set(self._waiting())
