"""Keeps the agent's own SVID fresh: at half of its life, with jitter, over the connection that it is good for."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Protocol

from ca.csr import build_csr
from ca.keys import KeyType, generate, to_pkcs8_pem
from ca.lifetime import renew_at
from sds.agent.backoff import Backoff
from sds.agent.dial import NodeLink
from sds.agent.enrol import accept
from sds.agent.errors import AgentError, InvalidAnswer
from sds.agent.identity import AgentIdentity
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
        self, upstream: Connection, backoff: Backoff, observer: RenewalObserver, clock: Clock, log: Logger
    ) -> None:
        self._upstream = upstream
        self._backoff = backoff
        self._observer = observer
        self._clock = clock
        self._log = log
        self._drawn: tuple[str, float] = ("", 0.0)
        self._judged: AgentIdentity | None = None
        self._verdict = True

    def due(self) -> datetime:
        """When the present SVID is to be renewed: at once if its authority is trusted no more."""
        svid = self._upstream.identity.svid
        if not self._trusted():
            return self._clock.now()
        if self._drawn[0] != svid.serial:
            self._drawn = (svid.serial, self._clock.jitter())
        return renew_at(svid.not_before, svid.not_after, self._drawn[1])

    def _trusted(self) -> bool:
        """Judged once for each SVID and bundle."""
        identity = self._upstream.identity
        if self._judged is not identity:
            self._judged, self._verdict = identity, identity.trusted(self._clock.now())
        return self._verdict

    async def run(self) -> None:
        failures = 0
        while True:
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
