"""Node.WatchSecrets: what an agent wants is heard, and what its entries may have is sent, now and as it changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import grpc

from sds._pb.sds.node.v1 import node_pb2
from sds.audit.event import Actor, Target
from sds.clock import Clock
from sds.logs import get_logger
from sds.net.limits import Caps, Rate, TokenBuckets
from sds.server.coalescer import Overloaded
from sds.server.convert import text
from sds.server.events import agent_actor
from sds.server.identity import AgentCaller
from sds.server.refusals import Refusal, RefusalLog
from sds.server.rpc import CallRefused
from sds.server.secrets import convert
from sds.server.secrets.news import Delivery, News, Refused, Told
from sds.server.secrets.record import DeliveryRecord
from sds.server.secrets.schedule import PollPolicy, next_look
from sds.server.secrets.watch import SecretWatcher, TooManyWanted
from sds.server.secrets.watches import SecretWatches
from sds.server.watch import WatchEnded
from sds.store.errors import StoreError

MAX_TEXT = 256
"""Characters of an entry's ID, a name or a version that an agent sends."""
MOST_AT_ONCE = 256
"""Wants looked at between two messages, so that one agent's many don't hold others up."""
MESSAGE_BYTES = 1024 * 1024
IDENTITY_CHECK = 5.0
"""Seconds between two looks at a silent stream's caller. A ban or a deletion wakes the stream at once."""
_WORDS = Rate(per_second=1000.0, burst=50_000)
"""How many wants one agent may say or take back: each can cost a request to a source."""
_UNAUDITED = PollPolicy(retry=0.2, patience=5.0)


class SecretObserver(Protocol):
    """`kind` of an update: value, unchanged, not_granted or unavailable. `unaudited`: values were held back."""

    def secret_watches(self, streams: int, wanted: int) -> None: ...

    def secret_told(self, kind: str, count: int) -> None: ...

    def secret_pushed(self, seconds: float) -> None: ...

    def secret_unaudited(self) -> None: ...


class Welcome(Protocol):
    """sds.server.identity.CallerCheck."""

    def check(self, caller: AgentCaller) -> None:
        """Raises CallRefused."""
        ...


@dataclass(frozen=True, slots=True)
class StreamParts:
    """What streams are made of."""

    watches: SecretWatches
    record: DeliveryRecord
    refusals: RefusalLog
    clock: Clock
    observer: SecretObserver
    heartbeat: timedelta
    caps: Caps


