"""Signing for agents: calls become batches, and one transaction makes a whole batch durable before the key signs.

The walk of a batch: who may have what (authorised state) -> built -> intents and audit events in one transaction ->
signatures -> what came of them in a second transaction -> answers. Each item has its own answer; a failure of the store
fails the batch as unavailable, with nothing handed out.

Certificates (certificates.py) and tokens (jwt/signing.py) differ in their Craft alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from attestation.entry import RegistrationEntry
from ca.errors import AuthorityUnavailable, CaError
from sds.audit.event import Actor
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
from sds.server.events import agent_actor
from sds.server.fair_queue import FairQueue
from sds.server.identity import AgentCaller
from sds.server.issuing.batch import Batch
from sds.server.stages import Passing, Stage, unwatched
from sds.server.transactions import Transactions
from sds.store.errors import StoreError
from sds.store.records import ProcessRecord
from sds.store.unit_of_work import UnitOfWork

_BATCHES = 3
"""Under way at once: while one is prepared another is stored and a third is signed."""


class Job(Protocol):
    """One item of a call. `process` is what the agent says of the workload: recorded, never trusted."""

    @property
    def caller(self) -> AgentCaller: ...

    @property
    def entry_id(self) -> str: ...

    @property
    def process(self) -> ProcessRecord: ...


class Intent(Protocol):
    """What is meant to be signed."""

    @property
    def authority_id(self) -> str: ...


JobT = TypeVar("JobT", bound=Job)
IntentT = TypeVar("IntentT", bound=Intent)
SignedT = TypeVar("SignedT")


@dataclass(frozen=True, slots=True)
class Signed(Generic[SignedT]):
    entry: RegistrationEntry
    issued: SignedT


Answer = Signed[SignedT] | NotSigned


@dataclass(frozen=True, slots=True)
class Meant(Generic[JobT, IntentT]):
    """A job, the entry that allows it and what came of the two."""

    job: JobT
    entry: RegistrationEntry
    intent: IntentT

    @property
    def actor(self) -> Actor:
        return agent_actor(self.job.caller.agent_id, self.job.caller.address)


class Craft(ABC, Generic[JobT, IntentT, SignedT]):
    """What is done differently for certificates and for tokens."""

    profile: str
    """What metrics call it (sds.metrics.kinds.PROFILES)."""
    store_down: str
    """What agents are told when the database cannot be written."""
    recorded: bool
    """Whether what was signed is recorded, too; what failed always is."""

    @abstractmethod
    async def prepare(self, orders: Sequence[tuple[JobT, RegistrationEntry]], now: datetime) -> Batch[IntentT, SignedT]:
        """Check and build, off the event loop. Raises AuthorityUnavailable."""

    @abstractmethod
    def intend(self, uow: UnitOfWork, meant: Sequence[Meant[JobT, IntentT]]) -> None:
        """Store intents and audit events; at least one. May be run again after a rollback."""

    @abstractmethod
    def record(
        self, uow: UnitOfWork, signed: Sequence[SignedT], failed: Sequence[tuple[Meant[JobT, IntentT], CaError]]
    ) -> None:
        """Store what came of it."""

    def key_hash(self, intent: IntentT) -> str:
        """Of the key that it is for; empty where there is none."""
        del intent
        return ""


class SigningObserver(Protocol):
    def signed(self, profile: str, batch: int, issued: int, refused: int, failed: int, seconds: float) -> None: ...


@dataclass(slots=True)
class _Item(Generic[JobT, IntentT, SignedT]):
    """A job on its way: `answer` is None until it is decided."""

    job: JobT
    entry: RegistrationEntry | None
    place: int = -1  # in the batch
    meant: Meant[JobT, IntentT] | None = None
    answer: Signed[SignedT] | NotSigned | None = None
    failure: CaError | None = None  # of the signature, after the intent was stored


class BatchSigner(Generic[JobT, IntentT, SignedT]):
    """Signs for all callers of this process."""

    def __init__(
        self,
        craft: Craft[JobT, IntentT, SignedT],
        store: Transactions,
        state: AuthorizedState,
        clock: Clock,
        observer: SigningObserver,
        *,
        max_batch: int,
        max_waiting: int,
        max_of_one_agent: int,
        passing: Passing = unwatched,
    ) -> None:
        self._craft = craft
        self._store = store
        self._state = state
        self._clock = clock
        self._observer = observer
        self._passing = passing
        self._queue: FairQueue[JobT, Signed[SignedT] | NotSigned] = FairQueue(
            self._sign,
            max_batch=max_batch,
            max_waiting=max_waiting,
            max_of_one_agent=max_of_one_agent,
            workers=_BATCHES,
        )
        self._log = get_logger(__name__)

    async def sign(self, jobs: Sequence[JobT]) -> Sequence[Signed[SignedT] | NotSigned]:
        """One answer for each job, in order; all are of one agent. Raises nothing but what is a bug."""
        return await self._queue.submit(jobs[0].caller.agent_id, jobs) if jobs else ()

    async def close(self) -> None:
        """Finish what is under way; later calls are answered as overloaded."""
        await self._queue.close()

    async def _sign(self, jobs: Sequence[JobT]) -> Sequence[Signed[SignedT] | NotSigned]:
        started = self._clock.monotonic()
        now = self._clock.now()
        revision = self._state.revision
        items: list[_Item[JobT, IntentT, SignedT]] = [
            _Item(job, entry_for(self._state, job.caller, job.entry_id, now)) for job in jobs
        ]
        try:
            batch = await self._prepare(items, now)
            if any(item.meant for item in items):
                await self._store.write(lambda uow: self._intend(uow, items, revision))
                self._passing(Stage.INTENDED)
                await self._issue(items, batch)
                self._passing(Stage.SIGNED)
                if self._craft.recorded or any(item.failure for item in items):
                    await self._store.write(lambda uow: self._record(uow, items))
                    self._passing(Stage.RECORDED)
        except (StoreError, AuthorityUnavailable) as error:
            self._log.warning("nothing could be signed", what=self._craft.profile, batch=len(items), reason=str(error))
            why = self._craft.store_down if isinstance(error, StoreError) else str(error)
            for item in items:
                if not isinstance(item.answer, NotSigned):
                    item.answer = NotSigned(SignCode.UNAVAILABLE, why)
        answers = [item.answer or NOT_AUTHORIZED for item in items]
        self._count(answers, self._clock.monotonic() - started)
        return answers

    async def _prepare(self, items: Sequence[_Item[JobT, IntentT, SignedT]], now: datetime) -> Batch[IntentT, SignedT]:
        """Raises AuthorityUnavailable."""
        orders: list[tuple[JobT, RegistrationEntry]] = []
        for item in items:
            if item.entry is not None:
                item.place = len(orders)
                orders.append((item.job, item.entry))
        batch = await self._craft.prepare(orders, now)
        for item in items:
            if item.entry is None:
                item.answer = NOT_AUTHORIZED
                continue
            prepared = batch.intents[item.place]
            if isinstance(prepared, CaError):
                item.answer = refused(prepared)
            elif self._state.blocked.key(self._craft.key_hash(prepared)):
                item.answer = BLOCKED_KEY
            else:
                item.meant = Meant(item.job, item.entry, prepared)
        return batch

    def _intend(self, uow: UnitOfWork, items: Sequence[_Item[JobT, IntentT, SignedT]], revision: int) -> None:
        """In the transaction: check that the authorised state is still true, then record what will be signed.

        May be run again by the store, so it decides anew each time. Raises AuthorityUnavailable.
        """
        ready = [(item, item.meant) for item in items if item.meant is not None]
        for authority_id in {meant.intent.authority_id for _, meant in ready}:
            check_authority(uow, authority_id)
        if uow.changes.since(revision, limit=1).changes:
            recheck = Recheck(uow)
            for item, meant in ready:
                key_hash = self._craft.key_hash(meant.intent)
                item.answer = recheck.refusal(item.job.caller, item.job.entry_id, meant.entry, key_hash)
        left = [meant for item, meant in ready if item.answer is None]
        if left:
            self._craft.intend(uow, left)

    async def _issue(self, items: Sequence[_Item[JobT, IntentT, SignedT]], batch: Batch[IntentT, SignedT]) -> None:
        """The only use of the key. Raises AuthorityUnavailable."""
        ready = [(item, item.meant) for item in items if item.answer is None and item.meant is not None]
        results = await batch.issue([item.place for item, _ in ready])
        for (item, meant), result in zip(ready, results, strict=True):
            if isinstance(result, CaError):
                self._log.error("signing failed", entry_id=item.job.entry_id, reason=str(result))
                item.answer, item.failure = refused(result), result
            else:
                item.answer = Signed(meant.entry, result)

    def _record(self, uow: UnitOfWork, items: Sequence[_Item[JobT, IntentT, SignedT]]) -> None:
        """In the second transaction: what was signed, and what was meant to be and could not."""
        signed = [item.answer.issued for item in items if isinstance(item.answer, Signed)]
        failed = [(item.meant, item.failure) for item in items if item.meant is not None and item.failure is not None]
        self._craft.record(uow, signed, failed)

    def _count(self, answers: Sequence[Signed[SignedT] | NotSigned], seconds: float) -> None:
        issued = sum(isinstance(answer, Signed) for answer in answers)
        failed = sum(isinstance(answer, NotSigned) and answer.code is SignCode.UNAVAILABLE for answer in answers)
        counts = len(answers), issued, len(answers) - issued - failed, failed
        self._observer.signed(self._craft.profile, *counts, seconds)
