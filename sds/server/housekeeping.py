"""What must be done now and then. Each job looks at what is there and does what is due; none remembers anything."""

from __future__ import annotations

from datetime import datetime, timedelta

from attestation.spiffe_id import SpiffeId
from sds.clock import Clock
from sds.logs import get_logger
from sds.metrics import ServerMetrics
from sds.rotation.scheduler import Scheduler
from sds.server.access.approvals import expire
from sds.server.authority.authorities import Authorities, soon_expired
from sds.server.downstream.lists import forget_expired
from sds.server.events import Events, rfc3339
from sds.server.identity import AgentCaller
from sds.server.refusals import RefusalLog
from sds.server.registry import Registry
from sds.server.transactions import Transactions
from sds.store.errors import StoreError
from sds.store.unit_of_work import UnitOfWork

CHANGES_KEPT = timedelta(days=1)
IDEMPOTENCY_KEPT = timedelta(days=1)
PAST_ENTRIES_KEPT = timedelta(days=30)
TOKENS_KEPT = timedelta(days=7)
"""After their expiry, so that a late try is refused as "expired" and not as "unknown" in the log."""
REVOCATIONS_KEPT = timedelta(days=7)
"""After the certificate's expiry, so that who looks for what a block revoked still finds it."""
RUNS_KEPT = timedelta(days=30)
"""Of agents, after they were last heard of: so long may a spool wait for its server without being told twice."""
STREAMS_KEPT = timedelta(hours=1)
"""After their agent was last heard of."""
WARN_BEFORE = timedelta(days=30)
WARN_SHARE = 8
"""A short-lived authority is warned of in the last eighth of its life, when rotation should have replaced it."""


class LastSeen:
    """When each agent was last heard of, and as which version; written now and then, as nothing is decided by it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._times: dict[SpiffeId, datetime] = {}
        self._versions: dict[SpiffeId, str] = {}

    def note(self, caller: AgentCaller) -> None:
        self._times[caller.agent_id] = self._clock.now()

    def note_version(self, caller: AgentCaller, version: str) -> None:
        """What an agent says it is, fit to show."""
        self.note(caller)
        self._versions[caller.agent_id] = version

    async def flush(self, store: Transactions) -> None:
        times, self._times = self._times, {}
        versions, self._versions = self._versions, {}

        def work(uow: UnitOfWork) -> None:
            uow.agents.seen(times.items())
            uow.agents.running(versions.items())

        if not times and not versions:
            return
        try:
            await store.write(work)
        except StoreError:
            self._versions = {**versions, **self._versions}  # told once a stream, while the times come again
            raise


class Housekeeping:
    """The jobs, and how often each is looked at."""

    def __init__(
        self,
        store: Transactions,
        registry: Registry,
        authorities: Authorities,
        refusals: RefusalLog,
        seen: LastSeen,
        metrics: ServerMetrics,
        clock: Clock,
        rotation_interval: timedelta = timedelta(seconds=10),
        events: Events | None = None,
    ) -> None:
        self._events = events or Events("housekeeping")
        self._rotation_interval = rotation_interval
        self._store = store
        self._registry = registry
        self._authorities = authorities
        self._refusals = refusals
        self._seen = seen
        self._metrics = metrics
        self._clock = clock
        self._log = get_logger(__name__)

    def schedule(self, scheduler: Scheduler) -> None:
        scheduler.every("refusals", timedelta(seconds=10), self._refusals.flush)
        scheduler.every("last-seen", timedelta(seconds=30), self.write_last_seen)
        scheduler.every("gauges", timedelta(seconds=10), self.refresh_gauges)
        scheduler.every("rotation", self._rotation_interval, self._authorities.tick)
        scheduler.every("authority", timedelta(minutes=1), self.look_at_authorities)
        scheduler.every("streams", timedelta(minutes=5), self.forget_streams)
        scheduler.every("prune", timedelta(hours=1), self.prune)
        scheduler.every("approvals", timedelta(minutes=1), self.end_approvals)

    async def write_last_seen(self) -> None:
        await self._seen.flush(self._store)

    async def refresh_gauges(self) -> None:
        self._metrics.entries.set(self._registry.entry_count)
        self._metrics.authorities((str(one.kind), str(one.state), one.not_after) for one in self._authorities.all())

    async def look_at_authorities(self) -> None:
        """Warn of one that will expire soon."""
        for authority in soon_expired(self._authorities.all(), self._clock.now(), WARN_BEFORE, WARN_SHARE):
            self._log.warning(
                "the authority expires soon, and with it all that it issued; see why it is not replaced (sds ca show)",
                kind=str(authority.kind),
                authority_id=authority.id,
                not_after=rfc3339(authority.not_after),
            )

    async def forget_streams(self) -> None:
        """Streams of agents that have not been heard of for long: the fleet view shows what is, not what was."""

        def work(uow: UnitOfWork) -> int:
            old = uow.now - STREAMS_KEPT
            silent = [
                agent_id for agent_id in uow.streams.counts() if (seen := last_seen.get(agent_id)) is None or seen < old
            ]
            for agent_id in silent:
                uow.streams.forget(agent_id)
            return len(silent)

        agents = await self._store.read(lambda uow: uow.agents.all())
        last_seen = {record.spiffe_id: record.last_seen for record in agents}
        if gone := await self._store.write(work):
            self._log.info("forgot the streams of silent agents", agents=gone)

    async def end_approvals(self) -> None:
        """Those that nobody has decided in time."""
        await expire(self._store, self._events)

    async def prune(self) -> None:
        def work(uow: UnitOfWork) -> tuple[int, int]:
            forget_expired(uow)
            uow.revocations.purge(uow.now - REVOCATIONS_KEPT)
            uow.idempotency.purge(uow.now - IDEMPOTENCY_KEPT)
            uow.past_entries.purge(uow.now - PAST_ENTRIES_KEPT)
            uow.admin_sessions.purge(uow.now)
            uow.api_tokens.purge(uow.now - TOKENS_KEPT)
            uow.agent_events.purge(uow.now - RUNS_KEPT)
            return uow.changes.prune(uow.now - CHANGES_KEPT), uow.tokens.purge(uow.now - TOKENS_KEPT)

        changes, tokens = await self._store.write(work)
        if changes or tokens:
            self._log.info("pruned", changes=changes, tokens=tokens)
