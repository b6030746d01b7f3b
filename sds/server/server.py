"""A running server: what starts, what runs beside the listeners, and in which order it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from ca.errors import CaError
from ca.key_manager import KeyManagers
from sds.config import Address, ServerConfig
from sds.http.unix import HttpServer
from sds.logs import get_logger
from sds.reload import Reload
from sds.rotation.scheduler import Scheduler
from sds.server.audit.log_keys import LedgerUnusable
from sds.server.audit.pruner import INTERVAL as RETENTION_INTERVAL
from sds.server.audit.pruner import Pruner
from sds.server.audit.sequencer import Sequencer
from sds.server.audit_sinks.engine import AuditSinks
from sds.server.authority.key_watch import KeyWatch
from sds.server.certificates import CertificateSigner
from sds.server.datadir import DataDir
from sds.server.federation.poller import Poller
from sds.server.follower import Follower
from sds.server.health import Health
from sds.server.health_gauge import HealthGauge
from sds.server.housekeeping import Housekeeping
from sds.server.issuing.workers import InWorkers
from sds.server.jwt.signing import TokenSigner
from sds.server.listener import Listener
from sds.server.notices.engine import NoticeEngine
from sds.server.own_svid import OwnSvid
from sds.server.public.listener import PublicListener
from sds.server.refusals import RefusalLog
from sds.server.registry import Registry
from sds.server.revocation.memory import Memory
from sds.server.revocation.publisher import CrlPublisher
from sds.server.transactions import Transactions
from sds.server.upstream.service import RunningUpstream
from sds.store.errors import StoreError
from sds.vault.client import VaultClient

KEY_WATCH_INTERVAL = timedelta(seconds=5)
CRL_INTERVAL = timedelta(seconds=5)
"""Each revocation is told at once; this finds what another replica could not finish."""
HEALTH_INTERVAL = timedelta(seconds=15)
JOURNAL_INTERVAL = timedelta(minutes=1)
SEQUENCING_TIMEOUT = 5.0
"""Seconds in which the last events may come under a checkpoint; what is left over waits for the next start."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A listener and where it listens."""

    listener: Listener
    address: Address


@dataclass(frozen=True, slots=True)
class Parts:
    """What the server is made of, by wiring.py."""

    data_dir: DataDir
    store: Transactions
    registry: Registry
    follower: Follower
    own_svid: OwnSvid
    signer: CertificateSigner
    signing_workers: InWorkers
    tokens: TokenSigner
    refusals: RefusalLog
    housekeeping: Housekeeping
    scheduler: Scheduler
    keys: KeyManagers
    key_watch: KeyWatch
    crls: CrlPublisher
    memory: Memory
    vault: VaultClient | None
    upstream: RunningUpstream
    health: Health
    health_gauge: HealthGauge
    node: Endpoint
    attest: Endpoint
    poller: Poller
    secrets: Secrets
    notices: NoticeEngine
    sequencer: Sequencer
    pruner: Pruner
    sinks: AuditSinks
    public: Sequence[PublicListener]
    http: Sequence[HttpServer]
    reconfigure: Reconfigure
    executor: Executor


class Reconfigure(Protocol):
    """Takes over a new configuration."""

    def __call__(self, config: ServerConfig) -> None: ...

    async def note(self, done: Reload[ServerConfig]) -> None:
        """Audits what is about to be taken over, or was refused. Raises StoreError."""
        ...

    async def settled(self) -> None:
        """Wait until nothing is under way that it has started."""
        ...


class Secrets(Protocol):
    """The engine of secrets."""

    @property
    def loops(self) -> Mapping[str, Callable[[], Coroutine[Any, Any, None]]]: ...

    def end_watches(self, reason: str) -> None: ...

    async def close(self) -> None: ...


class BackgroundTaskEnded(Exception):
    """A task has ended that must run for as long as the server does."""


