"""Keeps the agent's own SVID fresh: at half of its life, with jitter, over the connection that it is good for."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Protocol

from ca.csr import build_csr
from ca.keys import KeyType, generate, to_pkcs8_pem
from ca.lifetime import renew_at
from sds.agent.dial import NodeLink
from sds.agent.distrust import Doubts, Verdict, judge_svid, replace_at
from sds.agent.doubts import BundleReader
from sds.agent.enrol import accept
from sds.agent.errors import AgentError, InvalidAnswer
from sds.agent.identity import AgentIdentity
from sds.agent.renewal import clock_went_back
from sds.backoff import Backoff
from sds.clock import Clock
from sds.logs import Logger

_LONGEST_SLEEP = 2.0  # seconds; the wall clock may be stepped and the bundle may change


class Connection(Protocol):
    """The part of Upstream that is used here."""

    @property
    def identity(self) -> AgentIdentity: ...

    async def connected(self) -> NodeLink: ...

    async def replace(self, identity: AgentIdentity) -> None: ...


class RenewalObserver(Protocol):
    """Counts renewals of the agent's own SVID; `outcome` is success, refused or failure."""

    def renewed(self, outcome: str) -> None: ...


class OwnSvid:
    """Renews until cancelled."""

    def __init__(
        self,
        upstream: Connection,
        reader: BundleReader,
        backoff: Backoff,
        replace_within: timedelta,
        observer: RenewalObserver,
        clock: Clock,
        log: Logger,
    ) -> None:
        """`replace_within`: see distrust.replace_at."""
        self._upstream = upstream
        self._reader = reader
        self._replace_within = replace_within
        self._backoff = backoff
        self._observer = observer
        self._clock = clock
        self._log = log
        self._drawn: tuple[str, float, datetime] | None = None
        self._judged: tuple[str, Doubts] | None = None
        self._verdict: Verdict | None = None
        self._replace_at: tuple[str, datetime] | None = None

    def due(self) -> datetime:
        """When the present SVID is to be renewed: before its time if it, or its authority, is not to be trusted."""
        svid, now = self._upstream.identity.svid, self._clock.now()
        if self._drawn is None or self._drawn[0] != svid.serial:
            self._drawn = (svid.serial, self._clock.jitter(), now)
        _, jitter, seen_at = self._drawn
        regular = renew_at(svid.not_before, svid.not_after, jitter)
        if clock_went_back(svid.not_before, seen_at, now):
            return now
        if self._replace_at is None or self._replace_at[0] != svid.serial:
            return regular
        return min(regular, self._replace_at[1])

    async def judge(self) -> None:
        """Look at the present SVID, once for each bundle. A time that was set for it stays."""
        identity = self._upstream.identity
        doubts = await self._reader.doubts(identity.bundle)
        serial, now = identity.svid.serial, self._clock.now()
        if self._judged is not None and self._judged[0] == serial and self._judged[1] is doubts:
            return
        former, self._verdict = self._verdict, judge_svid(identity.svid, doubts, now)
        same = self._judged is not None and self._judged[0] == serial and former is self._verdict
        self._judged = (serial, doubts)
        if self._verdict is None:
            self._replace_at = None
        elif not same:
            due = replace_at(self._verdict, identity.svid.not_after, now, self._replace_within, self._clock.jitter())
            self._replace_at = (serial, due)
            self._log.warning("this agent's SVID is renewed before its time", reason=self._verdict.value)

    async def run(self) -> None:
        """Until cancelled."""
        failures = 0
        while True:
            await self.judge()
            wait = (self.due() - self._clock.now()).total_seconds()
            if wait > 0:
                await asyncio.sleep(min(wait, _LONGEST_SLEEP))
                continue
            link = await self._upstream.connected()
            try:
                await self._renew(link)
            except AgentError as error:
                failures += 1
                delay = self._backoff.delay(failures, self._clock.jitter())
                self._observer.renewed("failure")
                self._log.warning("this agent's SVID could not be renewed", reason=str(error), retry_in=_text(delay))
                await asyncio.sleep(delay.total_seconds())
            else:
                failures = 0
                self._observer.renewed("success")

    async def _renew(self, link: NodeLink) -> None:
        """Raises AgentError."""
        key = await asyncio.to_thread(generate, KeyType.ECDSA_P256)
        answer = await link.renew(build_csr(key))
        identity = accept(answer.svid, answer.bundle, to_pkcs8_pem(key), self._clock)
        if identity.svid.spiffe_id != self._upstream.identity.svid.spiffe_id:
            raise InvalidAnswer("the server renewed this agent's SVID with another SPIFFE ID")
        await self._upstream.replace(identity)
        self._log.info("renewed this agent's SVID", not_after=identity.svid.not_after.isoformat())


def _text(span: timedelta) -> float:
    return round(span.total_seconds(), 2)
