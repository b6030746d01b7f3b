"""The stream on which the server is told what is wanted and tells values, made anew with back-off.

While the server is away all that was delivered stays good. A new stream says which versions are held, and those are not
sent again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

from sds._pb.sds.node.v1 import node_pb2
from sds.agent.dial import NodeLink, SecretsCall
from sds.agent.errors import AgentError, InvalidAnswer, ServerUnreachable
from sds.agent.renewal import CATCH_UP, CATCH_UP_URGENT
from sds.agent.secrets.shelf import Shelf, Want
from sds.agent.secrets.values import SecretUpdate, updates
from sds.backoff import Backoff
from sds.clock import Clock
from sds.logs import Logger

WANTS_PER_MESSAGE = 1_000
SILENCE = 150.0
"""Seconds without a word after which the stream is made anew; the server sends heartbeats."""
OUTAGE = 5.0
"""Seconds; a shorter interruption is no outage that other agents would have suffered too."""


class Connection(Protocol):
    """The part of Upstream that is used here."""

    @property
    def link(self) -> NodeLink | None: ...

    async def connected(self) -> NodeLink: ...


class LinkObserver(Protocol):
    """Is told, on the loop, how the stream is."""

    def connected(self, connected: bool) -> None: ...


Apply = Callable[[Sequence[SecretUpdate], Sequence[str]], None]


class SecretsLink:
    """Runs for ever; idle as long as nothing is wanted."""

    def __init__(
        self,
        upstream: Connection,
        shelf: Shelf,
        apply: Apply,
        give_up: Callable[[], None],
        *,
        max_bytes: int,
        backoff: Backoff,
        observer: LinkObserver,
        clock: Clock,
        log: Logger,
    ) -> None:
        """`apply` takes in what the server says; `give_up`: it will not say anything. `max_bytes` bounds one value."""
        self._upstream = upstream
        self._shelf = shelf
        self._apply = apply
        self._give_up = give_up
        self._max_bytes = max_bytes
        self._backoff = backoff
        self._observer = observer
        self._clock = clock
        self._log = log
        self._news = asyncio.Event()
        self._failures = 0
        self._lost_at: float | None = None
        self._connected = False  # the server has answered on a stream that is open now

    def stir(self) -> None:
        """Something is wanted, or wanted no more."""
        self._news.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            while not self._shelf.size:
                self._news.clear()
                await self._news.wait()
            link = await self._upstream.connected()
            try:
                await self._follow(link)
            except AgentError as error:
                await self._lost(link, error)

    async def _follow(self, link: NodeLink) -> None:
        """Until the stream ends, which raises AgentError; or until what it would say could be meant for others."""
        generation = self._shelf.generation
        call = link.watch_secrets()
        sending = asyncio.create_task(self._send(call, generation))
        try:
            while (message := await self._next(call, sending)) is not None and generation == self._shelf.generation:
                self._heard()
                self._take(message)
                del message  # no value outlives its users here
        finally:
            if self._connected:
                self._connected, self._lost_at = False, self._clock.monotonic()
                self._observer.connected(False)
            call.cancel()
            await _ended(sending)

    async def _next(self, call: SecretsCall, sending: asyncio.Task[None]) -> node_pb2.WatchSecretsResponse | None:
        """What the server says next; None when nothing is said to it any more. Raises AgentError."""
        reading = asyncio.create_task(call.receive())
        try:
            await asyncio.wait({reading, sending}, timeout=SILENCE, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                return reading.result()
            if sending.done():
                return sending.result()
            raise ServerUnreachable(f"the server has said nothing of secrets for {SILENCE:.0f} s")
        finally:
            if not reading.done():
                call.cancel()
                await _ended(reading)

    def _heard(self) -> None:
        self._failures, self._lost_at = 0, None
        if not self._connected:
            self._connected = True
            self._observer.connected(True)

    def _take(self, message: node_pb2.WatchSecretsResponse) -> None:
        found, rejected = updates(message, self._max_bytes)
        if found:
            self._apply(found, rejected)

    async def _send(self, call: SecretsCall, generation: int) -> None:
        """Say what is wanted, and go on saying what changes, while that is of this generation. Raises AgentError.

        After an outage those that lack nothing come back spread, for all agents lost their server at one moment.
        """
        spread = self._spread()
        if spread:
            await asyncio.sleep((CATCH_UP_URGENT * spread).total_seconds())
        everything = self._shelf.everything()
        await _say(call, [one for one in everything if not one[1]], [])
        later = {want: None for want, version in everything if version}
        patience = (CATCH_UP * spread).total_seconds()
        until = asyncio.get_running_loop().time() + patience
        while generation == self._shelf.generation:
            if later and asyncio.get_running_loop().time() >= until:
                await _say(call, [(want, self._shelf.version(want)) for want in later], [])
                later.clear()
            wanted, unwanted = self._shelf.news()
            told = [want for want in unwanted if later.pop(want, self) is self]
            await _say(call, [], told)  # first: what is in both is asked for anew
            await _say(call, [(want, "") for want in wanted], [])
            with suppress(TimeoutError):
                async with asyncio.timeout_at(until if later else None):
                    await self._news.wait()
            self._news.clear()

    def _spread(self) -> float:
        """0 unless there was an outage, else how far this agent is behind the first."""
        if self._lost_at is None or self._clock.monotonic() - self._lost_at < OUTAGE:
            return 0.0
        return self._clock.jitter()

    async def _lost(self, link: NodeLink, error: AgentError) -> None:
        if self._upstream.link is not link and self._upstream.link is not None:
            return  # it was moved to another connection
        self._failures += 1
        delay = self._backoff.delay(self._failures, self._clock.jitter())
        if isinstance(error, InvalidAnswer):  # a server that knows of no secrets, or that we do not understand
            delay = max(delay, self._backoff.longest)
            self._give_up()
        self._log.warning("secrets cannot be followed", reason=str(error), retry_in=delay.total_seconds())
        await asyncio.sleep(delay.total_seconds())


async def _say(call: SecretsCall, wanted: Sequence[tuple[Want, str]], unwanted: Sequence[Want]) -> None:
    """In messages that are not too large. Raises AgentError."""
    asked = [
        node_pb2.SecretWant(entry_id=entry_id, name=name, held_version=version) for (entry_id, name), version in wanted
    ]
    given_up = [node_pb2.SecretWant(entry_id=entry_id, name=name) for entry_id, name in unwanted]
    for start in range(0, len(given_up), WANTS_PER_MESSAGE):
        await call.send(node_pb2.WatchSecretsRequest(unwanted=given_up[start : start + WANTS_PER_MESSAGE]))
    for start in range(0, len(asked), WANTS_PER_MESSAGE):
        await call.send(node_pb2.WatchSecretsRequest(wanted=asked[start : start + WANTS_PER_MESSAGE]))


async def _ended(task: asyncio.Task[Any]) -> None:
    """Have it end; how it did is of no interest."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()
