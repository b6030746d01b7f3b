"""Keeps the bundles of other trust domains fresh. Every replica polls; what was seen decides who may write.

Level-triggered: which endpoint is due follows from the stored rows, so a restart, a missed tick or another replica's
poll loses nothing and starts no storm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from attestation.spiffe_id import TrustDomain
from ca.bundle import TrustBundle
from sds.audit.event import Actor, Json, Outcome, Target
from sds.clock import Clock
from sds.logs import get_logger
from sds.server.events import Events, system_actor
from sds.server.federation.errors import BundleRefused, PollFailed
from sds.server.federation.judge import Verdict, judge
from sds.server.federation.schedule import PollPolicy, next_poll
from sds.server.transactions import Transactions
from sds.store.errors import Conflict, NotFound, StoreError, StoreUnavailable
from sds.store.federations import BundleSource, FederationRecord, PollState
from sds.store.unit_of_work import UnitOfWork

TICK_SECONDS = 1.0
"""The longest that a change of clock, or of a row by another replica, goes unnoticed."""
CONCURRENCY = 8
MAX_PROBLEM = 300


class Fetcher(Protocol):
    """sds.server.federation.fetch.BundleFetcher."""

    async def fetch(
        self, trust_domain: TrustDomain, source: BundleSource, trusted: TrustBundle | None
    ) -> TrustBundle: ...


class FederationObserver(Protocol):
    """`outcome`: success, unchanged, refused, unauthenticated, unreachable or failure."""

    def federation_polled(self, outcome: str) -> None: ...

    def federation_ages(self, ages: Iterable[tuple[str, float]]) -> None: ...


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf a bundle is fetched."""

    actor: Actor = field(default_factory=system_actor)
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class _Due:
    """When an endpoint is due, and the row that this follows from."""

    state: PollState
    at: datetime


