"""What this process and its workers say to each other: bounded frames of plain values over a socket pair.

Both ends are this program and share an interpreter, so `marshal` will do, which knows no classes and calls nothing.
What is said once, the CA's limits and an authority, is pickled by the parent and read by the worker, never the other
way.
"""

from __future__ import annotations

import marshal
import socket
import struct
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from ca import errors
from ca.errors import CaError

MAX_FRAME = 64 * 1024 * 1024
_LENGTH = struct.Struct("!I")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_ERRORS = {
    kind.__name__: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, CaError)
}

Frame = tuple[Any, ...]
"""A word that says what it is, and values of the types that `marshal` knows."""


class FrameError(OSError):
    """The other end is gone, or says what it never would."""


def send(connection: socket.socket, frame: Frame) -> None:
    """Raises OSError."""
    body = marshal.dumps(frame)
    if len(body) > MAX_FRAME:
        raise FrameError("a frame is too long")
    connection.sendall(_LENGTH.pack(len(body)) + body)


def receive(connection: socket.socket) -> Frame:
    """The next frame. Raises OSError; FrameError when the other end is closed."""
    (length,) = _LENGTH.unpack(_exactly(connection, _LENGTH.size))
    if length > MAX_FRAME:
        raise FrameError("a frame is too long")
    try:
        frame = marshal.loads(_exactly(connection, length))  # noqa: S302 - from this very program
    except (ValueError, TypeError, EOFError) as error:
        raise FrameError("a frame cannot be read") from error
    if not isinstance(frame, tuple) or not frame or not isinstance(frame[0], str):
        raise FrameError("a frame is not one of ours")
    return frame


def from_moment(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def to_moment(micros: int) -> datetime:
    return _EPOCH + micros * _MICROSECOND


def from_span(span: timedelta | None) -> int | None:
    return None if span is None else span // _MICROSECOND


def to_span(micros: int | None) -> timedelta | None:
    return None if micros is None else micros * _MICROSECOND


def from_error(error: CaError) -> tuple[str, str]:
    return type(error).__name__, str(error)


def to_error(name: str, message: str) -> CaError:
    """An error of ca.errors again; the base class for a name that is none."""
    return _ERRORS.get(name, CaError)(message)


def read_only(values: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    """A view of a mapping, as it is pickled by name."""
    return MappingProxyType(values)


def _exactly(connection: socket.socket, length: int) -> bytearray:
    data = bytearray(length)
    view = memoryview(data)
    while view:
        read = connection.recv_into(view)
        if not read:
            raise FrameError("the other end is closed")
        view = view[read:]
    return data