class SecretStreams:
    """Serves any number of streams; `node_api` has made sure who calls."""

    def __init__(self, parts: StreamParts) -> None:
        self._parts = parts
        self._words = TokenBuckets(_WORDS)
        self._noting: set[asyncio.Task[None]] = set()
        self._log = get_logger(__name__)

    async def serve(
        self,
        requests: AsyncIterator[node_pb2.WatchSecretsRequest],
        caller: AgentCaller,
        welcome: Welcome,
        seen: Callable[[AgentCaller], None],
    ) -> AsyncGenerator[node_pb2.WatchSecretsResponse, None]:
        """Ends only with an error: the caller is not welcome any more, or this server shuts down."""
        clock, heartbeat = self._parts.clock, self._parts.heartbeat.total_seconds()
        with self._watching(caller, requests) as watcher:
            yield node_pb2.WatchSecretsResponse()
            heard = clock.monotonic()
            sender = _Sender(self._parts, watcher, caller)
            while True:
                welcome.check(caller)
                news = self._take(watcher)
                self._refuse(news.refused, caller)
                for message in sender.absences(news):
                    yield message
                    heard = clock.monotonic()
                if await sender.recorded(news.deliveries):
                    welcome.check(caller)
                    for message in sender.values(news.deliveries):
                        yield message
                        heard = clock.monotonic()
                if clock.monotonic() - heard >= heartbeat:
                    seen(caller)
                    yield node_pb2.WatchSecretsResponse()
                    heard = clock.monotonic()
                await watcher.wait(min(IDENTITY_CHECK, heard + heartbeat - clock.monotonic(), sender.pause))

    def _take(self, watcher: SecretWatcher) -> News:
        try:
            return watcher.take(self._parts.clock.now(), MOST_AT_ONCE)
        except WatchEnded as end:
            raise CallRefused(grpc.StatusCode.UNAVAILABLE, str(end)) from None

    @contextmanager
    def _watching(
        self, caller: AgentCaller, requests: AsyncIterator[node_pb2.WatchSecretsRequest]
    ) -> Iterator[SecretWatcher]:
        """A watcher that listens to the agent, for as long as the stream lasts, within the caps."""
        parts = self._parts
        met = parts.caps.acquire(caller.agent_id)
        if met is not None:
            whose = "of this agent " if met == "key" else ""
            raise CallRefused(grpc.StatusCode.RESOURCE_EXHAUSTED, f"too many streams of secrets {whose}are open")
        watcher = parts.watches.open(caller.agent_id)
        listening = asyncio.create_task(self._listen(requests, watcher), name="wants of an agent")
        log = self._log.bind(agent=str(caller.agent_id), address=caller.address)
        log.info("agent watches secrets")
        try:
            yield watcher
        finally:
            log.info("agent watches secrets no more")
            listening.cancel()
            watcher.close()
            parts.caps.release(caller.agent_id)
            self._observe()

    async def _listen(self, requests: AsyncIterator[node_pb2.WatchSecretsRequest], watcher: SecretWatcher) -> None:
        """Take in what the agent says; what is wrong with that ends the stream."""
        try:
            async for request in requests:
                self._hear(request, watcher)
                self._observe()
        except TooManyWanted as error:
            watcher.end(CallRefused(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error)))
        except Exception as error:  # noqa: BLE001 - the stream raises it, and its table decides
            watcher.end(error)

    def _hear(self, request: node_pb2.WatchSecretsRequest, watcher: SecretWatcher) -> None:
        """Raises CallRefused, TooManyWanted."""
        now = self._parts.clock.monotonic()
        for want in (*request.unwanted, *request.wanted):
            if not self._words.take(watcher.agent_id, now):
                raise CallRefused(grpc.StatusCode.RESOURCE_EXHAUSTED, "this agent wants too much in too short a time")
            if max(len(want.entry_id), len(want.name), len(want.held_version)) > MAX_TEXT:
                raise CallRefused(
                    grpc.StatusCode.INVALID_ARGUMENT, f"what is wanted is named with at most {MAX_TEXT} characters"
                )
        for want in request.unwanted:
            watcher.unwant(want.entry_id, want.name)
        for want in request.wanted:
            watcher.want(want.entry_id, want.name, want.held_version)

    def _observe(self) -> None:
        watches = self._parts.watches
        self._parts.observer.secret_watches(len(watches), watches.wanted)

    def _refuse(self, refused: Sequence[Refused], caller: AgentCaller) -> None:
        """Audit what the agent asked for and its entries may not have; the stream does not wait for that."""
        actor = agent_actor(caller.agent_id, caller.address)
        for one in refused:
            details = {"entry_id": text(one.entry_id, MAX_TEXT)}
            if one.spiffe_id:
                details["spiffe_id"] = one.spiffe_id
            refusal = Refusal(
                action="secret.refused",
                actor=actor,
                target=Target("secret", text(one.name, MAX_TEXT)),
                reason=one.why,
                request_id=caller.request_id,
                details=details,
                source=actor.id,
            )
            task = asyncio.create_task(self._parts.refusals.note(refusal), name="refusal of a secret")
            self._noting.add(task)
            task.add_done_callback(self._noting.discard)


class _Sender:
    """What one stream sends, and when it tries again what could not be audited."""

    def __init__(self, parts: StreamParts, watcher: SecretWatcher, caller: AgentCaller) -> None:
        self._parts = parts
        self._watcher = watcher
        self._request_id = caller.request_id
        self._actor: Actor = agent_actor(caller.agent_id, caller.address)
        self._failures = 0
        self._log = get_logger(__name__, agent=str(caller.agent_id))
        self.pause = IDENTITY_CHECK
        """Seconds after which to try again."""

    def absences(self, news: News) -> Iterator[node_pb2.WatchSecretsResponse]:
        for one in news.absences:
            self._parts.observer.secret_told(one.told.value, len(one.entry_ids))
        return convert.responses(map(convert.absence, news.absences), MESSAGE_BYTES)

    async def recorded(self, deliveries: Sequence[Delivery]) -> bool:
        """Whether it is durable who is given what. If not, nothing may be sent; it is tried again."""
        if not deliveries:
            self.pause = IDENTITY_CHECK
            return False
        try:
            await self._parts.record.write(deliveries, self._actor, self._request_id)
        except (StoreError, Overloaded) as error:
            self._watcher.put_back(deliveries)
            self._failures += 1
            self.pause = next_look(0.0, self._failures, self._parts.clock.jitter(), _UNAUDITED)
            self._parts.observer.secret_unaudited()
            self._log.error("values are held back, for their delivery cannot be audited", reason=str(error))
            return False
        self._failures, self.pause = 0, IDENTITY_CHECK
        return True

    def values(self, deliveries: Sequence[Delivery]) -> Iterator[node_pb2.WatchSecretsResponse]:
        """Those that may still be sent, after the wait for the audit log."""
        return convert.responses(self._opened(deliveries), MESSAGE_BYTES)

    def _opened(self, deliveries: Sequence[Delivery]) -> Iterator[node_pb2.SecretUpdate]:
        clock, observer = self._parts.clock, self._parts.observer
        for one in deliveries:
            still = self._watcher.still(one, clock.now())
            if still is None:
                continue
            yield convert.delivery(still)
            self._watcher.told_value(still)
            observer.secret_told(Told.VALUE.value, len(still.entries))
            if still.detected is not None:
                observer.secret_pushed(clock.monotonic() - still.detected)
