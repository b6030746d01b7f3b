"""A sink that is standard output: one JSON object a line. Whoever does not read it stalls the sink and nothing else."""

from __future__ import annotations

import os
import select
import socket
import stat
from collections.abc import Callable, Sequence

from sds.audit.sinks.items import Item, line
from sds.server.audit_sinks.outlet import SinkFailed

_PIECE = 64 * 1024


class StdoutWriter:
    """Implements Writer over a descriptor, which is never made non-blocking itself: others share that with us."""

    def __init__(self, monotonic: Callable[[], float], fd: int = 1) -> None:
        self._monotonic = monotonic
        self._number = fd
        self._fd = -1
        self._own = False
        self._socket: socket.socket | None = None
        self._rest = b""  # of a line that was begun: it is ended before anything else is said

    def write(self, items: Sequence[Item], seconds: float) -> None:
        until = self._monotonic() + seconds
        if self._rest:
            self._write(self._rest, until, begun=True)
        for item in items:
            self._write(line(item) + b"\n", until, begun=False)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        elif self._own:
            os.close(self._fd)
        self._fd, self._own, self._socket = -1, False, None

    def _write(self, content: bytes, until: float, *, begun: bool) -> None:
        """`begun`: a part of the line is out already."""
        self._rest = content if begun else b""
        fd = self._open()
        poll = select.poll()
        poll.register(fd, select.POLLOUT)
        while content:
            left = until - self._monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                raise SinkFailed("nobody reads standard output")
            try:
                content = content[self._send(content[:_PIECE]) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise SinkFailed(f"standard output cannot be written: {error.strerror}") from None
            self._rest = content

    def _send(self, content: bytes) -> int:
        if self._socket is not None:
            return self._socket.send(content, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        return os.write(self._fd, content)

    def _open(self) -> int:
        """A description of our own, which does not block, where the kind allows it."""
        if self._fd >= 0:
            return self._fd
        mode = os.fstat(self._number).st_mode
        if stat.S_ISSOCK(mode):
            self._socket = socket.socket(fileno=os.dup(self._number))
            self._fd = self._socket.fileno()
        elif stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
            try:
                self._fd = os.open(f"/proc/self/fd/{self._number}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
                self._own = True
            except OSError:  # a pipe or terminal of another user: a blocked write then holds this thread alone
                self._fd = self._number
        else:
            self._fd = self._number  # a file: opened anew it would be written from its start
        return self._fd
