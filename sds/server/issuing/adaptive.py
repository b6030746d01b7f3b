"""Chooses where a batch is prepared and signed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ca.authority import SigningAuthority
from ca.intent import CertificateIntent, IssuedCertificate
from ca.signer import LocalSigner
from sds.server.issuing.batch import Batch
from sds.server.issuing.orders import Order
from sds.server.issuing.threads import InThreads
from sds.server.issuing.workers import InWorkers, WorkerGone

FEW = 32
"""Fewer orders than this are not worth the way to another process."""


class Adaptive:
    """Implements Issuing: large batches go to workers, where the key may go there, too; all others stay here."""

    def __init__(self, threads: InThreads, workers: InWorkers) -> None:
        self._threads = threads
        self._workers = workers

    async def prepare(
        self, orders: Sequence[Order], signing: SigningAuthority, now: datetime
    ) -> Batch[CertificateIntent, IssuedCertificate]:
        if len(orders) >= FEW and isinstance(signing.signer, LocalSigner):
            try:
                return await self._workers.prepare(orders, signing, now)
            except WorkerGone:  # nothing has been signed
                pass
        return await self._threads.prepare(orders, signing, now)
