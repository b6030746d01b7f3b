"""The shell around one stream: bytes in, bytes out, and one extra task that waits for the client's next request.

The writer (the RPC's own coroutine) sleeps until there is something to send. A wake is one flag and one future: no
task, no timer and no lock per push, because ten thousand of these share an event loop. Requests are taken in as they
arrive, also while a write is held up by a client that does not read; what is owed then is decided when it reads again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import grpc

from sds.clock import Clock
from sds.delivery.conversation import Conversation, SotwConversation, Variant
from sds.delivery.errors import DeliveryError
from sds.delivery.messages import Acked, Effect, Ignored, Nacked, Reaffirmed, Refused
from sds.delivery.ports import Caller, Observer
from sds.delivery.registry import LiveStream, StreamRegistry
from sds.delivery.text import clean_name

Context = grpc.aio.ServicerContext[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all sessions of a service share. `silent_grace` is in seconds."""

    observer: Observer
    registry: StreamRegistry
    clock: Clock
    silent_grace: float


class Session:
    """One stream from its opening to its end."""

    __slots__ = (
        "_around",
        "_caller",
        "_context",
        "_conversation",
        "_dirty",
        "_ended",
        "_failure",
        "_grace",
        "_stream",
        "_waiter",
        "_wanted",
    )

    def __init__(
        self,
        around: Surroundings,
        context: Context,
        caller: Caller,
        conversation: Conversation,
        stream: LiveStream,
    ) -> None:
        self._around = around
        self._context = context
        self._caller = caller
        self._conversation = conversation
        self._stream = stream
        self._waiter: asyncio.Future[None] | None = None  # what the writer sleeps on
        self._dirty = False  # the view may differ from the one last offered
        self._ended = False  # the reader is done
        self._failure: Exception | None = None  # why the stream must end, if not because the client left
        self._grace: asyncio.TimerHandle | None = None
        self._wanted: tuple[str, ...] = ()

    async def run(self) -> None:
        """Serve until the client leaves. Raises what must end the stream: see sds.delivery.status."""
        unwatch = self._caller.watch(self._wake)
        reader = asyncio.create_task(self._read())
        try:
            self._listen_for_silence()
            await self._write()
        finally:
            unwatch()
            reader.cancel()
            if self._grace is not None:
                self._grace.cancel()

    async def _write(self) -> None:
        core = self._conversation.core
        while not self._ended:
            if self._dirty:
                self._dirty = False
                self._report(core.offer(self._caller.view()))
            send = core.take(self._around.clock.monotonic())
            if send is None:
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter
                continue
            version = send.resource.version if send.resource else ""
            self._around.observer.sent(self._stream, clean_name(send.name), version)
            self._around.registry.touch(self._stream)
            await self._context.write(self._conversation.encode(send))
        if self._failure is not None:
            raise self._failure

    async def _read(self) -> None:
        try:
            while True:
                raw: object = await self._context.read()  # the type stubs do not know of EOF
                if not isinstance(raw, bytes):
                    return
                self._receive(raw)
        except Exception as error:  # noqa: BLE001 - handed to the writer, which raises it
            self._failure = error
        finally:
            self._ended = True
            self._rouse()

    def _receive(self, raw: bytes) -> None:
        """One request, against the view of this moment. Nothing waits in here."""
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None
        conversation = self._conversation
        self._report(conversation.receive(raw, self._caller.view(), self._around.clock.monotonic()))
        self._want()
        if conversation.core.ready:
            self._rouse()

    def _wake(self) -> None:
        """The caller's view may have changed."""
        self._dirty = True
        self._rouse()

    def _rouse(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _report(self, effects: Sequence[Effect]) -> None:
        observer, stream = self._around.observer, self._stream
        for effect in effects:
            match effect:
                case Acked():
                    observer.acked(stream, clean_name(effect.name), effect.version, effect.seconds)
                case Nacked():
                    observer.nacked(stream, clean_name(effect.name), effect.version, effect.detail)
                case Reaffirmed():
                    observer.reaffirmed(stream, clean_name(effect.name), effect.version, effect.sequence)
                case Refused():
                    observer.refused(stream, clean_name(effect.name), effect.reason)
                case Ignored():
                    observer.ignored(stream, effect.reason)
        if effects:
            self._around.registry.touch(stream)

    def _want(self) -> None:
        """Say which names are wanted now, if these are others than before.

        MOSN does not repeat its subscriptions after a reconnect, so its names are also kept for its next stream.
        """
        wanted = self._conversation.core.wanted
        if wanted == self._wanted:
            return
        self._wanted = wanted
        self._caller.want(self._wake, wanted)
        if self._stream.protocol == Variant.SOTW:
            self._caller.remember(tuple(name for name in wanted if name.isprintable()))

    def _listen_for_silence(self) -> None:
        if self._stream.protocol == Variant.SOTW and self._caller.remembered():
            loop = asyncio.get_running_loop()
            self._grace = loop.call_later(self._around.silent_grace, self._resume)

    def _resume(self) -> None:
        """The client has said nothing: serve what its process wanted before, as if it had asked."""
        self._grace = None
        names = tuple(self._caller.remembered())
        conversation = self._conversation
        if not names or not isinstance(conversation, SotwConversation):
            return
        try:
            effects = conversation.resume(names, self._caller.view(), self._around.clock.monotonic())
            self._want()
        except DeliveryError:
            return  # more than a stream may ask for: then it has to ask
        except Exception as error:  # noqa: BLE001 - handed to the writer, which raises it
            self._failure, self._ended = error, True
        else:
            self._around.observer.resumed(self._stream, len(names))
            self._report(effects)
        self._rouse()
