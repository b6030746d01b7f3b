"""Bundle endpoints of other trust domains, answering what a test wants; no network."""

from __future__ import annotations

import asyncio
from collections import Counter

from attestation.spiffe_id import TrustDomain
from ca.bundle import TrustBundle
from sds.server.federation.errors import PollFailed
from sds.store.federations import BundleSource


class FakeEndpoints:
    """Implements sds.server.federation.poller.Fetcher. `answers` holds a bundle or an error for each trust domain."""

    def __init__(self) -> None:
        self.answers: dict[TrustDomain, TrustBundle | PollFailed | Exception] = {}
        self.asked: Counter[TrustDomain] = Counter()
        self.trusted: dict[TrustDomain, TrustBundle | None] = {}
        self.open = asyncio.Event()
        self.open.set()
        self.waiting = 0
        self.most_waiting = 0

    async def fetch(self, trust_domain: TrustDomain, source: BundleSource, trusted: TrustBundle | None) -> TrustBundle:
        self.asked[trust_domain] += 1
        self.trusted[trust_domain] = trusted
        self.waiting += 1
        self.most_waiting = max(self.most_waiting, self.waiting)
        try:
            await self.open.wait()
        finally:
            self.waiting -= 1
        answer = self.answers[trust_domain]
        if isinstance(answer, Exception):
            raise answer
        return answer
