"""A thread of its own for work that may hang for ever: a dead disk, a full pipe, a name server without an answer.

Unlike the standard library's pools it holds up neither its caller, who stops waiting, nor the end of the process.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class Busy(Exception):
    """The thread has not come back from what it was given last, or has been closed."""


class SideThread:
    """Does one thing at a time, in the order of the calls. Made and used on one event loop."""

    def __init__(self, name: str) -> None:
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._name = name
        self._thread: threading.Thread | None = None
        self._stuck: asyncio.Future[Any] | None = None
        self._closed = False

    async def run(self, work: Callable[[], T], seconds: float) -> T:
        """What `work` returns or raises. Raises TimeoutError after `seconds`: the thread goes on with it all the same,
        and Busy until it has come back.
        """
        if self._closed or (self._stuck is not None and not self._stuck.done()):
            raise Busy
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
            self._thread.start()
        self._queue.put(lambda: _settle(loop, future, work))
        self._stuck = future
        done, _ = await asyncio.wait({future}, timeout=seconds)
        if not done:
            raise TimeoutError
        return future.result()

    @property
    def busy(self) -> bool:
        return self._stuck is not None and not self._stuck.done()

    def close(self) -> None:
        """Take nothing more; what is under way ends by itself, or with the process."""
        self._closed = True
        self._queue.put(None)

    def _serve(self) -> None:
        while (work := self._queue.get()) is not None:
            work()


def _settle(loop: asyncio.AbstractEventLoop, future: asyncio.Future[T], work: Callable[[], T]) -> None:
    """Runs in the thread."""
    try:
        value = work()
    except BaseException as error:  # noqa: BLE001  # whatever it is, the caller has to hear of it
        _tell(loop, future, error, None)
    else:
        _tell(loop, future, None, value)


def _tell(loop: asyncio.AbstractEventLoop, future: asyncio.Future[T], error: BaseException | None, value: Any) -> None:
    def settle() -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
            future.exception()  # nobody may be waiting any more
        else:
            future.set_result(value)

    try:
        loop.call_soon_threadsafe(settle)
    except RuntimeError:  # the loop is closed, so nobody waits any more
        return
