"""Preparing and signing in threads of this process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from datetime import datetime

from ca.authority import SigningAuthority
from ca.errors import AlreadyIssued, CaError
from ca.intent import CertificateIntent, IssuedCertificate
from ca.issuer import Issuer, Prepared
from sds.server.issuing.orders import Order, prepare_orders


class InThreads:
    """Implements Issuing. `executor` runs what would hold up the event loop."""

    def __init__(self, issuer: Issuer, executor: Executor, max_csr_bytes: int) -> None:
        self._issuer = issuer
        self._executor = executor
        self._max_csr_bytes = max_csr_bytes

    async def prepare(self, orders: Sequence[Order], signing: SigningAuthority, now: datetime) -> _Batch:
        loop = asyncio.get_running_loop()
        answers = await loop.run_in_executor(
            self._executor, prepare_orders, self._issuer, orders, signing, now, self._max_csr_bytes
        )
        return _Batch(self._issuer, self._executor, answers)


class _Batch:
    def __init__(self, issuer: Issuer, executor: Executor, answers: Sequence[Prepared | CaError]) -> None:
        self._issuer = issuer
        self._executor = executor
        self._prepared: Sequence[Prepared | CaError] | None = answers
        self.intents: Sequence[CertificateIntent | CaError] = [
            answer.intent if isinstance(answer, Prepared) else answer for answer in answers
        ]

    async def issue(self, chosen: Sequence[int]) -> Sequence[IssuedCertificate | CaError]:
        prepared, self._prepared = self._prepared, None
        if prepared is None:
            raise AlreadyIssued("a batch is signed at most once")
        ready = [item for item in (prepared[place] for place in chosen) if isinstance(item, Prepared)]
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._issuer.issue, ready)
