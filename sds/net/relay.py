"""The relay between a public listener and grpcio's own socket.

grpcio tells a handler nothing about a Unix socket's peer and cannot limit who connects. So we accept, learn who it is,
admit or refuse, and pass bytes to the backend from a client socket with a name of its own. `context.peer()` then names
the connection. The backend lies in a 0700 folder, so nobody else can come to it under any name.

The names are abstract ones (unix(7)) that hold a random part, so nobody can take one before us. Paths would do as well,
but each is an inode made and removed: hundreds of microseconds on a busy disk, and impossible on a full one.
"""

from __future__ import annotations

import asyncio
import errno
import secrets
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar
from urllib.parse import unquote

from sds.clock import Clock
from sds.net.errors import PeerUnknown
from sds.net.pump import RECEIVE_BYTES, Pump
from sds.net.seams import Admission, Peers, RelayObserver

ACCEPTS_PER_TURN = 64
"""How many connections one turn of the loop accepts, so that a flood leaves time for those who are served."""
_ACCEPT_BACKOFF = (0.05, 2.0)  # seconds: first and longest pause when we are out of descriptors
_CONNECT_PATIENCE = 10.0  # seconds that a connection waits for room in the backend's queue
_CONNECT_RETRY = 0.01
_SCHEME = "unix-abstract:"
"""How grpcio writes the name of such a peer."""
_NOT_OURS = frozenset({errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.ETIMEDOUT, errno.ECONNRESET})

__all__ = ["NO_CREDENTIALS", "Admission", "Connection", "Peers", "Relay", "RelayObserver", "RelayOptions"]

NO_CREDENTIALS = "no_credentials"
"""Why a caller was refused of whom the kernel told nothing, because it was gone or not visible."""

PeerT = TypeVar("PeerT")


@dataclass(frozen=True, slots=True)
class RelayOptions:
    """`linger_seconds`: how long a client may stay after the backend has closed."""

    linger_seconds: float = 10.0


class Connection(Generic[PeerT]):
    """One admitted connection, from accept to close."""

    __slots__ = ("_on_close", "_relay", "closed", "id", "name", "opened_at", "peer", "pump")

    def __init__(self, relay: Relay[PeerT], number: int, name: str, peer: PeerT, opened_at: float) -> None:
        self._relay = relay
        self._on_close: list[Callable[[], None]] = []
        self.id = number
        self.name = name  # of our end towards the backend, an abstract one (unix(7))
        self.peer = peer
        self.opened_at = opened_at  # monotonic seconds
        self.closed = False
        self.pump: Pump | None = None  # None while the backend is being reached

    def on_close(self, callback: Callable[[], None]) -> None:
        """Have `callback` called once when the connection ends; at once if it has."""
        if self.closed:
            callback()
        else:
            self._on_close.append(callback)

    def close(self, reason: str) -> None:
        """Cut it now, both ways."""
        self._relay.end(self, reason)

    def peer_gone(self) -> None:
        self._relay.end(self, "peer exited")

    def pump_finished(self, error: OSError | None) -> None:
        self._relay.end(self, "closed" if error is None else (error.strerror or "broken"))

    def notify_closed(self) -> None:
        """Called by the relay, once."""
        callbacks, self._on_close = self._on_close, []
        for callback in callbacks:
            callback()


