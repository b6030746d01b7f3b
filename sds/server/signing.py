"""SignX509Svids: concurrent calls become batches, and one transaction makes a whole batch durable before the key signs.

The walk of a batch: who may have what (authorised state) -> CSRs parsed and leaves built -> intents and audit events in
one transaction -> signatures -> records in a second transaction -> answers. Each item has its own answer; a failure of
the store fails the batch as unavailable, with nothing handed out.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from attestation.entry import RegistrationEntry
from ca.csr import parse_csr
from ca.errors import AuthorityUnavailable, CaError, CsrRefused, IssuanceRefused
from ca.intent import IssuedCertificate, IssueRequest
from ca.issuer import Issuer, Prepared
from ca.profile import ProfileName
from sds.clock import Clock
from sds.logs import get_logger
from sds.net.limits import Caps
from sds.server.authorized import (
    BLOCKED_KEY,
    NOT_AUTHORIZED,
    OVERLOADED,
    TOO_MANY_OF_ONE,
    AuthorizedState,
    NotSigned,
    Recheck,
    SignCode,
    check_authority,
    entry_for,
    refused,
)
from sds.server.coalescer import Coalescer, Overloaded
from sds.server.events import Events, agent_actor
from sds.server.identity import AgentCaller
from sds.server.issuance import SigningAuthorities, intent_record
from sds.server.stages import Passing, Stage, unwatched
from sds.server.transactions import Transactions
from sds.store.errors import StoreError
from sds.store.records import ProcessRecord
from sds.store.unit_of_work import UnitOfWork

T = TypeVar("T")

_NOT_FOR_WORKLOADS = frozenset({ProfileName.AGENT, ProfileName.SERVER})


@dataclass(frozen=True, slots=True)
class SignJob:
    """One item of a call. `process` is what the agent says of the workload: recorded, never trusted."""

    caller: AgentCaller
    entry_id: str
    unverified_csr: bytes
    process: ProcessRecord


@dataclass(frozen=True, slots=True)
class Signed:
    entry: RegistrationEntry
    issued: IssuedCertificate


Answer = Signed | NotSigned

STORE_DOWN = "the certificate could not be recorded, so none was issued; try again later"


class SigningObserver(Protocol):
    def signed(self, batch: int, issued: int, refused: int, failed: int, seconds: float) -> None: ...


@dataclass(slots=True)
class _Item:
    """A job on its way: `answer` is None until it is decided."""

    job: SignJob
    entry: RegistrationEntry | None
    prepared: Prepared | None = None
    answer: Answer | None = None
    failure: CaError | None = None  # of the signature, after the intent was stored


class BatchSigner:
    """Signs for all callers of this process. `executor` runs what would hold up the event loop."""

    def __init__(
        self,
        store: Transactions,
        state: AuthorizedState,
        issuer: Issuer,
        authorities: SigningAuthorities,
        events: Events,
        clock: Clock,
        executor: Executor,
        observer: SigningObserver,
        *,
        max_batch: int,
        max_waiting: int,
        max_of_one_agent: int,
        max_csr_bytes: int,
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
        self._max_csr_bytes = max_csr_bytes
        self._queue: Coalescer[SignJob, Answer] = Coalescer(self._sign, max_batch=max_batch, max_waiting=max_waiting)
        # The queue has the limit for all together; what the workers have taken still counts for its agent.
        self._shares = Caps(sys.maxsize, max_of_one_agent)
        self._log = get_logger(__name__)

    async def sign(self, jobs: Sequence[SignJob]) -> Sequence[Answer]:
        """One answer for each job, in order; all are of one agent. Raises nothing but what is a bug."""
        if not jobs:
            return ()
        agent_id = jobs[0].caller.agent_id
        if self._shares.acquire(agent_id, len(jobs)) is not None:
            return [TOO_MANY_OF_ONE] * len(jobs)
        try:
            return await self._queue.submit(jobs)
        except Overloaded:
            return [OVERLOADED] * len(jobs)
        finally:
            self._shares.release(agent_id, len(jobs))

    async def close(self) -> None:
        """Finish what is under way; later calls are answered as overloaded."""
        await self._queue.close()

    async def _sign(self, jobs: Sequence[SignJob]) -> Sequence[Answer]:
        started = self._clock.monotonic()
        now = self._clock.now()
        revision = self._state.revision
        items = [_Item(job, entry_for(self._state, job.caller, job.entry_id, now)) for job in jobs]
        try:
            await self._in_thread(lambda: self._prepare(items, now))
            if any(item.prepared for item in items):
                await self._store.write(lambda uow: self._intend(uow, items, revision))
                self._passing(Stage.INTENDED)
                await self._in_thread(lambda: self._issue(items))
                self._passing(Stage.SIGNED)
                await self._store.write(lambda uow: self._record(uow, items))
                self._passing(Stage.RECORDED)
        except (StoreError, AuthorityUnavailable) as error:
            self._log.warning("nothing could be signed", batch=len(items), reason=str(error))
            failure = NotSigned(SignCode.UNAVAILABLE, STORE_DOWN if isinstance(error, StoreError) else str(error))
            for item in items:
                if not isinstance(item.answer, NotSigned):
                    item.answer = failure
        answers = [item.answer or NOT_AUTHORIZED for item in items]
        self._count(answers, self._clock.monotonic() - started)
        return answers

    def _prepare(self, items: Sequence[_Item], now: datetime) -> None:
        """Off the loop: parse the CSRs and build the leaves. Raises AuthorityUnavailable."""
        authority = self._authorities.signing()
        chosen: list[_Item] = []
        requests: list[IssueRequest] = []
        for item in items:
            if item.entry is None:
                item.answer = NOT_AUTHORIZED
                continue
            try:
                requests.append(self._request(item.entry, item.job.unverified_csr))
            except CsrRefused as refusal:
                item.answer = NotSigned(SignCode.CSR_REFUSED, str(refusal))
                continue
            except IssuanceRefused as refusal:
                item.answer = refused(refusal)
                continue
            chosen.append(item)
        for item, result in zip(chosen, self._issuer.prepare(requests, authority, now), strict=True):
            if isinstance(result, Prepared):
                item.prepared = result
            else:
                item.answer = refused(result)

    def _request(self, entry: RegistrationEntry, unverified_csr: bytes) -> IssueRequest:
        if len(unverified_csr) > self._max_csr_bytes:
            raise CsrRefused(f"CSR has {len(unverified_csr)} bytes; at most {self._max_csr_bytes} are allowed")
        spec = entry.spec
        if spec.profile in _NOT_FOR_WORKLOADS:  # no entry passes the rules with it; nor would it here
            raise IssuanceRefused(f"the certificate profile {spec.profile} is not for workloads")
        csr = parse_csr(unverified_csr)
        if self._state.blocked.key(csr.key_hash):
            raise CsrRefused(BLOCKED_KEY.message)
        return IssueRequest(
            spec.profile or ProfileName.WORKLOAD,
            spec.spiffe_id,
            csr,
            spec.dns_names,
            spec.x509_svid_ttl,
            spec.extra_sans,
            spec.subject,
        )

    def _intend(self, uow: UnitOfWork, items: Sequence[_Item], revision: int) -> None:
        """In the transaction: check that the authorised state is still true, then record what will be signed.

        May be run again by the store, so it decides anew each time. Raises AuthorityUnavailable.
        """
        ready = [item for item in items if item.prepared is not None]
        for authority_id in {item.prepared.intent.authority_id for item in items if item.prepared is not None}:
            check_authority(uow, authority_id)
        if uow.changes.since(revision, limit=1).changes:
            recheck = Recheck(uow)
            for item in ready:
                key_hash = item.prepared.intent.key_hash if item.prepared is not None else ""
                item.answer = recheck.refusal(item.job.caller, item.job.entry_id, item.entry, key_hash)
        records, events = [], []
        for item in ready:
            if item.answer is not None or item.prepared is None or item.entry is None:
                continue
            intent, caller, entry = item.prepared.intent, item.job.caller, (item.entry.id, item.entry.revision)
            process = item.job.process
            records.append(intent_record(intent, uow.now, entry=entry, agent_id=caller.agent_id, process=process))
            actor = agent_actor(caller.agent_id, caller.address)
            events.append(
                self._events.certificate(uow.now, intent, actor, caller.request_id, entry=entry, process=process)
            )
        if not records:  # the recheck has left nothing
            return
        uow.certificates.add_intents(records)
        uow.audit.append_all(events)

    def _issue(self, items: Sequence[_Item]) -> None:
        """Off the loop: the only use of the key."""
        ready = [item for item in items if item.answer is None and item.prepared is not None]
        results = self._issuer.issue([item.prepared for item in ready if item.prepared is not None])
        for item, result in zip(ready, results, strict=True):
            if isinstance(result, IssuedCertificate) and item.entry is not None:
                item.answer = Signed(item.entry, result)
            elif isinstance(result, CaError):
                self._log.error("signing failed", entry_id=item.job.entry_id, reason=str(result))
                item.answer, item.failure = refused(result), result

    def _record(self, uow: UnitOfWork, items: Sequence[_Item]) -> None:
        """In the second transaction: what was signed, and what was meant to be and could not."""
        signed = [item.answer.issued for item in items if isinstance(item.answer, Signed)]
        uow.certificates.mark_issued([(issued.intent.serial, issued.der) for issued in signed])
        for item in items:
            if item.failure is not None and item.prepared is not None:
                caller, intent = item.job.caller, item.prepared.intent
                actor = agent_actor(caller.agent_id, caller.address)
                uow.audit.append(
                    self._events.unsigned(uow.now, intent, actor, caller.request_id, reason=str(item.failure))
                )

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def _count(self, answers: Sequence[Answer], seconds: float) -> None:
        issued = sum(isinstance(answer, Signed) for answer in answers)
        failed = sum(isinstance(answer, NotSigned) and answer.code is SignCode.UNAVAILABLE for answer in answers)
        self._observer.signed(len(answers), issued, len(answers) - issued - failed, failed, seconds)
