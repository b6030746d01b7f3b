"""Real TLS servers that answer what a test says, and how one is asked."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.authority import SigningAuthority
from ca.bundle import TrustBundle, make_bundle
from ca.profile import ProfileName
from sds.http.tls import server_context
from sds.server.federation.errors import PollFailed
from sds.store.federations import BundleSource, EndpointProfile
from tests.contract.public.pki import LOOPBACK
from tests.fakes.ca import Holder, make_svid

OTHER = TrustDomain("other.example")
SERVER = SpiffeId(OTHER, "/sds/server")
NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)
Answer = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]


def respond(body: bytes = b"", status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", "connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Server:
    """Says what a test wants over TLS; remembers the requests."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self.answers: dict[str, Answer] = {}
        self.requests: list[bytes] = []
        self._tls = tls
        self.port = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(request)
            answer = self.answers.get(request.split(b" ")[1].decode(), respond(b"", "404 Not Found"))
            if isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
            else:
                await answer(writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Server]:
        async with await asyncio.start_server(self._serve, LOOPBACK, 0, ssl=self._tls) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield self

    def url(self, path: str = "/") -> str:
        return f"https://{LOOPBACK}:{self.port}{path}"


def svid_tls(holder: Holder) -> ssl.SSLContext:
    return server_context(holder.chain_pem, holder.key_pem)


def server_svid(authority: SigningAuthority, spiffe_id: str = str(SERVER), **more: object) -> Holder:
    return make_svid(spiffe_id, authority, profile=ProfileName.SERVER, now=NOW, **more)


def bundle_of(*authorities: SigningAuthority, sequence: int = 5) -> TrustBundle:
    return make_bundle(OTHER, [each.authority.certificate for each in authorities], sequence, timedelta(seconds=77))


def by_web(server: Server, path: str = "/") -> BundleSource:
    return BundleSource(EndpointProfile.HTTPS_WEB, server.url(path))


def by_spiffe(server: Server, endpoint_id: SpiffeId = SERVER) -> BundleSource:
    return BundleSource(EndpointProfile.HTTPS_SPIFFE, server.url(), endpoint_id)


async def refused(fetch: Awaitable[TrustBundle], kind: type[PollFailed], words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        await fetch
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


def document(**changes: object) -> bytes:
    return json.dumps({"keys": [], "spiffe_sequence": 1, **changes}).encode()
