"""JWT-SVIDs for local workloads: from memory, else from the server; kept through an outage until they expire.

Concurrent calls for one token share one request, and requests of one moment share one call. Tokens in use are renewed
at half-life before anybody asks, so that an outage finds them fresh. Implements delivery's Tokens.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from attestation.entry import RegistrationEntry
from attestation.spiffe_id import TrustDomain
from ca.bundle import TrustBundle
from ca.errors import InvalidJwtSvid
from ca.jwt_verify import DEFAULT_LEEWAY, JwtSvid, validate
from sds._pb.sds.node.v1 import node_pb2
from sds.agent.cache.group import Member
from sds.agent.dial import NodeLink
from sds.agent.errors import AgentError
from sds.agent.jwt.answers import Refused, judged
from sds.agent.jwt.shelf import HeldToken, Key, Shelf, Standing, standing
from sds.agent.signing import process_info
from sds.backoff import Backoff
from sds.clock import Clock
from sds.delivery.errors import NotGranted, NotReady
from sds.delivery.tokens import Token
from sds.logs import Logger

_LONGEST_SLEEP = 5.0  # seconds; the wall clock may be stepped, an entry or a key may go
_SHORTEST_SLEEP = 0.05
_RETRY = 1.0
_UNREACHABLE = Refused("the server cannot be reached now, and there is no such token in memory; try again")


class Knowledge(Protocol):
    """The part of the cache that is used here."""

    @property
    def entries(self) -> Mapping[str, RegistrationEntry]: ...

    @property
    def bundle(self) -> TrustBundle | None: ...

    def member_for(self, entry_id: str) -> Member | None: ...


class Connection(Protocol):
    """The part of Upstream that is used here."""

    @property
    def link(self) -> NodeLink | None: ...


class TokenObserver(Protocol):
    """Counts. `outcome` is cached, success, refused or failure; of validations success or refused."""

    def token_requested(self, outcome: str) -> None: ...

    def token_validated(self, outcome: str) -> None: ...


@dataclass(frozen=True, slots=True)
class TokenOptions:
    """`batch`: most tokens in one call; `calls`: most calls at once; `pending`: most tokens asked for at once."""

    capacity: int = 10_000
    batch: int = 200
    calls: int = 4
    pending: int = 2_000
    patience: timedelta = timedelta(seconds=10)
    jitter_share: float = 0.1
    leeway: timedelta = DEFAULT_LEEWAY


@dataclass(frozen=True, slots=True)
class _Failure:
    """`count` times in a row it could not be had; not asked for again before `retry_at`."""

    count: int
    retry_at: datetime
    refused: Refused


class JwtSvids:
    """Used on the loop's thread. `bundles_for` gives what those with some entries verify tokens by."""

    def __init__(
        self,
        cache: Knowledge,
        upstream: Connection,
        bundles_for: Callable[[Sequence[RegistrationEntry]], Mapping[TrustDomain, TrustBundle]],
        backoff: Backoff,
        options: TokenOptions,
        observer: TokenObserver,
        clock: Clock,
        log: Logger,
    ) -> None:
        self._cache = cache
        self._upstream = upstream
        self._bundles_for = bundles_for
        self._backoff = backoff
        self._options = options
        self._observer = observer
        self._clock = clock
        self._log = log
        self._shelf = Shelf(options.capacity)
        self._failures: OrderedDict[Key, _Failure] = OrderedDict()
        self._pending: dict[Key, asyncio.Future[HeldToken | Refused]] = {}
        self._queue: list[Key] = []
        self._running: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        """How many tokens are held."""
        return len(self._shelf)

    # What workloads ask

    async def fetch(self, entries: Sequence[RegistrationEntry], audience: tuple[str, ...]) -> Sequence[Token]:
        """See delivery's Tokens."""
        held = await asyncio.gather(*(self._one(entry, audience) for entry in entries))
        return [Token(one.spiffe_id, one.token) for one in held]

    def validate(self, entries: Sequence[RegistrationEntry], unverified_token: str, audience: str) -> JwtSvid:
        """See delivery's Tokens."""
        bundles = self._bundles_for(entries)
        if not bundles:
            raise NotReady("there is no trust bundle yet, try again")
        try:
            svid = validate(unverified_token, bundles, audience, self._clock.now(), self._options.leeway)
        except InvalidJwtSvid:
            self._observer.token_validated("refused")
            raise
        self._observer.token_validated("success")
        return svid

    async def _one(self, entry: RegistrationEntry, audience: tuple[str, ...]) -> HeldToken:
        """Raises NotReady, NotGranted, LimitExceeded."""
        key, now = (entry.id, audience), self._clock.now()
        held = self._shelf.use(key)
        stands = standing(held, entry, self._cache.bundle, now)
        usable = None if stands is Standing.NONE else held
        if usable is not None and stands is not Standing.DOUBTFUL:
            if stands is Standing.STALE and self._may_ask(key, now) is None:
                self._ask(key)
            self._observer.token_requested("cached")
            return usable
        outcome = self._may_ask(key, now) or await self._patiently(key)
        if isinstance(outcome, HeldToken):
            return outcome
        if usable is not None and usable.expires_at > self._clock.now():
            self._observer.token_requested("cached")
            return usable
        self._observer.token_requested("refused" if outcome.final else "failure")
        raise (NotGranted if outcome.final else NotReady)(outcome.reason)

    def _may_ask(self, key: Key, now: datetime) -> Refused | None:
        """Why the server is not to be asked now."""
        failure = self._failures.get(key)
        if failure is not None and failure.retry_at > now:
            return failure.refused
        if key not in self._pending and len(self._pending) >= self._options.pending:
            return Refused("too many tokens are being asked for, try again later")
        return _UNREACHABLE if self._upstream.link is None else None

    async def _patiently(self, key: Key) -> HeldToken | Refused:
        try:
            async with asyncio.timeout(self._options.patience.total_seconds()):
                outcome = await asyncio.shield(self._ask(key))
        except TimeoutError:
            return Refused("the server has not answered in time; try again")
        if isinstance(outcome, HeldToken):
            self._shelf.use(key)
            self._observer.token_requested("success")
        return outcome

    # Asking the server

    def _ask(self, key: Key) -> asyncio.Future[HeldToken | Refused]:
        """Have a token signed, or join in where that is under way."""
        future = self._pending.get(key)
        if future is None:
            loop = asyncio.get_running_loop()
            future = self._pending[key] = loop.create_future()
            if not self._queue:
                loop.call_soon(self._send)  # what is asked in this turn of the loop shares a call
            self._queue.append(key)
        return future

    def _send(self) -> None:
        while self._queue and len(self._running) < self._options.calls:
            batch, self._queue = self._queue[: self._options.batch], self._queue[self._options.batch :]
            task = asyncio.create_task(self._sign(batch))
            self._running.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("asking for tokens broke", exc_info=error)
        if self._queue:
            self._send()

    async def _sign(self, keys: Sequence[Key]) -> None:
        outcomes: dict[Key, HeldToken | Refused] = dict.fromkeys(keys, Refused("the agent failed"))
        try:
            outcomes.update(await self._asked(keys))
        except AgentError as error:
            outcomes.update(dict.fromkeys(keys, Refused(str(error))))
        finally:
            for key, outcome in outcomes.items():
                self._take_in(key, outcome)
            self._wake.set()

    async def _asked(self, keys: Sequence[Key]) -> Mapping[Key, HeldToken | Refused]:
        """What came of each. Raises AgentError."""
        link, entries = self._upstream.link, self._cache.entries
        wanted = [(entries[key[0]], key[1]) for key in keys if key[0] in entries]
        gone: dict[Key, HeldToken | Refused] = {
            key: Refused("the entry is gone", final=True) for key in keys if key[0] not in entries
        }
        if link is None:
            return dict.fromkeys(keys, _UNREACHABLE)
        if not wanted:
            return gone
        items = [
            node_pb2.JwtItem(
                entry_id=entry.id, audience=audience, process=process_info(self._cache.member_for(entry.id))
            )
            for entry, audience in wanted
        ]
        answer = await link.sign_jwt(node_pb2.SignJwtSvidsRequest(items=items))
        jitters = [self._clock.jitter() for _ in wanted]
        options, bundle = self._options, self._cache.bundle
        found = judged(wanted, answer, bundle, self._clock.now(), options.leeway, jitters, options.jitter_share)
        return {**gone, **found}

    def _take_in(self, key: Key, outcome: HeldToken | Refused) -> None:
        future = self._pending.pop(key, None)
        if isinstance(outcome, HeldToken):
            self._failures.pop(key, None)
            if key[0] in self._cache.entries:
                self._shelf.put(key, outcome, used=False)
        else:
            count = self._failures[key].count + 1 if key in self._failures else 1
            delay = self._backoff.delay(count, self._clock.jitter())
            self._failures[key] = _Failure(count, self._clock.now() + delay, outcome)
            self._failures.move_to_end(key)
            while len(self._failures) > self._options.capacity:
                self._failures.popitem(last=False)
            self._log.warning("no token", entry_id=key[0], audience=list(key[1]), reason=outcome.reason)
        if future is not None and not future.done():
            future.set_result(outcome)

    # What happens by itself

    async def run(self) -> None:
        """Renew what is in use and forget what has ended, until cancelled."""
        try:
            while True:
                self._wake.clear()
                pause = self._look()
                try:
                    async with asyncio.timeout(pause):
                        await self._wake.wait()
                except TimeoutError:
                    continue
        finally:
            for task in self._running:
                task.cancel()

    def _look(self) -> float:
        """Begin what is due; seconds until the next look."""
        now, bundle = self._clock.now(), self._cache.bundle
        self._shelf.prune(self._cache.entries, bundle, now)
        for key in [key for key in self._failures if key[0] not in self._cache.entries]:
            del self._failures[key]
        if bundle is not None and bundle.tainted:
            self._shelf.hasten(bundle.tainted, now, self._clock.jitter())
        longest = _LONGEST_SLEEP
        for key in self._shelf.due(now):
            if self._may_ask(key, now) is None:
                self._ask(key)
            else:
                longest = _RETRY
        upcoming = self._shelf.next_look(now)
        if upcoming is None:
            return longest
        return min(max((upcoming - now).total_seconds(), _SHORTEST_SLEEP), longest)
