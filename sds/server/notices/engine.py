"""Looks, keeps on record, sends. One replica at a time: who has the turn takes it again before each step."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from sds.audit.event import Outcome, Target
from sds.backoff import Backoff
from sds.clock import Clock
from sds.logs import get_logger
from sds.metrics.notices import NoticeMetrics
from sds.notices.message import compose
from sds.notices.notice import Channel, channel_of
from sds.notices.plan import Delivery, Digest, Mode, Reconciled, delivered, deliveries, failed, reconcile
from sds.notices.recipients import Recipients
from sds.notices.rules import Policy, findings
from sds.rotation.scheduler import Scheduler
from sds.server.events import Events, system_actor
from sds.server.notices.look import read_facts
from sds.server.notices.outgoing import Outgoing, Sender, SendFailed, message_id
from sds.server.notices.uses import note_uses
from sds.server.transactions import Transactions
from sds.store.unit_of_work import UnitOfWork

BACKOFF = Backoff(timedelta(minutes=1), timedelta(hours=6))
MOST_IN_CALL = 500
"""Notices in one call of a webhook; the rest come in the next."""
USES_INTERVAL = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class NoticeRules:
    """What is due, to whom, and when it is told."""

    policy: Policy
    recipients: Recipients
    digest: Digest
    pause: timedelta
    interval: timedelta
    settle: timedelta
    attempts: int
    most: int
    keep: timedelta
    enabled: bool
    trust_domain: str
    node: str


@dataclass(frozen=True, slots=True)
class NoticeParts:
    """`holder` names this process among the replicas."""

    store: Transactions
    events: Events
    clock: Clock
    metrics: NoticeMetrics
    senders: Mapping[Channel, Sender]
    new_id: Callable[[], str]
    holder: str


class NoticeEngine:
    """Never in the way of anything: it works in ticks of its own, and what hangs is broken off."""

    def __init__(self, parts: NoticeParts, rules: NoticeRules) -> None:
        self._parts = parts
        self._rules = rules
        self._started = parts.clock.monotonic()
        self._sending: set[asyncio.Task[None]] = set()
        self._closed = self._has_turn = False
        self._log = get_logger(__name__)

    @property
    def recipients(self) -> Recipients:
        return self._rules.recipients

    @property
    def enabled(self) -> bool:
        return self._rules.enabled

    def use(self, make: Callable[[str], NoticeRules]) -> None:
        """Go by other rules from the next look on; `make` is told this node's name. Its pace stays as it was."""
        self._rules = make(self._rules.node)

    def schedule(self, scheduler: Scheduler) -> None:
        """At two paces, so that a slow mail server keeps nobody from looking."""
        scheduler.every("notices", self._rules.interval, self.look)
        scheduler.every("notice-messages", self._rules.interval, self.send)
        scheduler.every("last-uses", min(USES_INTERVAL, 10 * self._rules.interval), self.note_uses)

    async def look(self) -> None:
        """Hold what stands against what is on record. Raises StoreError."""
        if self._parts.clock.monotonic() - self._started < self._rules.settle.total_seconds():
            return
        if not await self._turn():
            self._parts.metrics.of_another()
            return
        facts = await read_facts(self._parts.store)
        now = self._parts.clock.now()
        found = await asyncio.to_thread(lambda: tuple(findings(facts, self._rules.policy, now)))

        def compared(uow: UnitOfWork) -> tuple[Reconciled, Mapping[str, int]]:
            standing, rules = uow.notices.standing(), self._rules
            done = reconcile(standing, found, rules.recipients, uow.now, self._parts.new_id, rules.most)
            return done, {kind.value: number for kind, number in uow.notices.counts().items()}

        def kept(uow: UnitOfWork) -> tuple[Reconciled, Mapping[str, int]]:
            done, _ = compared(uow)
            uow.notices.begin(done.begun)
            uow.notices.change(done.changed)
            return done, {kind.value: number for kind, number in uow.notices.counts().items()}

        done, counts = await self._parts.store.read(compared)
        if done.begun or done.changed:  # most of the time nothing is new, and nobody need wait for a writer
            done, counts = await self._parts.store.write(kept)
        metrics = self._parts.metrics
        metrics.standing(counts)
        metrics.left_out.set(done.left_out)
        metrics.looked.set(self._parts.clock.now().timestamp())
        if done.left_out:
            self._log.warning("more is worth a notice than is kept", left_out=done.left_out, most=self._rules.most)

    async def note_uses(self) -> None:
        """And forget notices that are long over. Raises StoreError."""
        if await self._turn():
            await note_uses(self._parts.store)
            await self._parts.store.write(lambda uow: uow.notices.purge(uow.now - self._rules.keep))

    async def send(self) -> None:
        """Send what is due. A channel that is out of order is tried once, for all its recipients. Raises StoreError."""
        if not self._parts.senders or not await self._turn():
            return
        standing, last = await self._parts.store.read(lambda uow: (uow.notices.standing(), uow.notices.last_sent()))
        rules, now = self._rules, self._parts.clock.now()
        due = deliveries(standing, rules.recipients, last, rules.digest, rules.pause, now, MOST_IN_CALL)
        self._parts.metrics.failing.set(len({one.recipient for one in standing if one.waiting and one.problem}))
        outages: dict[Channel, str] = {}
        for delivery in due:
            channel = channel_of(delivery.recipient)
            if channel not in self._parts.senders:
                continue
            if self._closed or not await self._turn():
                return
            if channel in outages:
                await self._note_failure(delivery, outages[channel], audited=False)
                continue
            try:
                await self._send(delivery)
            except SendFailed as error:
                if error.outage:
                    outages[channel] = str(error)
                await self._note_failure(delivery, str(error), audited=True)
            else:
                await self._note_success(delivery)

    async def test(self, recipient: str) -> None:
        """Send a message that tells of nothing. Raises SendFailed."""
        if channel_of(recipient) not in self._parts.senders:
            raise SendFailed("nothing is configured to send it by")
        await self._send(Delivery(recipient, Mode.TEST, ()))

    async def close(self) -> None:
        """Break off what is being sent, and let another replica go on."""
        self._closed = True
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)

    async def leave(self) -> None:
        """Give the turn back, if it is ours, once nothing looks any more. Raises StoreError."""
        if not self._has_turn:
            return
        self._has_turn = False
        await self._parts.store.write(lambda uow: uow.notices.end_turn(self._parts.holder))

    async def _turn(self) -> bool:
        """Long enough for a look or for one message; who ends in between is followed by another after that."""
        longest = 3 * self._rules.interval + timedelta(minutes=6)
        self._has_turn = await self._parts.store.write(
            lambda uow: uow.notices.take_turn(self._parts.holder, uow.now + longest)
        )
        return self._has_turn

    async def _send(self, delivery: Delivery) -> None:
        """Raises SendFailed, also for one that is broken off because the server stops."""
        now = self._parts.clock.now()
        rules = self._rules
        message = compose(delivery.notices, delivery.mode, now, rules.trust_domain, rules.node)
        test = self._parts.new_id() if delivery.mode is Mode.TEST else ""
        outgoing = Outgoing(
            id=test or message_id(delivery.recipient, delivery.mode, delivery.notices),
            recipient=delivery.recipient,
            mode=delivery.mode,
            now=now,
            notices=delivery.notices,
            message=message,
        )
        task = asyncio.ensure_future(self._parts.senders[channel_of(delivery.recipient)].send(outgoing))
        self._sending.add(task)
        try:
            await task
        except asyncio.CancelledError:
            task.cancel()
            if not self._closed:
                raise
            raise SendFailed("the server is being stopped", outage=True) from None
        except SendFailed:
            raise
        except Exception as error:  # noqa: BLE001 - a message that cannot be made must not hold up the others
            self._log.exception("a message with notices failed unexpectedly", recipient=delivery.recipient)
            raise SendFailed(f"unexpected: {type(error).__name__}") from None
        finally:
            self._sending.discard(task)

    async def _note_success(self, delivery: Delivery) -> None:
        sent = {one.id: one for one in delivery.notices}

        def work(uow: UnitOfWork) -> None:
            uow.notices.change([delivered(one, sent[one.id], uow.now) for one in uow.notices.some(sent)])
            uow.audit.append(
                self._parts.events.make(
                    uow.now,
                    "notice.send",
                    system_actor(),
                    Target("notice", delivery.recipient),
                    details=_told(delivery),
                )
            )

        await self._parts.store.write(work)
        self._count(delivery, "success")

    async def _note_failure(self, delivery: Delivery, problem: str, *, audited: bool) -> None:
        if self._closed:
            return
        ids = [one.id for one in delivery.notices]
        attempts = max(one.attempts for one in delivery.notices) + 1
        gone = attempts >= self._rules.attempts
        delay = BACKOFF.delay(attempts, self._parts.clock.jitter())

        def work(uow: UnitOfWork) -> None:
            retry = None if gone else uow.now + delay
            uow.notices.change([failed(one, problem, attempts, retry) for one in uow.notices.some(ids)])
            if audited or gone:
                event = self._parts.events.make(
                    uow.now,
                    "notice.fail",
                    system_actor(),
                    Target("notice", delivery.recipient),
                    outcome=Outcome.FAILURE,
                    reason=problem,
                    details={**_told(delivery), "attempt": attempts, "given_up": gone},
                )
                uow.audit.append(event)

        await self._parts.store.write(work)
        self._count(delivery, "given_up" if gone else "failure")
        self._log.warning(
            "a message with notices could not be sent",
            recipient=delivery.recipient,
            reason=problem,
            attempt=attempts,
            given_up=gone,
        )

    def _count(self, delivery: Delivery, outcome: str) -> None:
        self._parts.metrics.messages.inc(channel_of(delivery.recipient).value, outcome)


def _told(delivery: Delivery) -> dict[str, str | int | tuple[str, ...]]:
    return {
        "mode": delivery.mode.value,
        "notices": len(delivery.notices),
        "kinds": tuple(sorted({one.kind.value for one in delivery.notices})),
    }
