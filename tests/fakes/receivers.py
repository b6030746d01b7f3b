"""Receivers of the audit log, as small servers: syslog by RFC 5424 and 6587, and HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

_MESSAGE = re.compile(
    rb"<(?P<priority>\d{1,3})>1 (?P<time>\S+) (?P<host>\S+) sds - (?P<id>\S+) "
    rb'\[(?P<name>[^ \]]+)(?P<params>(?: [a-z_]+="(?:[^"\\\]]|\\["\\\]])*")*)\](?: \xef\xbb\xbf(?P<text>.*))?',
    re.DOTALL,
)
_PARAM = re.compile(rb' ([a-z_]+)="((?:[^"\\\]]|\\["\\\]])*)"')


@dataclass(frozen=True)
class SyslogMessage:
    id: str
    params: dict[str, str]
    text: bytes | None


def parse_message(raw: bytes) -> SyslogMessage:
    """Raises ValueError."""
    found = _MESSAGE.fullmatch(raw)
    if found is None:
        raise ValueError(f"not RFC 5424: {raw[:200]!r}")
    params = {
        name.decode(): re.sub(rb"\\(.)", rb"\1", value).decode() for name, value in _PARAM.findall(found["params"])
    }
    return SyslogMessage(found["id"].decode(), params, found["text"])


@dataclass
class SyslogReceiver:
    """`reading` cleared: connections are accepted, and nothing is ever read from them."""

    messages: list[SyslogMessage] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    reading: threading.Event = field(default_factory=threading.Event)
    connections: list[socket.socket] = field(default_factory=list)
    port: int = 0
    tls: ssl.SSLContext | None = None
    stopped: bool = False

    def leaves(self) -> list[int]:
        return [int(message.params["leaf"]) for message in list(self.messages) if "leaf" in message.params]

    def hang_up(self) -> None:
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self.connections.clear()

    def serve_stream(self, listening: socket.socket) -> None:
        while not self.stopped:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self._connection, args=(connection,), daemon=True).start()

    def _connection(self, plain: socket.socket) -> None:
        try:
            while not self.reading.wait(0.05):
                if self.stopped:
                    return
            stream = plain if self.tls is None else self.tls.wrap_socket(plain, server_side=True)
            with stream, stream.makefile("rb") as lines:
                while length := _length(lines):
                    self.messages.append(parse_message(lines.read(length)))
        except (OSError, ValueError) as error:
            self.errors.append(str(error))

    def serve_datagrams(self, bound: socket.socket) -> None:
        while not self.stopped:
            try:
                raw = bound.recv(1 << 20)
            except OSError:
                return
            if not raw:
                return  # shut down
            self.messages.append(parse_message(raw))


def _length(lines) -> int:
    digits = b""
    while (one := lines.read(1)) not in {b" ", b""}:
        digits += one
    return int(digits) if digits else 0


@contextmanager
def syslog_receiver(
    transport: str = "tcp", path: str = "", tls: ssl.SSLContext | None = None, port: int = 0
) -> Iterator[SyslogReceiver]:
    receiver = SyslogReceiver(tls=tls)
    receiver.reading.set()
    if transport in {"tcp", "tls"}:
        bound = socket.create_server(("127.0.0.1", port))
        serve: Callable[[socket.socket], None] = receiver.serve_stream
    else:
        bound = socket.socket(socket.AF_UNIX if transport == "unix" else socket.AF_INET, socket.SOCK_DGRAM)
        bound.bind(path if transport == "unix" else ("127.0.0.1", port))
        serve = receiver.serve_datagrams
    if transport != "unix":
        receiver.port = bound.getsockname()[1]
    thread = threading.Thread(target=serve, args=(bound,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.stopped = True
        with contextlib.suppress(OSError):
            bound.shutdown(socket.SHUT_RDWR)
        bound.close()
        receiver.hang_up()


@dataclass
class HttpReceiver:
    """`status` is what it answers; 0 is nothing, ever. `most`: longer bodies are answered 413."""

    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    status: int = 200
    answer: bytes = b""
    most: int = 1 << 30
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/in"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self._request(reader, writer):
                continue
        writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").rstrip().split("\r\n")
        assert first == "POST /in HTTP/1.1"
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers["content-length"]))
        if not self.status:
            await asyncio.Event().wait()
        status = 413 if len(body) > self.most else self.status
        if status == 200:
            self.requests.append((headers, body))
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(self.answer), self.answer))
        await writer.drain()
        return True


@asynccontextmanager
async def http_receiver(port: int = 0) -> AsyncIterator[HttpReceiver]:
    receiver = HttpReceiver()
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            await receiver.serve(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            serving.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in list(serving):
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
