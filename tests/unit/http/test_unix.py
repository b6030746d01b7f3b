from __future__ import annotations

import asyncio
import os
import shutil
import signal
import stat
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from sds.http.protocol import HttpLimits, Peer
from sds.http.unix import HttpServer, serve_tcp, serve_unix
from sds.net.errors import AddressUnusable


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="h-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


async def who(request: Request) -> Response:
    peer: Peer | None = getattr(request.state, "peer", None)
    return JSONResponse(None if peer is None else {"pid": peer.pid, "uid": peer.uid, "gid": peer.gid})


async def echo(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


async def hang(_request: Request) -> Response:
    await asyncio.Event().wait()
    raise AssertionError


APP = Starlette(
    routes=[Route("/who", who), Route("/echo", echo, methods=["POST"]), Route("/hang", hang)],
)


@asynccontextmanager
async def serving(server: HttpServer) -> AsyncIterator[None]:
    await server.start()
    try:
        yield
    finally:
        await server.stop()


def client(path: Path) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(path)), base_url="http://sds")


async def raw(path: Path, data: bytes) -> bytes:
    """Everything the server answers to `data` until it closes."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(data)
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    return answer


async def scenario_who(folder: Path) -> None:
    async with serving(serve_unix(APP, folder / "s")), client(folder / "s") as http:
        expected = {"pid": os.getpid(), "uid": os.getuid(), "gid": os.getgid()}
        for _ in range(2):
            assert (await http.get("/who")).json() == expected
    assert not (folder / "s").exists()


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_the_peer_is_the_kernels_word(folder: Path, runner: Callable[[Awaitable[None]], None]) -> None:
    runner(scenario_who(folder))


async def test_a_header_cannot_claim_to_be_somebody(folder: Path) -> None:
    async with serving(serve_unix(APP, folder / "s")), client(folder / "s") as http:
        claimed = {"X-Forwarded-For": "1.2.3.4", "peer": "0", "X-Peer-Uid": "0"}
        assert (await http.get("/who", headers=claimed)).json()["pid"] == os.getpid()


async def test_the_socket_is_ours_alone_and_a_live_one_is_respected(folder: Path) -> None:
    async with serving(serve_unix(APP, folder / "s")):
        assert stat.S_IMODE((folder / "s").stat().st_mode) == 0o600
        with pytest.raises(AddressUnusable, match="in use by a running process"):
            serve_unix(APP, folder / "s")


async def test_tcp_has_no_peer() -> None:
    server = serve_tcp(APP, "127.0.0.1", 0)
    async with serving(server), httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as http:
        assert (await http.get("/who")).json() is None


async def test_signal_handlers_are_left_alone(folder: Path) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    async with serving(serve_unix(APP, folder / "s")):
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


LIMITS = HttpLimits(header_bytes=2000, body_bytes=100_000, concurrency=3, request_seconds=0.2, keep_alive_seconds=5)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /who HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 3000 + b"\r\n\r\n", b"431"),
        (b"GET /who HTTP/1.1\r\nHost: x\r\n" + b"".join(b"A%d: b\r\n" % n for n in range(500)) + b"\r\n", b"431"),
        (b"GET /who?" + b"q" * 3000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"431"),
        (b"GET /who HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 5000, b"431"),
        (b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100001\r\n\r\n" + b"b" * 100_001, b"413"),
        (b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"ffff\r\n" + b"b" * 65535 + b"\r\n"
         + b"ffff\r\n" + b"b" * 65535 + b"\r\n0\r\n\r\n", b"413"),
        (b"GET /who HTTP/1.1\r\nHost: x\r\n", b"408"),
        (b"", b"408"),
        (b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc", b"408"),
        (b"rubbish\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"400"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"400"),
        ("GET /wé HTTP/1.1\r\nHost: x\r\n\r\n".encode(), b"400"),
        (b"CONNECT example.org:1 HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        (b"GET /who HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
        (b"GET /who HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", b"400"),
    ],
)  # fmt: skip
async def test_hostile_requests_are_answered_and_closed(folder: Path, request_bytes: bytes, status: bytes) -> None:
    async with serving(serve_unix(APP, folder / "s", limits=LIMITS)), client(folder / "s") as http:
        answer = await raw(folder / "s", request_bytes)
        assert answer.startswith(b"HTTP/1.1 " + status), answer[:200]
        assert (await http.get("/who")).status_code == 200


async def test_requests_within_the_limits_pass_one_after_another(folder: Path) -> None:
    async with serving(serve_unix(APP, folder / "s", limits=LIMITS)), client(folder / "s") as http:
        for _ in range(5):
            assert (await http.post("/echo", content=b"b" * 100_000)).text == "100000"
            assert (await http.get("/who", headers={"A": "a" * 1500})).status_code == 200


async def test_pipelined_requests_each_have_their_own_limits(folder: Path) -> None:
    one = b"GET /who HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 1500 + b"\r\n\r\n"
    last = b"GET /who HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    async with serving(serve_unix(APP, folder / "s", limits=LIMITS)):
        answer = await raw(folder / "s", one * 6 + last)
    assert answer.count(b"HTTP/1.1 200") == 7


async def test_connections_beyond_the_cap_are_closed(folder: Path) -> None:
    async with serving(serve_unix(APP, folder / "s", limits=HttpLimits(concurrency=2))):
        held = [await asyncio.open_unix_connection(str(folder / "s")) for _ in range(2)]
        for _, writer in held:
            writer.write(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
        reader, writer = await asyncio.open_unix_connection(str(folder / "s"))
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        for _, other in [*held, (reader, writer)]:
            other.close()
            await other.wait_closed()
        async with asyncio.timeout(10), client(folder / "s") as http:
            while True:
                try:
                    assert (await http.get("/who")).status_code == 200
                    break
                except httpx.TransportError:
                    await asyncio.sleep(0)


async def test_a_request_that_hangs_is_cut_at_the_end(folder: Path) -> None:
    server = serve_unix(APP, folder / "s")
    await server.start()
    async with client(folder / "s") as http:
        hanging = asyncio.create_task(http.get("/hang"))
        await asyncio.sleep(0.05)
        async with asyncio.timeout(10):
            await server.stop(grace_seconds=1)
        with pytest.raises(httpx.TransportError):
            response = await hanging
            raise httpx.ReadError(str(response.status_code))


async def test_stopping_what_never_started_closes_the_socket(folder: Path) -> None:
    server = serve_unix(APP, folder / "s")
    await server.stop()
    assert not (folder / "s").exists()
