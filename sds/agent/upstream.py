"""The one connection to the server: followed while it lasts, made anew with back-off, moved when credentials change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from ca.bundle import TrustBundle
from sds import __version__
from sds._pb.sds.node.v1 import node_pb2
from sds.agent import convert
from sds.agent.cache import Cache
from sds.agent.dial import LinkOptions, NodeLink
from sds.agent.errors import AgentError, AgentRefused, CredentialExpired, ServerUnreachable
from sds.agent.identity import AgentIdentity
from sds.agent.renewal import catch_up
from sds.agent.skew import SkewEstimate
from sds.backoff import Backoff
from sds.clock import Clock
from sds.logs import Logger

SILENCE = 120.0
"""Seconds without a word on the watch stream after which the server is taken for stuck; it sends heartbeats."""
OUTAGE = timedelta(seconds=5)
"""A shorter interruption is no outage that others would have suffered too."""
SKEW_WARNING = 5.0
"""Seconds between the two clocks from which on certificates may seem not yet valid."""


class UpstreamObserver(Protocol):
    """Is told, on the loop, how the connection is."""

    def connected(self, connected: bool) -> None: ...

    def skew(self, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class UpstreamStatus:
    """`since`: when `connected` became what it is. `problem` is safe to show."""

    connected: bool = False
    since: datetime | None = None
    problem: str = "not connected yet"
    refused: bool = False
    skew_seconds: float | None = None


class Upstream:
    """Feeds the cache from the watch stream. `save` makes an identity durable; `enrol` gets one after expiry."""

    def __init__(
        self,
        address: str,
        identity: AgentIdentity,
        cache: Cache,
        *,
        save: Callable[[AgentIdentity], Awaitable[None]],
        enrol: Callable[[], Awaitable[AgentIdentity]],
        options: LinkOptions,
        backoff: Backoff,
        observer: UpstreamObserver,
        clock: Clock,
        log: Logger,
    ) -> None:
        self.status = UpstreamStatus()
        self.identity = identity
        self._address = address
        self._cache = cache
        self._save = save
        self._enrol = enrol
        self._options = options
        self._backoff = backoff
        self._observer = observer
        self._clock = clock
        self._log = log
        self._link: NodeLink | None = None
        self._connected = asyncio.Event()
        self._moved = asyncio.Event()
        self._closing: set[asyncio.Task[None]] = set()
        self._resume = (0, "")  # revision, epoch
        self._bundle_changed: Callable[[], None] = lambda: None
        self._checkpoint_seen: Callable[[str], None] = lambda _note: None
        self._failures = 0
        self._lost_at: datetime | None = None
        self._skew = SkewEstimate()
        self._skew_told = False
        cache.apply((), bundle=identity.bundle)

    @property
    def link(self) -> NodeLink | None:
        """The connection to ask on, or None while there is none."""
        return self._link

    @property
    def bundle_sequence(self) -> int:
        """Of the bundle that this agent verifies its server, and what it is sent, by."""
        return self.identity.bundle.sequence

    def on_bundle(self, changed: Callable[[], None]) -> None:
        """Have `changed` called, on the loop, when another bundle is verified by."""
        self._bundle_changed = changed

    def on_checkpoint(self, seen: Callable[[str], None]) -> None:
        """Have `seen` called, on the loop, with each checkpoint of the audit log that the server tells."""
        self._checkpoint_seen = seen

    async def connected(self) -> NodeLink:
        """Wait for a connection."""
        while self._link is None:
            await self._connected.wait()
        return self._link

    async def replace(self, identity: AgentIdentity) -> None:
        """Use another SVID from now on. What is running ends on the old connection."""
        if identity.svid.spiffe_id != self.identity.svid.spiffe_id:
            self._resume = (0, "")  # another agent has other entries
        self._use(identity)
        self._cache.apply((), bundle=identity.bundle)
        self._moved.set()
        await self._save(identity)

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                await self._once()
        finally:
            self._drop_link(grace=None)
            if self._closing:
                await asyncio.wait(self._closing)

    async def _once(self) -> None:
        if self.identity.expired(self._clock.now()):
            self._fail(CredentialExpired("this agent's SVID has expired; it needs a new join token"))
            await self.replace(await self._enrol())
        self._moved.clear()
        link = NodeLink(self._address, self.identity, self._options)
        try:
            await self._follow(link)
        except AgentError as error:
            self._close(link, None)
            self._fail(error)
            delay = self._backoff.delay(self._failures, self._clock.jitter())
            self._log.warning("no connection to the server", reason=str(error), retry_in=delay.total_seconds())
            await _first(self._moved.wait(), delay.total_seconds())
        except BaseException:
            self._close(link, None)
            raise

    async def _follow(self, link: NodeLink) -> None:
        """Apply what the server says until the identity is another one. Raises AgentError."""
        revision, epoch = self._resume
        request = node_pb2.WatchAuthorizedRequest(
            resume_revision=revision, resume_epoch=epoch, agent_version=__version__
        )
        asked = self._clock.monotonic()
        async with aclosing(link.watch(request)) as stream:
            message = await self._next(stream)
            if message is None:
                self._close(link, None)
                return
            self._skew.opened(self._clock.monotonic() - asked)
            self._adopt(link)
            while message is not None:
                await self._apply(message)
                if self._moved.is_set():
                    return
                message = await self._next(stream)

    async def _next(
        self, stream: AsyncGenerator[node_pb2.WatchAuthorizedResponse, None]
    ) -> node_pb2.WatchAuthorizedResponse | None:
        """The next message; None when the identity has been replaced meanwhile. Raises AgentError."""
        reading = asyncio.ensure_future(anext(stream))
        moving = asyncio.ensure_future(self._moved.wait())
        try:
            await asyncio.wait({reading, moving}, timeout=SILENCE, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                return reading.result()
            if moving.done():
                return None
            raise ServerUnreachable(f"the server has said nothing for {SILENCE:.0f} s")
        finally:
            moving.cancel()
            if not reading.done():
                reading.cancel()
                await asyncio.wait({reading})

    async def _apply(self, message: node_pb2.WatchAuthorizedResponse) -> None:
        update = convert.update(message, self.identity.svid.spiffe_id)
        for problem in update.rejected:
            self._log.error("the server sent something that this agent does not understand", problem=problem)
        self._checkpoint_seen(message.audit_checkpoint)
        if update.server_time is not None:
            self._note_skew(self._skew.observe(update.server_time, self._clock.now()))
        self._cache.apply(
            update.upserted, update.removed, snapshot=update.snapshot, bundle=update.bundle, federated=update.federated
        )
        self._resume = (update.revision, update.epoch)
        if update.bundle is not None and update.bundle != self.identity.bundle:
            await self._replace_bundle(update.bundle)

    async def _replace_bundle(self, bundle: TrustBundle) -> None:
        """Trust other authorities from now on.

        This connection was verified by the former ones: where one of them is gone it is made anew, so that the fleet
        does not come back all at once for an authority that was only added, or for a CRL. A server that trusts only the
        new ones would turn us away if our SVID were under none of them. Then the connection is kept until the SVID is
        renewed over it (OwnSvid sees to that at once).
        """
        self._log.info(
            "the trust bundle has changed", sequence=bundle.sequence, authorities=len(bundle.x509_authorities)
        )
        gone = set(self.identity.bundle.x509_authorities).difference(bundle.x509_authorities)
        identity = replace(self.identity, bundle=bundle)
        if gone and identity.trusted(self._clock.now()):
            await self.replace(identity)
        else:
            self._use(identity)
            await self._save(identity)

    def _use(self, identity: AgentIdentity) -> None:
        news = identity.bundle.sequence != self.identity.bundle.sequence
        self.identity = identity
        if news:
            self._bundle_changed()

    def _adopt(self, link: NodeLink) -> None:
        """`link` works: ask on it from now on, and let what runs on the former one end."""
        former, self._link = self._link, link
        self._failures = 0
        if former is not None:
            self._close(former, self._options.call_timeout.total_seconds())
            return
        now = self._clock.now()
        if self._lost_at is not None and now - self._lost_at >= OUTAGE:
            self._cache.note(catch_up(self._cache.facts(), now, self._clock.jitter()))
        self._lost_at = None
        self.status = replace(self.status, connected=True, since=now, problem="", refused=False)
        self._connected.set()
        self._cache.reach(True)
        self._observer.connected(True)
        self._log.info("connected to the server", address=self._address)

    def _fail(self, error: AgentError) -> None:
        """There is no connection now."""
        self._failures += 1
        now = self._clock.now()
        if self.status.connected or self.status.since is None:
            self._lost_at = self._lost_at or now
            self.status = replace(self.status, connected=False, since=now)
        refused = isinstance(error, AgentRefused)
        self.status = replace(self.status, problem=str(error), refused=refused)
        if refused:
            self._log.error("the server serves this agent no more; its workloads get nothing new", reason=str(error))
            self._resume = (0, "")
            self._cache.clear()
        self._drop_link(grace=self._options.call_timeout.total_seconds())
        self._cache.reach(False)
        self._observer.connected(False)

    def _drop_link(self, grace: float | None) -> None:
        link, self._link = self._link, None
        self._connected.clear()
        if link is not None:
            self._close(link, grace)

    def _close(self, link: NodeLink, grace: float | None) -> None:
        if link is self._link:
            self._link = None
            self._connected.clear()
        task = asyncio.create_task(link.close(grace))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _note_skew(self, seconds: float) -> None:
        self.status = replace(self.status, skew_seconds=round(seconds, 3))
        self._observer.skew(seconds)
        if abs(seconds) >= SKEW_WARNING and not self._skew_told:
            self._log.warning("this host's clock and the server's differ", seconds=round(seconds, 1))
        self._skew_told = abs(seconds) >= SKEW_WARNING / 2 if self._skew_told else abs(seconds) >= SKEW_WARNING


async def _first(event: Awaitable[object], seconds: float) -> None:
    """Until `event`, at most `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            await event
    except TimeoutError:
        return
