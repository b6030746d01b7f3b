"""SignJwtSvids: concurrent calls become batches; one transaction audits a whole batch before the key signs.

The walk of a batch is that of certificates (sds.server.signing) but for its end: a token leaves no record beside its
audit event, so there is a second transaction only where the key failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from attestation.entry import RegistrationEntry
from ca.errors import AuthorityUnavailable, CaError, IssuanceRefused
from ca.jwt_svid import IssuedJwtSvid, JwtIssuer, JwtRequest, JwtSigningAuthority, PreparedJwt, check_audience
from sds.clock import Clock
from sds.logs import get_logger
from sds.server.authorized import (
    NOT_AUTHORIZED,
    AuthorizedState,
    NotSigned,
    Recheck,
    SignCode,
    check_authority,
    entry_for,
    refused,
)
from sds.server.events import Events, agent_actor
from sds.server.fair_queue import FairQueue
from sds.server.identity import AgentCaller
from sds.server.jwt.events import token_issue, token_unsigned
from sds.server.stages import Passing, Stage, unwatched
from sds.server.transactions import Transactions
from sds.store.errors import StoreError
from sds.store.records import ProcessRecord
from sds.store.unit_of_work import UnitOfWork

T = TypeVar("T")

STORE_DOWN = "the token could not be audited, so none was issued; try again later"


@dataclass(frozen=True, slots=True)
class JwtJob:
    """One item of a call. `process` is what the agent says of the workload: recorded, never trusted."""

    caller: AgentCaller
    entry_id: str
    unverified_audience: tuple[str, ...]
    process: ProcessRecord


@dataclass(frozen=True, slots=True)
class JwtSigned:
    entry: RegistrationEntry
    issued: IssuedJwtSvid


JwtAnswer = JwtSigned | NotSigned


class JwtAuthorities(Protocol):
    """Who signs tokens now."""

    def signing_jwt(self) -> JwtSigningAuthority:
        """Raises AuthorityUnavailable."""
        ...


class JwtSigningObserver(Protocol):
    def signed_jwt(self, batch: int, issued: int, refused: int, failed: int, seconds: float) -> None: ...


@dataclass(slots=True)
class _Item:
    """A job on its way: `answer` is None until it is decided."""

    job: JwtJob
    entry: RegistrationEntry | None
    prepared: PreparedJwt | None = None
    answer: JwtAnswer | None = None


class JwtBatchSigner:
    """Signs for all agents of this process. `executor` runs what would hold up the event loop."""

    def __init__(
        self,
        store: Transactions,
        state: AuthorizedState,
        issuer: JwtIssuer,
        authorities: JwtAuthorities,
        events: Events,
        clock: Clock,
        executor: Executor,
        observer: JwtSigningObserver,
        *,
        max_batch: int,
        max_waiting: int,
        max_of_one_agent: int,
        passing: Passing = unwatched,
    ) -> None:
        self._passing = passing
        self._store = store
        self._state = state
        self._issuer = issuer
        self._authorities = authorities
        self._events = events
        self._clock = clock
        self._executor = executor
        self._observer = observer
        self._queue: FairQueue[JwtJob, JwtAnswer] = FairQueue(
            self._sign, max_batch=max_batch, max_waiting=max_waiting, max_of_one_agent=max_of_one_agent
        )
        self._log = get_logger(__name__)

    async def sign(self, jobs: Sequence[JwtJob]) -> Sequence[JwtAnswer]:
        """One answer for each job, in order; all are of one agent. Raises nothing but what is a bug."""
        return await self._queue.submit(jobs[0].caller.agent_id, jobs) if jobs else ()

    async def close(self) -> None:
        """Finish what is under way; later calls are answered as overloaded."""
        await self._queue.close()

    async def _sign(self, jobs: Sequence[JwtJob]) -> Sequence[JwtAnswer]:
        started = self._clock.monotonic()
        now = self._clock.now()
        revision = self._state.revision
        items = [_Item(job, entry_for(self._state, job.caller, job.entry_id, now)) for job in jobs]
        try:
            await self._in_thread(lambda: self._prepare(items, now))
            if any(item.prepared for item in items):
                await self._store.write(lambda uow: self._intend(uow, items, revision))
                self._passing(Stage.INTENDED)
                failures = await self._in_thread(lambda: self._issue(items))
                self._passing(Stage.SIGNED)
                if failures:
                    await self._store.write(lambda uow: self._record(uow, failures))
        except (StoreError, AuthorityUnavailable) as error:
            self._log.warning("no token could be signed", batch=len(items), reason=str(error))
            failure = NotSigned(SignCode.UNAVAILABLE, STORE_DOWN if isinstance(error, StoreError) else str(error))
            for item in items:
                if not isinstance(item.answer, NotSigned):
                    item.answer = failure
        answers = [item.answer or NOT_AUTHORIZED for item in items]
        self._count(answers, self._clock.monotonic() - started)
        return answers

    def _prepare(self, items: Sequence[_Item], now: datetime) -> None:
        """Off the loop: judge the audiences and build the tokens. Raises AuthorityUnavailable."""
        authority = self._authorities.signing_jwt()
        chosen: list[_Item] = []
        requests: list[JwtRequest] = []
        for item in items:
            if item.entry is None:
                item.answer = NOT_AUTHORIZED
                continue
            spec = item.entry.spec
            try:
                audience = check_audience(item.job.unverified_audience)
            except IssuanceRefused as refusal:
                item.answer = refused(refusal)
                continue
            requests.append(JwtRequest(spec.spiffe_id, audience, spec.jwt_svid_ttl))
            chosen.append(item)
        for item, result in zip(chosen, self._issuer.prepare(requests, authority, now), strict=True):
            if isinstance(result, PreparedJwt):
                item.prepared = result
            else:
                item.answer = refused(result)

    def _intend(self, uow: UnitOfWork, items: Sequence[_Item], revision: int) -> None:
        """In the transaction: check that the authorised state is still true, then audit what will be signed.

        May be run again by the store, so it decides anew each time. Raises AuthorityUnavailable.
        """
        ready = [item for item in items if item.prepared is not None]
        for authority_id in {item.prepared.intent.authority_id for item in ready if item.prepared is not None}:
            check_authority(uow, authority_id)
        if uow.changes.since(revision, limit=1).changes:
            recheck = Recheck(uow)
            for item in ready:
                item.answer = recheck.refusal(item.job.caller, item.job.entry_id, item.entry)
        uow.audit.append_all(
            [
                token_issue(
                    self._events,
                    uow.now,
                    item.prepared.intent,
                    agent_actor(item.job.caller.agent_id, item.job.caller.address),
                    item.job.caller.request_id,
                    entry=(item.entry.id, item.entry.revision),
                    process=item.job.process,
                )
                for item in ready
                if item.answer is None and item.prepared is not None and item.entry is not None
            ]
        )

    def _issue(self, items: Sequence[_Item]) -> list[tuple[_Item, CaError]]:
        """Off the loop: the only use of the key. Returns what failed."""
        ready = [item for item in items if item.answer is None and item.prepared is not None]
        results = self._issuer.issue([item.prepared for item in ready if item.prepared is not None])
        failures: list[tuple[_Item, CaError]] = []
        for item, result in zip(ready, results, strict=True):
            if isinstance(result, IssuedJwtSvid) and item.entry is not None:
                item.answer = JwtSigned(item.entry, result)
            elif isinstance(result, CaError):
                self._log.error("signing a token failed", entry_id=item.job.entry_id, reason=str(result))
                item.answer = refused(result)
                failures.append((item, result))
        return failures

    def _record(self, uow: UnitOfWork, failures: Sequence[tuple[_Item, CaError]]) -> None:
        """In a second transaction: what was meant to be signed and could not."""
        for item, error in failures:
            if item.prepared is not None:
                caller, intent = item.job.caller, item.prepared.intent
                actor = agent_actor(caller.agent_id, caller.address)
                uow.audit.append(
                    token_unsigned(self._events, uow.now, intent, actor, caller.request_id, reason=str(error))
                )

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def _count(self, answers: Sequence[JwtAnswer], seconds: float) -> None:
        issued = sum(isinstance(answer, JwtSigned) for answer in answers)
        failed = sum(isinstance(answer, NotSigned) and answer.code is SignCode.UNAVAILABLE for answer in answers)
        self._observer.signed_jwt(len(answers), issued, len(answers) - issued - failed, failed, seconds)