class Server:
    """`start`, `serve` until told to stop, `stop`."""

    def __init__(self, parts: Parts, drain_timeout: timedelta) -> None:
        self._parts = parts
        self._drain_timeout = drain_timeout
        self._background: list[asyncio.Task[None]] = []
        self._log = get_logger(__name__)
        self._stopped = False
        self.addresses: dict[str, Address] = {}
        """Where the listeners really listen, by name; known once started."""

    async def start(self) -> None:
        """Serve. Raises sds.net.errors.AddressUnusable."""
        parts = self._parts
        if parts.vault is not None:
            self._run(parts.vault.run(), "vault")
        self._run(parts.follower.run(), "follower")
        self._run(parts.own_svid.run(), "own certificate")
        self._run(parts.poller.run(), "federation")
        self._run(parts.sequencer.run(), "audit sequencer")
        for name, loop in (*parts.secrets.loops.items(), *parts.sinks.loops.items()):
            self._run(loop(), name)
        if parts.upstream.task is not None:
            self._background.append(parts.upstream.task)
        for endpoint in (parts.node, parts.attest):
            port = await endpoint.listener.start(endpoint.address.host, endpoint.address.port)
            self.addresses[endpoint.listener.name] = Address(endpoint.address.host, port)
        for public in parts.public:
            self.addresses[public.name] = Address(public.address.host, await public.start())
            if public.certificate is not None:
                self._run(public.run(), f"certificate of {public.name}")
        for server in parts.http:
            await server.start()
        parts.housekeeping.schedule(parts.scheduler)
        if parts.notices.enabled:
            parts.notices.schedule(parts.scheduler)
        parts.scheduler.every("keys", KEY_WATCH_INTERVAL, parts.key_watch.look)
        parts.scheduler.every("crls", CRL_INTERVAL, parts.crls.tick)
        parts.scheduler.every("health", HEALTH_INTERVAL, parts.health_gauge.look)
        parts.scheduler.every("journal", JOURNAL_INTERVAL, parts.memory.tick)
        parts.scheduler.every("audit retention", RETENTION_INTERVAL, parts.pruner.tick)
        parts.scheduler.start()
        await parts.housekeeping.refresh_gauges()
        with suppress(StoreError):
            await parts.key_watch.look()
        parts.health.serving = True

    async def serve(self, stop: asyncio.Event) -> None:
        """Until `stop` is set. Raises BackgroundTaskEnded: the caller should stop and let itself be restarted."""
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({stopping, *self._background}, return_when=asyncio.FIRST_COMPLETED)
        if not stopping.done():
            stopping.cancel()
            ended = next(task for task in self._background if task.done())
            self._parts.health.broken = f"the task {ended.get_name()!r} has ended"
            raise BackgroundTaskEnded(self._parts.health.broken) from ended.exception()

    async def note_reload(self, done: Reload[ServerConfig]) -> None:
        """``server.reload``: before `reconfigure`, which must not be if this raises StoreError."""
        await self._parts.reconfigure.note(done)

    def reconfigure(self, config: ServerConfig) -> None:
        """Take over what may change while serving (`reload` in docs/config.md)."""
        self._parts.reconfigure(config)

    async def stop(self) -> None:
        """Once: accept no more, let calls finish within the drain timeout, write what is still to be written."""
        if self._stopped:
            return
        self._stopped = True
        parts = self._parts
        parts.health.serving = False
        listeners = [parts.node.listener, parts.attest.listener]
        for public in parts.public:
            public.drain()
        await asyncio.gather(*(listener.drain() for listener in listeners))
        for watched in (parts.registry, parts.secrets):
            watched.end_watches("the server is shutting down; connect again")
        await asyncio.gather(*(listener.stop(self._drain_timeout) for listener in listeners))
        await asyncio.gather(*(public.stop(self._drain_timeout) for public in parts.public))
        await asyncio.gather(parts.signer.close(), parts.tokens.close())
        await parts.reconfigure.settled()
        await parts.signing_workers.close()
        await asyncio.gather(*(server.stop(self._drain_timeout.total_seconds()) for server in parts.http))
        await parts.notices.close()
        await parts.scheduler.stop()
        with suppress(StoreError):
            await parts.notices.leave()
        with suppress(StoreError):
            await parts.housekeeping.write_last_seen()
        await parts.refusals.close()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        with suppress(StoreError, LedgerUnusable, CaError, TimeoutError):
            await asyncio.wait_for(parts.sequencer.drain(), SEQUENCING_TIMEOUT)
        await parts.sinks.close()
        await parts.secrets.close()
        await parts.upstream.close()
        with suppress(CaError):
            await parts.keys.close()
        if parts.vault is not None:
            await parts.vault.close()
        await parts.store.close()
        parts.executor.shutdown(wait=False)
        await asyncio.to_thread(parts.data_dir.close)

    def _run(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self._background.append(asyncio.create_task(work, name=name))
