"""What the relay asks of those who name its peers, admit them and watch it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Protocol, TypeVar

PeerT = TypeVar("PeerT")
PeerT_contra = TypeVar("PeerT_contra", contravariant=True)


class Peers(Protocol[PeerT]):
    """Who is at the other end of an accepted socket."""

    def acquire(self, sock: socket.socket) -> PeerT:
        """Raises PeerUnknown, or OSError when we are out of descriptors."""
        ...

    def release(self, peer: PeerT) -> None: ...

    def watch(self, peer: PeerT, gone: Callable[[], None]) -> None:
        """Have `gone` called when `peer` ceased to exist, where that can be known."""
        ...

    def unwatch(self, peer: PeerT, gone: Callable[[], None]) -> None: ...


class Admission(Protocol[PeerT_contra]):
    """Decides about each connection before a byte is read from it."""

    def admit(self, peer: PeerT_contra) -> str | None:
        """None to admit; else one constant word that can label a metric."""
        ...

    def release(self, peer: PeerT_contra) -> None:
        """An admitted connection has ended."""
        ...


class RelayObserver(Protocol[PeerT_contra]):
    """Is told what happens; must return at once and raise nothing."""

    def opened(self, peer: PeerT_contra) -> None: ...

    def refused(self, peer: PeerT_contra | None, reason: str) -> None: ...

    def closed(self, peer: PeerT_contra, reason: str) -> None: ...

    def accept_failed(self, problem: str) -> None:
        """We cannot accept now (out of descriptors or memory) and pause; called once for each pause."""
        ...
