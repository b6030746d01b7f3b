"""What everything else rests on: the agent's identity, its connection to the server, and what it knows in memory."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

from prometheus_client import CollectorRegistry

from ca.nobody import pem_of_nobody
from ca.serial import random_serial
from sds.agent import options
from sds.agent.cache import Cache
from sds.agent.checkpoints.witness import Witness
from sds.agent.datadir import DataFolder
from sds.agent.enrol import Enroller, Enrolment
from sds.agent.errors import HOW_TO_ATTEST, DataFolderUnusable, IdentityUnusable
from sds.agent.identity import AgentIdentity
from sds.agent.observe import ServerObserver
from sds.agent.report import Reporter
from sds.agent.secrets.interests import Interests
from sds.agent.secrets.shelf import Shelf
from sds.agent.spool.backlog import MemoryBacklog, SpoolBacklog
from sds.agent.upstream import Upstream
from sds.clock import Clock
from sds.config import AgentConfig
from sds.delivery.registry import StreamRegistry
from sds.logs import Logger
from sds.metrics import AgentMetrics

SPOOL = "spool"
"""In the data folder."""


@dataclass(frozen=True, slots=True)
class Core:
    """What everything else rests on."""

    config: AgentConfig
    clock: Clock
    log: Logger
    folder: DataFolder
    registry: CollectorRegistry
    metrics: AgentMetrics
    cache: Cache
    shelf: Shelf
    interests: Interests
    upstream: Upstream
    streams: StreamRegistry
    reporter: Reporter
    backlog: SpoolBacklog | MemoryBacklog
    witness: Witness
    executors: tuple[ThreadPoolExecutor, ThreadPoolExecutor]


async def open_identity(
    config: AgentConfig, clock: Clock, folder: DataFolder, log: Logger
) -> tuple[Enroller, AgentIdentity, bool]:
    """The stored SVID if it is still good, else a new one by attestation; whether one was stored. Raises AgentError."""
    stored: AgentIdentity | None = None
    try:
        stored = folder.load_identity()
    except IdentityUnusable as error:
        if config.join_token_file is None:
            raise IdentityUnusable(f"{error}; {HOW_TO_ATTEST}") from None
        log.warning("this agent's identity is damaged; attesting anew", reason=str(error))
    enroller = Enroller(
        Enrolment(str(config.attest_server), config.trust_bundle, config.join_token_file, folder.load_identity),
        options.link(config),
        options.backoff(config),
        clock,
        log,
    )
    if stored is not None and not stored.expired(clock.now()):
        log.info("using the stored identity", spiffe_id=str(stored.svid.spiffe_id))
        return enroller, stored, True
    if stored is not None:
        log.warning("the stored SVID has expired", not_after=stored.svid.not_after.isoformat())
    identity = await enroller.first()
    folder.save_identity(identity)
    log.info("attested", spiffe_id=str(identity.svid.spiffe_id), not_after=identity.svid.not_after.isoformat())
    return enroller, identity, stored is not None


def open_core(
    config: AgentConfig,
    clock: Clock,
    folder: DataFolder,
    log: Logger,
    enroller: Enroller,
    identity: AgentIdentity,
    *,
    returning: bool,
) -> Core:
    registry = CollectorRegistry()
    metrics = AgentMetrics(registry)
    names, shelf = options.names(config), Shelf()
    interests = Interests(shelf, clock, names, options.interests(config))
    nobody = pem_of_nobody(clock.now(), random_serial(secrets.token_bytes))
    cache = Cache(clock, names, nobody, interests)
    run_id = secrets.token_hex(6)
    streams = StreamRegistry(run_id, clock)
    observer = ServerObserver(metrics)
    upstream = Upstream(
        str(config.server),
        identity,
        cache,
        save=_saver(folder, log),
        enrol=enroller.again,
        options=options.link(config),
        backoff=options.backoff(config),
        observer=observer,
        clock=clock,
        log=log,
    )
    backlog = _backlog(config, folder, run_id, observer, log)
    silent_for = config.upstream.sidecars_return if returning else timedelta(0)
    reporter = _reporter(config, streams, upstream, run_id, silent_for, observer, clock, log, backlog)
    upstream.on_bundle(reporter.touch)
    witness = Witness(folder, reporter.add, observer, clock, log)
    witness.load()
    upstream.on_checkpoint(witness.see)
    return Core(
        config, clock, log, folder, registry, metrics, cache, shelf, interests, upstream, streams, reporter, backlog,
        witness, _executors(config),
    )  # fmt: skip


def _reporter(
    config: AgentConfig,
    streams: StreamRegistry,
    upstream: Upstream,
    run_id: str,
    silent_for: timedelta,
    observer: ServerObserver,
    clock: Clock,
    log: Logger,
    backlog: SpoolBacklog | MemoryBacklog,
) -> Reporter:
    return Reporter(
        streams,
        upstream,
        run_id,
        interval=config.upstream.report_interval,
        queue=config.upstream.report_queue,
        silent_for=silent_for,
        backoff=options.backoff(config),
        observer=observer,
        clock=clock,
        log=log,
        backlog=backlog,
    )


def _backlog(
    config: AgentConfig, folder: DataFolder, run_id: str, observer: ServerObserver, log: Logger
) -> SpoolBacklog | MemoryBacklog:
    queue, spool = config.upstream.report_queue, config.spool
    if not spool.enabled:
        return MemoryBacklog(run_id, queue)
    return SpoolBacklog(
        folder.path / SPOOL,
        run_id,
        queue=queue,
        max_events=spool.max_events,
        max_bytes=spool.max_bytes,
        observer=observer,
        log=log,
    )


def _saver(folder: DataFolder, log: Logger) -> Callable[[AgentIdentity], Awaitable[None]]:
    async def save(identity: AgentIdentity) -> None:
        try:
            await asyncio.to_thread(folder.save_identity, identity)
        except DataFolderUnusable as error:
            log.warning("this agent's identity could not be saved; a restart would use an older one", reason=str(error))

    return save


def _executors(config: AgentConfig) -> tuple[ThreadPoolExecutor, ThreadPoolExecutor]:
    attestations = min(config.limits.max_attestations, 8)
    return ThreadPoolExecutor(2, thread_name_prefix="keys"), ThreadPoolExecutor(attestations, "attest")