class Relay(Generic[PeerT]):
    """Admits connections from one listening socket and relays them to the Unix socket `backend` in a 0700 folder.

    Everything happens on the loop's thread.
    """

    def __init__(
        self,
        listening: socket.socket,
        backend: Path,
        *,
        peers: Peers[PeerT],
        admission: Admission[PeerT],
        observer: RelayObserver[PeerT],
        clock: Clock,
        options: RelayOptions = RelayOptions(),
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listening = listening
        self._backend = str(backend)
        self._prefix = f"sds-{secrets.token_hex(4)}-"
        self._peers = peers
        self._admission = admission
        self._observer = observer
        self._clock = clock
        self._options = options
        self._buffer = memoryview(bytearray(RECEIVE_BYTES))
        self._connections: dict[int, Connection[PeerT]] = {}
        self._next = 0
        self._accepting = False
        self._pause = _ACCEPT_BACKOFF[0]
        self._resume: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to accept."""
        self._accepting = True
        self._loop.add_reader(self._listening.fileno(), self._acceptable)

    def stop_accepting(self) -> None:
        """Close the listening socket; connections live on."""
        if self._accepting:
            self._accepting = False
            self._loop.remove_reader(self._listening.fileno())
        if self._resume is not None:
            self._resume.cancel()
            self._resume = None
        self._listening.close()

    def close(self) -> None:
        """Stop accepting and cut every connection."""
        self.stop_accepting()
        self.close_where(lambda _: True, "shutting down")

    def lookup(self, peer: str) -> Connection[PeerT] | None:
        """The live connection that `context.peer()` names, e.g. ``unix-abstract:sds-1f2e3d4c-17-...``; else None."""
        name = unquote(peer.removeprefix(_SCHEME))
        number = name.removeprefix(self._prefix).partition("-")[0]
        if not peer.startswith(_SCHEME) or not (number.isascii() and number.isdigit() and len(number) < 20):
            return None
        connection = self._connections.get(int(number))
        return connection if connection is not None and connection.name == name else None

    def close_where(self, predicate: Callable[[Connection[PeerT]], bool], reason: str) -> int:
        """Cut every connection for which `predicate` holds; how many that were."""
        chosen = [connection for connection in self._connections.values() if predicate(connection)]
        for connection in chosen:
            self.end(connection, reason)
        return len(chosen)

    def __len__(self) -> int:
        return len(self._connections)

    def __iter__(self) -> Iterator[Connection[PeerT]]:
        return iter(tuple(self._connections.values()))

    def end(self, connection: Connection[PeerT], reason: str) -> None:
        """End one connection; the first reason counts."""
        if connection.closed:
            return
        connection.closed = True
        del self._connections[connection.id]
        if connection.pump is not None:
            connection.pump.close()
        self._peers.unwatch(connection.peer, connection.peer_gone)
        self._admission.release(connection.peer)
        self._observer.closed(connection.peer, reason)
        self._peers.release(connection.peer)
        connection.notify_closed()

    def _acceptable(self) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            if not self._accepting:
                return
            try:
                client, _address = self._listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _NOT_OURS:  # that client went away while it waited (accept(2))
                    continue
                self._pause_accepting(error)
                return
            try:
                self._accepted(client)
            except OSError as error:
                client.close()
                self._pause_accepting(error)
                return
            self._pause = _ACCEPT_BACKOFF[0]

    def _pause_accepting(self, error: OSError) -> None:
        """Out of descriptors or memory: wait for some to come free instead of spinning (accept(2), EMFILE)."""
        self._loop.remove_reader(self._listening.fileno())
        self._observer.accept_failed(error.strerror or str(error))
        self._resume = self._loop.call_later(self._pause, self._resume_accepting)
        self._pause = min(self._pause * 2, _ACCEPT_BACKOFF[1])

    def _resume_accepting(self) -> None:
        self._resume = None
        if self._accepting:
            self._loop.add_reader(self._listening.fileno(), self._acceptable)

    def _accepted(self, client: socket.socket) -> None:
        client.setblocking(False)
        try:
            peer = self._peers.acquire(client)
        except PeerUnknown:
            self._observer.refused(None, NO_CREDENTIALS)
            client.close()
            return
        refusal = self._admission.admit(peer)
        if refusal is not None:
            self._observer.refused(peer, refusal)
            self._peers.release(peer)
            client.close()
            return
        self._next += 1
        name = f"{self._prefix}{self._next}-{secrets.token_hex(8)}"
        connection = Connection(self, self._next, name, peer, self._clock.monotonic())
        self._connections[connection.id] = connection
        self._observer.opened(peer)
        self._peers.watch(peer, connection.peer_gone)
        self._reach_backend(connection, client)

    def _reach_backend(self, connection: Connection[PeerT], client: socket.socket) -> None:
        """Connect under the connection's name. Raises OSError when we are out of descriptors."""
        try:
            backend = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError:
            self.end(connection, "out of descriptors")
            raise
        try:
            backend.setblocking(False)
            backend.bind(f"\0{connection.name}")
        except OSError as error:
            backend.close()
            client.close()
            self._backend_failed(connection, error)
            return
        self._connect(connection, client, backend, self._clock.monotonic() + _CONNECT_PATIENCE)

    def _connect(
        self, connection: Connection[PeerT], client: socket.socket, backend: socket.socket, deadline: float
    ) -> None:
        """Connect, or try again a little later while the backend's queue is full (connect(2), EAGAIN)."""
        problem: OSError | None = None
        if not connection.closed:
            try:
                backend.connect(self._backend)
            except BlockingIOError as error:
                if self._clock.monotonic() < deadline:
                    self._loop.call_later(_CONNECT_RETRY, self._connect, connection, client, backend, deadline)
                    return
                problem = error
            except OSError as error:
                problem = error
        if connection.closed or problem is not None:
            backend.close()
            client.close()
            if problem is not None:
                self._backend_failed(connection, problem)
            return
        connection.pump = Pump(
            self._loop,
            client,
            backend,
            self._buffer,
            connection.pump_finished,
            self._options.linger_seconds,
        )
        connection.pump.start()

    def _backend_failed(self, connection: Connection[PeerT], error: OSError) -> None:
        self.end(connection, f"backend unreachable: {error.strerror}")
