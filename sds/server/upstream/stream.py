"""Reads a watch stream without losing a message to a look at the clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from sds._pb.sds.node.v1 import node_pb2
from sds.agent.errors import ServerUnreachable
from sds.clock import Clock

Message = node_pb2.WatchAuthorizedResponse


class Stream:
    """Close what it reads from after the last `next`."""

    def __init__(self, messages: AsyncGenerator[Message, None], clock: Clock, silence: float) -> None:
        self._messages = messages
        self._clock = clock
        self._silence = silence
        self._heard = clock.monotonic()
        self._reading: asyncio.Task[Message] | None = None

    async def next(self, seconds: float) -> Message | None:
        """The next message, or None after `seconds` without one.

        Raises AgentError when the stream ends, or nothing was said for too long.
        """
        if self._reading is None:
            self._reading = asyncio.ensure_future(anext(self._messages))
        try:
            await asyncio.wait({self._reading}, timeout=seconds)
        except asyncio.CancelledError:
            await self._stop()
            raise
        if self._reading.done():
            reading, self._reading = self._reading, None
            self._heard = self._clock.monotonic()
            return reading.result()
        if self._clock.monotonic() - self._heard > self._silence:
            raise ServerUnreachable(f"the server has said nothing for {self._silence:.0f} s")
        return None

    async def aclose(self) -> None:
        """Read no more."""
        await self._stop()

    async def _stop(self) -> None:
        reading, self._reading = self._reading, None
        if reading is not None and not reading.done():
            reading.cancel()
            await asyncio.wait({reading})
