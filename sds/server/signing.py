"""SignX509Svids: concurrent calls become batches, and one transaction makes a whole batch durable before the key signs.

The walk of a batch: who may have what (authorised state) -> CSRs parsed and leaves built -> intents and audit events in
one transaction -> signatures -> records in a second transaction -> answers. Each item has its own answer; a failure of
the store fails the batch as unavailable, with nothing handed out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from attestation.entry import EntrySpec, RegistrationEntry
from ca.errors import AuthorityUnavailable, CaError, CsrRefused
from ca.intent import CertificateIntent, IssuedCertificate
from ca.profile import ProfileName
from sds.clock import Clock
from sds.logs import get_logger
from sds.server.authorized import (
    BLOCKED_KEY,
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
from sds.server.issuance import SigningAuthorities, intent_record
from sds.server.issuing.orders import Batch, Issuing, Order
from sds.server.stages import Passing, Stage, unwatched
from sds.server.transactions import Transactions
from sds.store.errors import StoreError
from sds.store.records import ProcessRecord
from sds.store.unit_of_work import UnitOfWork

T = TypeVar("T")

_BATCHES = 3
"""Under way at once: while one is prepared another is stored and a third is signed."""
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
    place: int = -1  # in the batch
    intent: CertificateIntent | None = None
    answer: Answer | None = None
    failure: CaError | None = None  # of the signature, after the intent was stored


class BatchSigner:
    """Signs for all callers of this process. `issuing` keeps off the event loop what would hold it up."""

    def __init__(
        self,
        store: Transactions,
        state: AuthorizedState,
        issuing: Issuing,
        authorities: SigningAuthorities,
        events: Events,
        clock: Clock,
        observer: SigningObserver,
        *,
        max_batch: int,
        max_waiting: int,
        max_of_one_agent: int,
        passing: Passing = unwatched,
    ) -> None:
        self._passing = passing
        self._store = store
        self._state = state
        self._issuing = issuing
        self._authorities = authorities
        self._events = events
        self._clock = clock
        self._observer = observer
        self._queue: FairQueue[SignJob, Answer] = FairQueue(
            self._sign,
            max_batch=max_batch,
            max_waiting=max_waiting,
            max_of_one_agent=max_of_one_agent,
            workers=_BATCHES,
        )
        self._log = get_logger(__name__)

    async def sign(self, jobs: Sequence[SignJob]) -> Sequence[Answer]:
        """One answer for each job, in order; all are of one agent. Raises nothing but what is a bug."""
        return await self._queue.submit(jobs[0].caller.agent_id, jobs) if jobs else ()

    async def close(self) -> None:
        """Finish what is under way; later calls are answered as overloaded."""
        await self._queue.close()

    async def _sign(self, jobs: Sequence[SignJob]) -> Sequence[Answer]:
        started = self._clock.monotonic()
        now = self._clock.now()
        revision = self._state.revision
        items = [_Item(job, entry_for(self._state, job.caller, job.entry_id, now)) for job in jobs]
        try:
            batch = await self._prepare(items, now)
            if any(item.intent for item in items):
                await self._store.write(lambda uow: self._intend(uow, items, revision))
                self._passing(Stage.INTENDED)
                await self._issue(items, batch)
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

    async def _prepare(self, items: Sequence[_Item], now: datetime) -> Batch:
        """Parse the CSRs and build the leaves. Raises AuthorityUnavailable."""
        orders: list[Order] = []
        for item in items:
            if item.entry is None:
                item.answer = NOT_AUTHORIZED
            elif item.entry.spec.profile in _NOT_FOR_WORKLOADS:  # no entry passes the rules with it; nor would it here
                problem = f"the certificate profile {item.entry.spec.profile} is not for workloads"
                item.answer = NotSigned(SignCode.REFUSED, problem)
            else:
                item.place = len(orders)
                orders.append(_order(item.entry.spec, item.job.unverified_csr))
        batch = await self._issuing.prepare(orders, self._authorities.signing(), now)
        for item in items:
            if item.place >= 0:
                self._judge(item, batch.intents[item.place])
        return batch

    def _judge(self, item: _Item, prepared: CertificateIntent | CaError) -> None:
        """Whether what is prepared may go on to be intended."""
        if isinstance(prepared, CsrRefused):
            item.answer = NotSigned(SignCode.CSR_REFUSED, str(prepared))
        elif isinstance(prepared, CaError):
            item.answer = refused(prepared)
        elif self._state.blocked.key(prepared.key_hash):
            item.answer = BLOCKED_KEY
        else:
            item.intent = prepared

    def _intend(self, uow: UnitOfWork, items: Sequence[_Item], revision: int) -> None:
        """In the transaction: check that the authorised state is still true, then record what will be signed.

        May be run again by the store, so it decides anew each time. Raises AuthorityUnavailable.
        """
        ready = [(item, item.intent) for item in items if item.intent is not None]
        for authority_id in {intent.authority_id for _, intent in ready}:
            check_authority(uow, authority_id)
        if uow.changes.since(revision, limit=1).changes:
            recheck = Recheck(uow)
            for item, intent in ready:
                item.answer = recheck.refusal(item.job.caller, item.job.entry_id, item.entry, intent.key_hash)
        records, events = [], []
        for item, intent in ready:
            if item.answer is not None or item.entry is None:
                continue
            caller, entry, process = item.job.caller, (item.entry.id, item.entry.revision), item.job.process
            records.append(intent_record(intent, uow.now, entry=entry, agent_id=caller.agent_id, process=process))
            actor = agent_actor(caller.agent_id, caller.address)
            events.append(
                self._events.certificate(uow.now, intent, actor, caller.request_id, entry=entry, process=process)
            )
        if not records:  # the recheck has left nothing
            return
        uow.certificates.add_intents(records)
        uow.audit.append_all(events)

    async def _issue(self, items: Sequence[_Item], batch: Batch) -> None:
        """The only use of the key. Raises AuthorityUnavailable."""
        ready = [item for item in items if item.answer is None and item.intent is not None]
        results = await batch.issue([item.place for item in ready])
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
            if item.failure is not None and item.intent is not None:
                caller = item.job.caller
                actor = agent_actor(caller.agent_id, caller.address)
                uow.audit.append(
                    self._events.unsigned(uow.now, item.intent, actor, caller.request_id, reason=str(item.failure))
                )

    def _count(self, answers: Sequence[Answer], seconds: float) -> None:
        issued = sum(isinstance(answer, Signed) for answer in answers)
        failed = sum(isinstance(answer, NotSigned) and answer.code is SignCode.UNAVAILABLE for answer in answers)
        self._observer.signed(len(answers), issued, len(answers) - issued - failed, failed, seconds)


def _order(spec: EntrySpec, unverified_csr: bytes) -> Order:
    return Order(
        unverified_csr,
        spec.profile or ProfileName.WORKLOAD,
        spec.spiffe_id,
        spec.dns_names,
        spec.x509_svid_ttl,
        spec.extra_sans,
        spec.subject,
    )