class Poller:
    """`run` beside the listeners; `poll` on request."""

    def __init__(
        self,
        store: Transactions,
        fetcher: Fetcher,
        own_bundle: Callable[[], TrustBundle],
        events: Events,
        clock: Clock,
        policy: PollPolicy,
        observer: FederationObserver,
    ) -> None:
        self._store = store
        self._fetcher = fetcher
        self._own_bundle = own_bundle
        self._events = events
        self._clock = clock
        self._policy = policy
        self._observer = observer
        self._due: dict[TrustDomain, _Due] = {}
        self._failures: dict[TrustDomain, int] = {}
        self._tried: dict[TrustDomain, tuple[BundleSource, datetime]] = {}
        self._polling: dict[TrustDomain, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(CONCURRENCY)
        self._wake = asyncio.Event()
        self._log = get_logger(__name__)

    def wake(self) -> None:
        """A source has changed: look at once."""
        self._wake.set()

    async def run(self) -> None:
        """Poll what is due, until cancelled."""
        try:
            while True:
                self._wake.clear()
                with suppress(StoreUnavailable):  # told by others; the next tick tries again
                    await self.tick()
                with suppress(TimeoutError):
                    async with asyncio.timeout(TICK_SECONDS):
                        await self._wake.wait()
        finally:
            for task in self._polling.values():
                task.cancel()
            await asyncio.gather(*self._polling.values(), return_exceptions=True)

    async def tick(self) -> None:
        """Begin the polls that are due. Raises StoreError."""
        states = await self._store.read(lambda uow: uow.federations.polls())
        now = self._clock.now()
        self._forget(states)
        for state in states:
            if self._due_at(state, now) <= now:
                self._begin(state.trust_domain, Caller())
        since = ((state.trust_domain.name, state.fetched_at or state.created_at) for state in states)
        self._observer.federation_ages((name, max(0.0, (now - then).total_seconds())) for name, then in since)

    async def poll(self, trust_domain: TrustDomain, caller: Caller) -> FederationRecord:
        """Ask now, or join in where that is under way; what stands afterwards. Raises NotFound, StoreError."""
        await asyncio.shield(self._begin(trust_domain, caller))
        return await self._store.read(lambda uow: uow.federations.get(trust_domain))

    async def idle(self) -> None:
        """Wait for the polls that are under way."""
        await asyncio.gather(*self._polling.values(), return_exceptions=True)

    def _due_at(self, state: PollState, now: datetime) -> datetime:
        """Worked out once for each state of the row, so that jitter is drawn once."""
        due = self._due.get(state.trust_domain)
        if due is None or due.state != state:
            failures = max(self._failures.get(state.trust_domain, 0), 1 if state.problem else 0)
            jitter = self._clock.jitter()
            at = next_poll(self._tried_at(state), state.refresh_hint, failures, now, jitter, self._policy)
            due = self._due[state.trust_domain] = _Due(state, at)
        return due.at

    def _tried_at(self, state: PollState) -> datetime | None:
        """As the row has it, or as we know it where that could not be written."""
        source, when = self._tried.get(state.trust_domain, (None, None))
        if source != state.source or when is None:
            return state.tried_at
        return when if state.tried_at is None else max(when, state.tried_at)

    def _forget(self, states: Iterable[PollState]) -> None:
        there = {state.trust_domain for state in states}
        for table in (self._due, self._failures, self._tried):
            for gone in table.keys() - there:
                del table[gone]

    def _begin(self, trust_domain: TrustDomain, caller: Caller) -> asyncio.Task[None]:
        task = self._polling.get(trust_domain)
        if task is None:
            task = asyncio.create_task(self._poll(trust_domain, caller), name=f"poll of {trust_domain}")
            self._polling[trust_domain] = task
            task.add_done_callback(lambda done: self._ended(trust_domain, done))
        return task

    def _ended(self, trust_domain: TrustDomain, task: asyncio.Task[None]) -> None:
        del self._polling[trust_domain]
        self._due.pop(trust_domain, None)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, NotFound):
            self._observer.federation_polled("failure")
            self._log.error("a bundle could not be polled", trust_domain=str(trust_domain), exc_info=error)

    async def _poll(self, trust_domain: TrustDomain, caller: Caller) -> None:
        """One poll, and what became of it in the store. Raises NotFound, StoreError."""
        async with self._slots:
            record, trusted = await self._store.read(lambda uow: self._what_to_ask(uow, trust_domain))
            self._tried[trust_domain] = (record.source, self._clock.now())
            try:
                answered = await self._fetcher.fetch(trust_domain, record.source, trusted)
                verdict = judge(record.bundle, answered)
                self._check(record, answered, verdict)
            except PollFailed as failure:
                await self._failed(record, failure, caller)
                return
            outcome = await self._take(record, answered, verdict, caller)
        self._failures.pop(trust_domain, None)
        self._observer.federation_polled(outcome)
        self._log.info(
            "asked a bundle endpoint",
            trust_domain=str(trust_domain),
            endpoint=record.source.endpoint_url,
            profile=str(record.source.profile),
            sequence=answered.sequence,
            verdict=str(verdict),
        )

    def _what_to_ask(self, uow: UnitOfWork, trust_domain: TrustDomain) -> tuple[FederationRecord, TrustBundle | None]:
        """The record, and the latest bundle of its endpoint's own trust domain (Federation 5.2.2.4)."""
        record = uow.federations.get(trust_domain)
        endpoint_id = record.source.endpoint_id
        if endpoint_id is None:
            return record, None
        own = self._own_bundle()
        if endpoint_id.trust_domain == own.trust_domain:
            return record, own
        if endpoint_id.trust_domain == trust_domain:
            return record, record.bundle
        other = uow.federations.find(endpoint_id.trust_domain)
        return record, None if other is None else other.bundle

    def _check(self, record: FederationRecord, answered: TrustBundle, verdict: Verdict) -> None:
        if verdict is Verdict.OLDER:
            held = record.bundle.sequence if record.bundle else 0
            raise BundleRefused(f"the endpoint answered with sequence {answered.sequence}, older than {held}, the last")
        if verdict is Verdict.SAME_SEQUENCE:
            self._log.warning(
                "a trust domain has changed its bundle without counting up its sequence",
                trust_domain=str(record.trust_domain),
                sequence=answered.sequence,
            )
        if verdict.taken and not answered.x509_authorities:
            self._log.warning(
                "a trust domain publishes no authorities: none of its certificates is trusted any more",
                trust_domain=str(record.trust_domain),
            )

    async def _take(self, record: FederationRecord, answered: TrustBundle, verdict: Verdict, caller: Caller) -> str:
        """Store it, unless another replica was quicker. The outcome, for metrics."""

        def work(uow: UnitOfWork) -> None:
            uow.federations.compare_and_swap(record, answered)
            uow.audit.append(
                self._events.make(
                    uow.now,
                    "federation.bundle",
                    caller.actor,
                    Target("trust_domain", record.trust_domain.name),
                    request_id=caller.request_id,
                    details=bundle_details(record.bundle, answered),
                )
            )

        if not verdict.taken:
            await self._store.write(lambda uow: uow.federations.note_poll(record.trust_domain, record.source))
            return "unchanged"
        try:
            await self._store.write(work)
        except (Conflict, NotFound):
            return "unchanged"
        return "success"

    async def _failed(self, record: FederationRecord, failure: PollFailed, caller: Caller) -> None:
        """The last good bundle stays. A refusal is a decision, so its first time is audited."""
        problem = str(failure)[:MAX_PROBLEM]
        self._failures[record.trust_domain] = self._failures.get(record.trust_domain, 0) + 1
        self._observer.federation_polled(failure.outcome)
        self._log.warning(
            "a bundle endpoint gave no bundle; the last good one stays",
            trust_domain=str(record.trust_domain),
            endpoint=record.source.endpoint_url,
            outcome=failure.outcome,
            reason=problem,
        )

        def work(uow: UnitOfWork) -> None:
            uow.federations.note_poll(record.trust_domain, record.source, problem)
            if failure.outcome in {"refused", "unauthenticated"} and problem != record.problem:
                uow.audit.append(
                    self._events.make(
                        uow.now,
                        "federation.bundle",
                        caller.actor,
                        Target("trust_domain", record.trust_domain.name),
                        outcome=Outcome.REFUSED,
                        reason=problem,
                        request_id=caller.request_id,
                        details={"endpoint_url": record.source.endpoint_url},
                    )
                )

        with suppress(StoreError):  # the next poll notes it
            await self._store.write(work)


def bundle_details(before: TrustBundle | None, after: TrustBundle) -> dict[str, Json]:
    """What a change of bundle was, for the audit log."""
    return {
        "sequence": after.sequence,
        "former_sequence": None if before is None else before.sequence,
        "x509_authorities": len(after.x509_authorities),
        "jwt_keys": len(after.jwt_keys),
        "digest": after.digest,
    }
