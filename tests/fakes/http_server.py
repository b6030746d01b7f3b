"""An HTTP server that answers whatever a test says, byte for byte: broken, slow and hostile ones too."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

Reply = Callable[[socket.socket, bytes], None]
"""Answers on the connection; gets the request's head and body as they came."""


def answer(
    status: int = 200, body: bytes = b"{}", *, kind: str = "application/json", headers: dict[str, str] | None = None
) -> bytes:
    more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    head = (
        f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{more}\r\n"
    )
    return head.encode("latin-1") + body


@dataclass
class Replying:
    """`requests`: what came, in order. A reply is used once each; the last one goes on."""

    replies: list[bytes | Reply]
    requests: list[bytes] = field(default_factory=list)
    where: str = ""

    def heads(self) -> list[str]:
        """The request lines."""
        return [one.split(b"\r\n", 1)[0].decode() for one in self.requests]

    def header(self, number: int, name: str) -> str | None:
        """A header of the `number`-th request, 0 the first."""
        for line in self.requests[number].split(b"\r\n\r\n", 1)[0].split(b"\r\n")[1:]:
            key, _, value = line.decode("latin-1").partition(":")
            if key.lower() == name.lower():
                return value.strip()
        return None

    def serve(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(30)
            request = _read(connection)
            if not request:  # who only looks whether somebody listens
                return
            self.requests.append(request)
            reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
            if callable(reply):
                reply(connection, request)
            else:
                connection.sendall(reply)


def _read(connection: socket.socket) -> bytes:
    found = b""
    while b"\r\n\r\n" not in found:
        piece = connection.recv(65536)
        if not piece:
            return b""
        found += piece
    head, _, body = found.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    while len(body) < int(lengths[0] if lengths else 0):
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


@contextmanager
def replying(
    *replies: bytes | Reply, path: Path | None = None, tls: ssl.SSLContext | None = None
) -> Generator[Replying]:
    """At a Unix socket, or on the loopback; `where` says which port."""
    server = socket.socket(socket.AF_INET if path is None else socket.AF_UNIX)
    server.bind(("127.0.0.1", 0) if path is None else str(path))
    server.listen(16)
    found = Replying(list(replies), where=str(path or server.getsockname()[1]))
    stopped = threading.Event()

    def accept() -> None:
        while not stopped.is_set():
            try:
                connection, _ = server.accept()
            except OSError:
                return
            try:
                found.serve(connection if tls is None else tls.wrap_socket(connection, server_side=True))
            except OSError:  # the client went away, which some tests want
                connection.close()

    thread = threading.Thread(target=accept, name="replying", daemon=True)
    thread.start()
    try:
        yield found
    finally:
        stopped.set()
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(10)
