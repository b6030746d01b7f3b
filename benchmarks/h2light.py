"""A featherweight SDS client: just enough HTTP/2 and gRPC (RFC 9113) to hold many sidecars in one process.

A real gRPC client costs more a push than the server under test, and would hide it. This one costs some
microseconds, imports nothing but the standard library (so that it forks small), and speaks only state-of-the-world SDS.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterator
from typing import cast

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
ACK, END_HEADERS, PADDED = 0x1, 0x4, 0x8
TYPE_URL = b"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
STREAM_SECRETS = b"/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One HTTP/2 frame (RFC 9113, section 4.1)."""
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def _literal(name: bytes, value: bytes) -> bytes:
    """A header field never indexed and not Huffman coded (RFC 7541, section 6.2.3)."""
    return b"\x10" + bytes((len(name),)) + name + bytes((len(value),)) + value


_HEADER_BLOCK = b"".join(
    _literal(name, value)
    for name, value in (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", STREAM_SECRETS),
        (b":authority", b"localhost"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
    )
)
_HELLO = (
    PREFACE
    + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 1 << 24))  # SETTINGS_INITIAL_WINDOW_SIZE
    + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 30))
)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number: int, value: bytes) -> bytes:
    return bytes((number << 3 | 2,)) + _varint(len(value)) + value


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """The length-delimited fields of a protobuf message, which is all that a DiscoveryResponse of ours has."""
    at = 0
    while at < len(message):
        tag = message[at]
        at += 1
        if tag & 7 != 2:
            raise ValueError(f"unexpected wire type in tag {tag:#x}")
        size = shift = 0
        while True:
            byte = message[at]
            at += 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        yield tag >> 3, message[at : at + size]
        at += size


def request(name: bytes, version: bytes = b"", nonce: bytes = b"") -> bytes:
    """A length-prefixed DiscoveryRequest for one secret; with a nonce it is the ACK of that response."""
    message = (_field(1, version) if version else b"") + _field(3, name) + _field(4, TYPE_URL)
    if nonce:
        message += _field(5, nonce)
    return struct.pack(">BI", 0, len(message)) + message


class Sidecar(asyncio.Protocol):
    """One connection with one SDS stream for each of `names`. Calls `received(name, version)` for each secret.

    `failed(reason)` is called when the connection or a stream ends before `close()`.
    """

    __slots__ = ("_buffer", "_closing", "_failed", "_names", "_received", "_streams", "_transport")

    def __init__(
        self, names: tuple[bytes, ...], received: Callable[[bytes, bytes], None], failed: Callable[[str], None]
    ) -> None:
        self._names = names
        self._received = received
        self._failed = failed
        self._buffer = b""
        self._streams: dict[int, bytes] = {}  # an incomplete gRPC message of each stream
        self._transport: asyncio.WriteTransport | None = None
        self._closing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not inherit from asyncio's
        self._transport = cast(asyncio.WriteTransport, transport)
        out = [_HELLO]
        for index, name in enumerate(self._names):
            stream = 2 * index + 1
            self._streams[stream] = b""
            out += (frame(HEADERS, END_HEADERS, stream, _HEADER_BLOCK), frame(DATA, 0, stream, request(name)))
        self._transport.write(b"".join(out))

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        at = 0
        while len(buffer) - at >= 9:
            size = int.from_bytes(buffer[at : at + 3], "big")
            if len(buffer) - at - 9 < size:
                break
            kind, flags = buffer[at + 3], buffer[at + 4]
            stream = int.from_bytes(buffer[at + 5 : at + 9], "big")
            self._frame(kind, flags, stream, buffer[at + 9 : at + 9 + size])
            at += 9 + size
        self._buffer = buffer[at:]

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        assert self._transport is not None
        if kind == DATA:
            if flags & PADDED:
                payload = payload[1 : len(payload) - payload[0]]
            self._message(stream, payload)
        elif kind == SETTINGS and not flags & ACK:
            self._transport.write(frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self._transport.write(frame(PING, ACK, 0, payload))
        elif kind == GOAWAY:
            self._fail("GOAWAY")
        elif kind == RST_STREAM or (kind == HEADERS and flags & 0x1):
            self._fail("stream ended by the server")

    def _message(self, stream: int, payload: bytes) -> None:
        pending = self._streams[stream] + payload
        while len(pending) >= 5:
            size = int.from_bytes(pending[1:5], "big")
            if len(pending) - 5 < size:
                break
            self._answer(stream, pending[5 : 5 + size])
            pending = pending[5 + size :]
        self._streams[stream] = pending

    def _answer(self, stream: int, message: bytes) -> None:
        assert self._transport is not None
        version = nonce = b""
        for number, value in _fields(message):
            if number == 1:
                version = value
            elif number == 5:
                nonce = value
        name = self._names[stream // 2]
        self._received(name, version)
        self._transport.write(frame(DATA, 0, stream, request(name, version, nonce)))

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"connection lost: {exc or 'end of stream'}")

    def _fail(self, reason: str) -> None:
        if not self._closing:
            self._closing = True
            self._failed(reason)

    def close(self) -> None:
        """End the connection; nothing is reported any more."""
        self._closing = True
        if self._transport is not None:
            self._transport.close()
