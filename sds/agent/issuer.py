"""Gets certificates for the entries that local callers need: keys are made here and never leave; only CSRs go up."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from attestation.entry import RegistrationEntry
from ca.keys import KeyType
from sds._pb.sds.node.v1 import node_pb2
from sds.agent.cache import Cache
from sds.agent.cache.views import HeldSvid
from sds.agent.distrust import Doubts, Leaf, Verdict, replace_at
from sds.agent.distrust import judge as judge_held
from sds.agent.doubts import BundleReader
from sds.agent.errors import AgentError, InvalidAnswer
from sds.agent.renewal import Attempt, blocked, failed, plan
from sds.agent.signing import Refusal, judge, prepare, process_info, sign_item
from sds.backoff import Backoff
from sds.clock import Clock
from sds.logs import Logger

_LONGEST_SLEEP = 10.0  # seconds; the wall clock may be stepped
_SHORTEST_SLEEP = 0.01


class Signer(Protocol):
    """The part of NodeLink that is used here."""

    async def sign(self, request: node_pb2.SignX509SvidsRequest) -> node_pb2.SignX509SvidsResponse:
        """Raises what NodeLink raises."""
        ...


class Connection(Protocol):
    """The part of Upstream that is used here."""

    @property
    def link(self) -> Signer | None: ...


class IssuerObserver(Protocol):
    """Counts what became of requests; `outcome` is success, refused or failure."""

    def issued(self, outcome: str, count: int) -> None: ...


@dataclass(frozen=True, slots=True)
class IssuerOptions:
    """`batch`: most requests in one call; `calls`: most calls at once; `jitter_share`: see renewal.renew_at.

    `replace_within`: over how long the certificates of a tainted authority are replaced; see distrust.replace_at.
    """

    key_type: KeyType = KeyType.ECDSA_P256
    batch: int = 200
    calls: int = 4
    jitter_share: float = 0.1
    warm_for: timedelta = timedelta(minutes=10)
    replace_within: timedelta = timedelta(minutes=5)


class Issuer:
    """One loop that looks, asks in batches, and sleeps until something is due or changes."""

    def __init__(
        self,
        cache: Cache,
        upstream: Connection,
        reader: BundleReader,
        backoff: Backoff,
        options: IssuerOptions,
        observer: IssuerObserver,
        clock: Clock,
        executor: Executor,
        log: Logger,
    ) -> None:
        self._cache = cache
        self._upstream = upstream
        self._reader = reader
        self._backoff = backoff
        self._options = options
        self._observer = observer
        self._clock = clock
        self._executor = executor
        self._log = log
        self._wake = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()
        self._judged_by: Doubts | None = None
        self._unjudged: set[str] = set()  # held, and not looked at since they came
        cache.on_wanted(self._wake.set)

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                self._wake.clear()
                await self._judge_held()
                pause = self._look()
                try:
                    async with asyncio.timeout(pause):
                        await self._wake.wait()
                except TimeoutError:
                    continue
        finally:
            for task in self._running:
                task.cancel()

    async def _judge_held(self) -> None:
        """All certificates after a change of the bundle, and each that came since."""
        bundle = self._cache.bundle
        if bundle is None:
            return
        doubts = await self._reader.doubts(bundle)
        names, self._unjudged = self._unjudged, set()
        if doubts is not self._judged_by:
            self._judged_by, names = doubts, set(self._cache.held)
        held = {entry_id: self._cache.held[entry_id] for entry_id in names if entry_id in self._cache.held}
        if not held:
            return
        leaves = {entry_id: _leaf(svid) for entry_id, svid in held.items()}
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._executor, judge_held, leaves, doubts, self._clock.now())
        now_held = self._cache.held
        same = [name for name, svid in held.items() if name in now_held and now_held[name].held is svid.held]
        self._distrust(same, found)

    def _distrust(self, judged: Sequence[str], found: Mapping[str, Verdict]) -> None:
        now, spread = self._clock.now(), self._options.replace_within
        due = {
            entry_id: replace_at(verdict, self._cache.held[entry_id].held.not_after, now, spread, self._clock.jitter())
            for entry_id in judged
            if (verdict := found.get(entry_id)) is not None
        }
        urgent = {entry_id for entry_id in due if found[entry_id] is not Verdict.TAINTED}
        news = [entry_id for entry_id in due if entry_id not in self._cache.replace_at]
        self._cache.distrust(judged, due, urgent)
        for verdict in Verdict:
            count = sum(found[entry_id] is verdict for entry_id in news)
            if count:
                self._log.warning("certificates are replaced before their time", reason=verdict.value, count=count)

    def _look(self) -> float:
        """Begin what is due; seconds until the next look."""
        self._cache.expire()
        now = self._clock.now()
        todo = plan(self._cache.facts(), now, self._options.warm_for)
        self._cache.drop(todo.drop)
        link = self._upstream.link
        if link is not None:
            for start in range(0, len(todo.due), self._options.batch):
                if len(self._running) >= self._options.calls:
                    break
                self._begin(link, todo.due[start : start + self._options.batch])
        if todo.next_look is None:
            return _LONGEST_SLEEP
        return min(max((todo.next_look - now).total_seconds(), _SHORTEST_SLEEP), _LONGEST_SLEEP)

    def _begin(self, link: Signer, entry_ids: Sequence[str]) -> None:
        self._cache.busy.update(entry_ids)
        task = asyncio.create_task(self._ask(link, [self._cache.entries[entry_id] for entry_id in entry_ids]))
        self._running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._wake.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("asking for certificates broke", exc_info=error)

    async def _ask(self, link: Signer, entries: Sequence[RegistrationEntry]) -> None:
        try:
            answers = await self._sign(link, entries)
        except AgentError as error:
            answers = dict.fromkeys((entry.id for entry in entries), Refusal(str(error)))
        except Exception:
            self._take_in(entries, dict.fromkeys((entry.id for entry in entries), Refusal("the agent failed")))
            raise
        finally:
            self._cache.busy.difference_update(entry.id for entry in entries)
        self._take_in(entries, answers)

    async def _sign(self, link: Signer, entries: Sequence[RegistrationEntry]) -> Mapping[str, HeldSvid | Refusal]:
        """What came of each entry, by its ID. Raises AgentError."""
        loop = asyncio.get_running_loop()
        wanted = [(entry, process_info(self._cache.member_for(entry.id))) for entry in entries]
        requests = await loop.run_in_executor(self._executor, prepare, wanted, self._options.key_type)
        answer = await link.sign(node_pb2.SignX509SvidsRequest(items=[sign_item(request) for request in requests]))
        bundle = self._cache.bundle
        if bundle is None:
            raise InvalidAnswer("there is no trust bundle to judge certificates by")
        doubts = await self._reader.doubts(bundle)
        jitters = [self._clock.jitter() for _ in requests]
        share = self._options.jitter_share
        return await loop.run_in_executor(
            self._executor, judge, requests, answer, doubts, self._clock.now(), jitters, share
        )

    def _take_in(self, entries: Sequence[RegistrationEntry], answers: Mapping[str, HeldSvid | Refusal]) -> None:
        now, jitter = self._clock.now(), self._clock.jitter()  # one jitter: what failed together is tried together
        svids = {entry_id: answer for entry_id, answer in answers.items() if isinstance(answer, HeldSvid)}
        attempts: dict[str, Attempt] = {}
        for entry in entries:
            answer = answers[entry.id]
            if isinstance(answer, HeldSvid):
                continue
            before = self._cache.attempts.get(entry.id)
            if answer.final:
                attempts[entry.id] = blocked(before, entry, answer.reason)
            else:
                delay = self._backoff.delay((before.failures if before else 0) + 1, jitter)
                attempts[entry.id] = failed(before, delay, now, answer.reason)
        self._cache.put(svids)
        self._unjudged |= svids.keys()  # the bundle may be another one than they were judged by
        self._cache.note(attempts)
        refused = sum(attempt.blocked_revision is not None for attempt in attempts.values())
        for outcome, count in (("success", len(svids)), ("refused", refused), ("failure", len(attempts) - refused)):
            if count:
                self._observer.issued(outcome, count)
        self._tell(attempts)

    def _tell(self, attempts: Mapping[str, Attempt]) -> None:
        """One line for each reason, not for each entry."""
        by_reason: dict[str, list[str]] = {}
        for entry_id, attempt in attempts.items():
            by_reason.setdefault(attempt.reason, []).append(entry_id)
        for reason, entry_ids in by_reason.items():
            self._log.warning("no certificate", reason=reason, entries=entry_ids[:10], count=len(entry_ids))


def _leaf(svid: HeldSvid) -> Leaf:
    certificate, held = svid.identity.certificate, svid.held
    return Leaf(svid.authority_id, certificate.serial, held.not_before, held.not_after, certificate.chain_pem)
