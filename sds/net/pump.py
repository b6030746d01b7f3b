"""Bytes both ways between two connected sockets, with at most one buffer's worth waiting each way.

Readiness callbacks on plain descriptors rather than asyncio transports: what the other side takes at once is never
copied and costs two system calls, and a connection costs two small objects instead of two transports with buffers.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

RECEIVE_BYTES = 65536
_ZEROS = memoryview(bytes(RECEIVE_BYTES))


class Flow:
    """One direction: read when the source has bytes, stop reading while the sink is full."""

    __slots__ = ("_buffer", "_loop", "_pending", "_sink", "_source", "_stopped", "_writing", "ended", "owner")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        source: socket.socket,
        sink: socket.socket,
        buffer: memoryview,
        owner: Pump,
    ) -> None:
        self._loop = loop
        self._source = source
        self._sink = sink
        self._buffer = buffer
        self._pending: bytes | memoryview = b""
        self._writing = False
        self._stopped = False
        self.ended = False
        self.owner = owner

    def start(self) -> None:
        self._loop.add_reader(self._source.fileno(), self._readable)

    def stop(self) -> None:
        """Forget both sockets; they may be closed after this."""
        if self._stopped:
            return
        self._stopped = True
        self._pending = b""
        if self._writing:
            self._loop.remove_writer(self._sink.fileno())
        if not self.ended:
            self._loop.remove_reader(self._source.fileno())

    def _readable(self) -> None:
        if self._stopped:  # the loop had queued this call when an earlier one closed us
            return
        try:
            count = self._source.recv_into(self._buffer)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.owner.broken(error)
            return
        if count == 0:
            self.ended = True
            self._loop.remove_reader(self._source.fileno())
            self.owner.flow_ended(self, self._sink)
            return
        try:
            sent = self._sink.send(self._buffer[:count])
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self._buffer[:count] = _ZEROS[:count]
            self.owner.broken(error)
            return
        if sent < count:
            self._pending = bytes(self._buffer[sent:count])
        self._buffer[:count] = _ZEROS[:count]  # keys and secrets pass here and are not to stay
        if sent < count:
            self._loop.remove_reader(self._source.fileno())
            self._loop.add_writer(self._sink.fileno(), self._writable)
            self._writing = True

    def _writable(self) -> None:
        if self._stopped:
            return
        try:
            sent = self._sink.send(self._pending)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.owner.broken(error)
            return
        if sent < len(self._pending):
            self._pending = memoryview(self._pending)[sent:]
            return
        self._pending = b""
        self._loop.remove_writer(self._sink.fileno())
        self._writing = False
        self._loop.add_reader(self._source.fileno(), self._readable)


class Pump:
    """Both directions between a client and a backend, until both have said their last or one breaks.

    Owns the two sockets once started. `finished` is called exactly once, with the error that ended it or None.
    """

    __slots__ = ("_backend", "_client", "_down", "_finished", "_linger", "_linger_seconds", "_loop", "_up")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        client: socket.socket,
        backend: socket.socket,
        buffer: memoryview,
        finished: Callable[[OSError | None], None],
        linger_seconds: float,
    ) -> None:
        self._loop = loop
        self._client = client
        self._backend = backend
        self._finished: Callable[[OSError | None], None] | None = finished
        self._linger_seconds = linger_seconds
        self._linger: asyncio.TimerHandle | None = None
        self._up = Flow(loop, client, backend, buffer, self)
        self._down = Flow(loop, backend, client, buffer, self)

    def start(self) -> None:
        self._up.start()
        self._down.start()

    def close(self) -> None:
        """End both directions now."""
        self._end(None)

    def broken(self, error: OSError) -> None:
        """One socket failed, so the other has nobody to talk to."""
        self._end(error)

    def flow_ended(self, flow: Flow, sink: socket.socket) -> None:
        """One direction said its last, and nothing of it waits; pass that on to `sink`.

        After the backend's last word the client has `linger_seconds` to go too.
        """
        if self._up.ended and self._down.ended:
            self._end(None)
            return
        try:
            sink.shutdown(socket.SHUT_WR)
        except OSError as error:
            self._end(error)
            return
        if flow is self._down:
            self._linger = self._loop.call_later(self._linger_seconds, self._end, None)

    def _end(self, error: OSError | None) -> None:
        finished, self._finished = self._finished, None
        if finished is None:
            return
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        self._up.stop()
        self._down.stop()
        self._client.close()
        self._backend.close()
        finished(error)
