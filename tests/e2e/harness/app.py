"""A plain HTTP application behind a sidecar."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sds.demo.ports import LOOPBACK


@asynccontextmanager
async def app(port: int, body: bytes = b"hello from the app\n") -> AsyncIterator[None]:
    """Answers 200 to every request while the block runs; one request a connection."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, LOOPBACK, port):
        yield
