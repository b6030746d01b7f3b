"""The server, put together in the order in which its parts need each other. Nothing is made outside this package."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from prometheus_client import CollectorRegistry

from ca.issuer import Issuer
from ca.serial import RandomSerials
from sds.audit.event import AuditEvent
from sds.clock import Clock
from sds.config import ServerConfig
from sds.metrics import ServerMetrics
from sds.rotation.scheduler import Scheduler
from sds.server import options
from sds.server.authority.key_watch import KeyWatch
from sds.server.datadir import DataDir
from sds.server.health import Health
from sds.server.health_gauge import HealthGauge
from sds.server.housekeeping import Housekeeping, LastSeen
from sds.server.issuance import Issuance
from sds.server.issuing.adaptive import Adaptive
from sds.server.issuing.threads import InThreads
from sds.server.issuing.workers import InWorkers
from sds.server.own_svid import OwnSvid
from sds.server.refusals import RefusalLog
from sds.server.server import Endpoint, Parts, Server
from sds.server.stages import Passing, unwatched
from sds.server.telemetry import Telemetry
from sds.server.transactions import Metered, Transactions
from sds.server.wiring.admin import Network, entry_service, http_servers
from sds.server.wiring.core import Core, open_core, open_database
from sds.server.wiring.federation import federation_poller
from sds.server.wiring.ledger import note_reload, note_start
from sds.server.wiring.node import certificate_signer, listeners, token_signer
from sds.server.wiring.notices import open_notices, use_notices
from sds.server.wiring.public import public_listeners
from sds.server.wiring.reconfiguration import Reconfiguration
from sds.server.wiring.revocation import public_revocation
from sds.server.wiring.secrets import open_secrets, public_secrets


async def build(
    config: ServerConfig,
    clock: Clock,
    data_dir: DataDir,
    *,
    collectors: CollectorRegistry | None = None,
    passing: Passing = unwatched,
) -> Server:
    """Everything but the listening. `passing` is told how far issuances have come.

    Raises what can be wrong with the parts, each error saying what to do: StoreError, KekFileUnusable, CaError,
    ConfigError, AddressUnusable, TlsUnusable.
    """
    collectors = collectors or CollectorRegistry()
    telemetry = Telemetry(ServerMetrics(collectors), clock)
    store = Metered(await asyncio.to_thread(open_database, config, clock), telemetry, clock)
    try:
        core = await open_core(config, clock, store, telemetry, passing)
        try:
            return await _server(core, data_dir, collectors)
        except BaseException:
            await core.close()
            raise
    except BaseException:
        await store.close()
        raise


async def _server(core: Core, data_dir: DataDir, collectors: CollectorRegistry) -> Server:
    config, clock, store, registry = core.config, core.clock, core.store, core.registry
    issuer = Issuer(options.issuance_policy(config), RandomSerials(os.urandom))
    issuance = Issuance(store, issuer, core.authorities, core.events, clock, core.telemetry, core.passing)
    own_svid = await _own_svid(core, issuance)
    executor = ThreadPoolExecutor(max_workers=2, thread_name_prefix="sds-signing")
    workers, adaptive = _issuing(core, issuer, executor)
    signer = certificate_signer(core, adaptive)
    tokens = token_signer(core, executor)
    refusals, seen = RefusalLog(_append(store), core.telemetry, clock, core.events), LastSeen(clock)
    secrets = await open_secrets(core, refusals)
    node, attest, rates = listeners(core, data_dir, issuance, signer, tokens, secrets.streams, refusals, seen, own_svid)
    core.follower.on_authorities(lambda: _authorities_changed(core, own_svid))
    key_watch = _key_watch(core)
    health = Health(store, core.authorities, lambda: own_svid.not_after, key_watch.readiness, clock, core.checks)
    entries = entry_service(core)
    poller = federation_poller(core)
    notices = await open_notices(core)
    reconfigure = Reconfiguration(
        issuer, workers, entries, rates, partial(use_notices, notices), partial(note_reload, store, core.events)
    )
    reconfigure.look()
    revocation, given = public_revocation(core), public_secrets(core, secrets)
    public = public_listeners(core, data_dir, own_svid, revocation, given, secrets.hook)
    http, admin = http_servers(core, health, collectors, entries, poller, secrets, notices, Network(data_dir, own_svid))
    parts = Parts(
        data_dir=data_dir,
        store=store,
        registry=registry,
        follower=core.follower,
        own_svid=own_svid,
        signer=signer,
        signing_workers=workers,
        tokens=tokens,
        refusals=refusals,
        housekeeping=_housekeeping(core, refusals, seen),
        scheduler=Scheduler(),
        keys=core.keys,
        key_watch=key_watch,
        crls=core.crls,
        memory=core.memory,
        vault=core.vault,
        upstream=core.upstream,
        health=health,
        health_gauge=HealthGauge(health, core.telemetry.metrics.health),
        node=Endpoint(node, config.listen),
        attest=Endpoint(attest, config.attest_listen),
        poller=poller,
        secrets=secrets,
        notices=notices,
        sequencer=core.ledger.sequencer,
        pruner=core.ledger.pruner,
        sinks=core.sinks,
        public=[*public, *admin],
        http=http,
        reconfigure=reconfigure,
        executor=executor,
    )
    return Server(parts, config.grpc.drain_timeout)


async def _own_svid(core: Core, issuance: Issuance) -> OwnSvid:
    """The server's own certificate, issued once its start is noted and the log's keys are there."""
    own_svid = OwnSvid(issuance, lambda: core.registry.bundle, core.config.trust_domain, core.clock)
    await note_start(core.config, core.store, core.events)
    await core.ledger.begin()
    await own_svid.renew()
    return own_svid


def _issuing(core: Core, issuer: Issuer, executor: ThreadPoolExecutor) -> tuple[InWorkers, Adaptive]:
    """What signs large batches, and what chooses between that and this process."""
    limits = core.config.limits
    policy = options.issuance_policy(core.config)
    workers = InWorkers(policy, limits.max_csr_bytes, limits.signing_workers, core.telemetry)
    return workers, Adaptive(InThreads(issuer, executor, limits.max_csr_bytes), workers)


def _key_watch(core: Core) -> KeyWatch:
    def in_use() -> set[str]:
        return {one.key_ref for one in core.authorities.all()}

    return KeyWatch(core.keys, in_use, core.custody.check, core.telemetry.metrics)


def _housekeeping(core: Core, refusals: RefusalLog, seen: LastSeen) -> Housekeeping:
    metrics, interval = core.telemetry.metrics, core.config.rotation.interval
    return Housekeeping(
        core.store, core.registry, core.authorities, refusals, seen, metrics, core.clock, interval, core.events
    )


async def _authorities_changed(core: Core, own_svid: OwnSvid) -> None:
    """Handshakes trust the new bundle at once; the server's own certificate moves to the authority that signs now."""
    own_svid.bundle_changed()
    own_svid.revoked(core.registry.blocked.server_serials)
    await core.authorities.refresh()
    own_svid.authority_is(core.authorities.signing().authority.id)


def _append(store: Transactions) -> Callable[[Sequence[AuditEvent]], Awaitable[None]]:
    return lambda events: store.write(lambda uow: uow.audit.append_all(events))
