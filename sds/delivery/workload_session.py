"""One stream of the Workload API: the view's message now, and again whenever it is another one.

The RPC's own coroutine sleeps on one future until the view may have changed; there is nothing to read after the request
and no further task. A client that leaves, or whose deadline passes, cancels the coroutine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sds.delivery.errors import NoIdentity, NotReady
from sds.delivery.messages import NO_IDENTITY, Node
from sds.delivery.ports import Caller
from sds.delivery.registry import LiveStream
from sds.delivery.session import Context, Surroundings
from sds.delivery.subscription import Slot
from sds.delivery.view import View
from sds.delivery.workload_messages import Message, Part

Encode = Callable[[View], Message | None]
WHOLE = "*"
"""What a caller without an identity is refused: everything."""


class Holding:
    """What the client has been sent: the last message's digest, and each part for reports. Nothing is ever ACKed."""

    __slots__ = ("_digest", "_slots", "node")

    def __init__(self) -> None:
        self.node = Node()  # clients say nothing of themselves
        self._digest = b""
        self._slots: dict[str, Slot] = {}

    @property
    def slots(self) -> tuple[Slot, ...]:
        return tuple(self._slots.values())

    def __bool__(self) -> bool:
        """Whether there was a message yet."""
        return bool(self._digest)

    def news(self, message: Message) -> bool:
        """Whether `message` differs from the last one."""
        return message.digest != self._digest

    def take(self, message: Message, tick: float) -> list[Part]:
        """Count `message` as sent at `tick`; the parts that are new in it, those that are gone without a version."""
        self._digest = message.digest
        parts: dict[str, Part] = {}
        for part in message.parts:
            parts.setdefault(part.name, part)  # two identities with one SPIFFE ID: the first, as in SDS
        gone = [Part(name, "") for name in self._slots if name not in parts]
        changed = [p for p in parts.values() if p.name not in self._slots or self._differs(p)]
        slots = {name: self._slots.get(name) or Slot(name) for name in parts}
        for part in changed:
            slot = slots[part.name]
            slot.sent_version, slot.sent_serial, slot.sent_at = part.version, part.serial, tick
        self._slots = slots
        self.reaffirm(message)
        return [*changed, *gone]

    def reaffirm(self, message: Message) -> list[Part]:
        """`message` has the same bytes as the last one: the parts of it that count for another sequence now."""
        news = [p for p in message.parts if not self._differs(p) and self._slots[p.name].sent_sequence != p.sequence]
        for part in news:
            self._slots[part.name].sent_sequence = part.sequence
        return news

    def _differs(self, part: Part) -> bool:
        return self._slots[part.name].sent_version != part.version


class WorkloadSession:
    """From a stream's first message to its end."""

    __slots__ = ("_around", "_caller", "_context", "_dirty", "_encode", "_ending", "_holding", "_stream", "_waiter")

    def __init__(
        self,
        around: Surroundings,
        context: Context,
        caller: Caller,
        encode: Encode,
        holding: Holding,
        stream: LiveStream,
    ) -> None:
        self._around = around
        self._context = context
        self._caller = caller
        self._encode = encode
        self._holding = holding
        self._stream = stream
        self._dirty = False  # the view may differ from the one last looked at
        self._ending: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def run(self) -> None:
        """Until cancelled. Raises what must end the stream: NoIdentity, NotReady, AttestationRefused."""
        unwatch = self._caller.watch(self._wake)
        try:
            while True:
                self._dirty = False
                message = self._next()
                if message is not None:
                    self._tell(message)
                    await self._context.write(message.payload)
                await self._news()
        finally:
            unwatch()

    def end(self, reason: Exception) -> None:
        """Raise `reason` from `run`, as soon as the client reads."""
        self._ending = reason
        self._wake()

    def _next(self) -> Message | None:
        """What to send now; None: nothing that the client does not have. Raises what must end the stream."""
        if self._ending is not None:
            raise self._ending
        message = self._encode(self._caller.view())
        if message is not None:
            if self._holding.news(message):
                return message
            self._reaffirm(message)
            return None
        if not self._caller.entitled():
            for name in [slot.name for slot in self._holding.slots] or [WHOLE]:
                self._around.observer.refused(self._stream, name, NO_IDENTITY)
            raise NoIdentity(NO_IDENTITY)
        if not self._holding:
            raise NotReady("the certificate of this identity is not there yet, try again")
        return None  # a certificate is on its way; until then the client keeps what it has

    def _tell(self, message: Message) -> None:
        for part in self._holding.take(message, self._around.clock.monotonic()):
            self._around.observer.sent(self._stream, part.name, part.version)
        self._around.registry.touch(self._stream)

    def _reaffirm(self, message: Message) -> None:
        for part in self._holding.reaffirm(message):
            self._around.observer.reaffirmed(self._stream, part.name, part.version, part.sequence)
            self._around.registry.touch(self._stream)

    async def _news(self) -> None:
        """Until the view may have changed since `_next` looked; that may be at once."""
        if not self._dirty:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def _wake(self) -> None:
        self._dirty = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
