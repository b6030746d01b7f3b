"""A sink that is a syslog receiver: a Unix datagram socket, UDP, TCP or TLS.

Syslog has no acknowledgement. Over TCP and TLS a batch counts as delivered when the receiver's host has acknowledged
every byte of it, and the connection is not being closed; what a receiver then loses is lost. UDP may lose anything.
"""

from __future__ import annotations

import array
import errno
import fcntl
import select
import socket
import ssl
import termios
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from sds.audit.sinks.items import Item
from sds.audit.sinks.syslog import SyslogFormat, framed, message
from sds.server.audit_sinks.outlet import SinkFailed

_LOOK = 0.01  # seconds between two looks at what is not acknowledged yet
_PIECE = 64 * 1024


@dataclass(frozen=True, slots=True)
class SyslogPlace:
    """Where the receiver is: at `path` for ``unix``, at `host` and `port` for the others. `tls` for ``tls`` alone."""

    transport: Literal["unix", "udp", "tcp", "tls"]
    path: Path | None = None
    host: str = ""
    port: int = 0
    tls: ssl.SSLContext | None = None
    server_name: str = ""


class SyslogWriter:
    """Implements Writer."""

    def __init__(
        self, place: SyslogPlace, form: SyslogFormat, now: Callable[[], datetime], monotonic: Callable[[], float]
    ) -> None:
        self._place = place
        self._form = form
        self._now = now
        self._monotonic = monotonic
        self._socket: socket.socket | None = None

    def write(self, items: Sequence[Item], seconds: float) -> None:
        until = self._monotonic() + seconds
        try:
            out = self._connected(until)
            messages = [message(item, self._form, self._now()) for item in items]
            if self._place.transport in {"unix", "udp"}:
                for one in messages:
                    out.settimeout(self._left(until))
                    out.send(one)
            else:
                self._stream(out, b"".join(map(framed, messages)), until)
        except SinkFailed:
            self.close()
            raise
        except TimeoutError:
            self.close()
            raise SinkFailed("the receiver took nothing in time") from None
        except OSError as error:
            self.close()
            raise SinkFailed(_reason(error)) from None

    def close(self) -> None:
        """A connection on which something failed is of no use: nobody knows what of the last message has arrived."""
        out, self._socket = self._socket, None
        if out is not None:
            out.close()

    def _left(self, until: float) -> float:
        """Raises SinkFailed when there is nothing left."""
        left = until - self._monotonic()
        if left <= 0:
            raise SinkFailed("the receiver took nothing in time")
        return left

    def _connected(self, until: float) -> socket.socket:
        if self._socket is not None and not self._hung_up(self._socket):
            return self._socket
        self.close()
        place = self._place
        if place.transport == "unix":
            out = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            try:
                out.settimeout(self._left(until))
                out.connect(str(place.path))
            except BaseException:
                out.close()
                raise
        elif place.transport == "udp":
            out = self._datagrams(until)
        else:
            out = self._tls(socket.create_connection((place.host, place.port), self._left(until)), until)
        self._socket = out
        return out

    def _datagrams(self, until: float) -> socket.socket:
        family, kind, protocol, _, address = socket.getaddrinfo(
            self._place.host, self._place.port, type=socket.SOCK_DGRAM
        )[0]
        out = socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol)
        try:
            out.settimeout(self._left(until))
            out.connect(address)
        except BaseException:
            out.close()
            raise
        return out

    def _tls(self, plain: socket.socket, until: float) -> socket.socket:
        if self._place.tls is None:
            return plain
        try:
            plain.settimeout(self._left(until))
            return self._place.tls.wrap_socket(plain, server_hostname=self._place.server_name)
        except BaseException:
            plain.close()
            raise

    def _stream(self, out: socket.socket, content: bytes, until: float) -> None:
        rest = memoryview(content)
        while rest:
            out.settimeout(self._left(until))
            rest = rest[out.send(rest[:_PIECE]) :]
        poll = select.poll()
        while _unacknowledged(out):
            self._left(until)
            poll.poll(_LOOK * 1000)
        if self._hung_up(out):
            raise SinkFailed("the receiver closed the connection")

    def _hung_up(self, out: socket.socket) -> bool:
        """Whether the other side has closed: it says nothing else to us, so anything to be read is the end."""
        if self._place.transport in {"unix", "udp"}:
            return False
        poll = select.poll()
        poll.register(out, select.POLLIN | select.POLLRDHUP)
        for _, events in poll.poll(0):
            if events & (select.POLLRDHUP | select.POLLHUP | select.POLLERR):
                return True
            out.settimeout(0)
            try:
                return out.recv(_PIECE) == b""  # TLS 1.3 sends session tickets
            except (ssl.SSLWantReadError, BlockingIOError):
                return False
            except OSError:
                return True
        return False


def _unacknowledged(out: socket.socket) -> int:
    """Bytes that the other host's TCP has not acknowledged (tcp(7), SIOCOUTQ, which is TIOCOUTQ)."""
    count = array.array("i", [0])
    fcntl.ioctl(out.fileno(), termios.TIOCOUTQ, count)
    return count[0]


def _reason(error: OSError) -> str:
    """What went wrong, without anything of the other side's."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the receiver's certificate does not verify: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or 'unknown'}"
    if isinstance(error, socket.gaierror):
        return "the receiver's name cannot be resolved"
    if error.errno == errno.EMSGSIZE:
        return "a message is larger than one datagram may be: lower max_bytes"
    return f"the receiver cannot be reached: {error.strerror or type(error).__name__}"
