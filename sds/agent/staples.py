"""Staples OCSP answers to certificates for clients that want them (`svid.ocsp_staple`), and keeps them fresh.

An answer is replaced at half of its time. One that ran out is taken away again: a client that must have one is better
refused than shown an old one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from ca.profile import ProfileName
from sds._pb.sds.node.v1 import node_pb2
from sds.agent import convert
from sds.agent.cache.views import HeldSvid
from sds.agent.dial import NodeLink
from sds.agent.errors import AgentError
from sds.clock import Clock
from sds.logs import Logger

MAX_STAPLE_BYTES = 16 * 1024
_TICK = 0.5
"""Seconds between two looks; new certificates get their answer that much later."""
_RETRY = timedelta(seconds=5)


class Knowledge(Protocol):
    """The part of the cache that is used here."""

    @property
    def held(self) -> Mapping[str, HeldSvid]: ...

    def staple(self, answers: Mapping[str, tuple[str, bytes]]) -> None: ...


class Connection(Protocol):
    """The part of Upstream that is used here."""

    @property
    def link(self) -> NodeLink | None: ...


@dataclass(frozen=True, slots=True)
class Stapled:
    """The answer that an entry's certificate has: until when it holds, and when to ask for another."""

    serial: str
    ends: datetime
    renew_at: datetime


class Stapler:
    """One loop. `profiles`: of entries whose certificates get answers."""

    def __init__(
        self, cache: Knowledge, upstream: Connection, profiles: Collection[str], batch: int, clock: Clock, log: Logger
    ) -> None:
        self._cache = cache
        self._upstream = upstream
        self._profiles = frozenset(profiles)
        self._batch = batch
        self._clock = clock
        self._log = log
        self._stapled: dict[str, Stapled] = {}
        self._quiet_until: datetime | None = None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(_TICK if self._profiles else 3600.0)

    async def look(self) -> None:
        """Take away what ran out, and ask for what is due."""
        now = self._clock.now()
        held = {
            entry_id: svid.identity.certificate.serial
            for entry_id, svid in self._cache.held.items()
            if (svid.held.entry.spec.profile or ProfileName.WORKLOAD) in self._profiles
        }
        self._stapled = {name: one for name, one in self._stapled.items() if held.get(name) == one.serial}
        over = [name for name, one in self._stapled.items() if one.ends <= now]
        if over:
            self._cache.staple({name: (held[name], b"") for name in over})
            for name in over:
                del self._stapled[name]
        due = [name for name in held if name not in self._stapled or self._stapled[name].renew_at <= now]
        link = self._upstream.link
        if not due or link is None or (self._quiet_until is not None and now < self._quiet_until):
            return
        self._quiet_until = None
        for start in range(0, len(due), self._batch):
            await self._ask(link, {held[name]: name for name in due[start : start + self._batch]}, now)

    async def _ask(self, link: NodeLink, wanted: Mapping[str, str], now: datetime) -> None:
        """`wanted`: entry IDs by serial."""
        try:
            answer = await link.staples(node_pb2.OcspStaplesRequest(serials=list(wanted)))
        except AgentError as error:
            self._quiet_until = now + _RETRY
            self._log.warning("no OCSP answers to staple", reason=str(error), count=len(wanted))
            return
        found = self._read(answer.staples, wanted, now)
        self._cache.staple(found)
        if len(found) < len(wanted):
            self._quiet_until = now + _RETRY
            self._log.warning("no OCSP answers to staple", reason="the server has none", count=len(wanted) - len(found))

    def _read(
        self, staples: Sequence[node_pb2.OcspStaple], wanted: Mapping[str, str], now: datetime
    ) -> dict[str, tuple[str, bytes]]:
        found: dict[str, tuple[str, bytes]] = {}
        for one in staples:
            entry_id = wanted.get(one.serial)
            try:
                since, ends = convert.moment(one.this_update), convert.moment(one.next_update)
            except ValueError:
                continue
            if entry_id is None or not 0 < len(one.response) <= MAX_STAPLE_BYTES or not since <= ends or ends <= now:
                continue
            found[entry_id] = (one.serial, one.response)
            self._stapled[entry_id] = Stapled(one.serial, ends, now + (ends - now) / 2)
        return found
