"""What bundle endpoints answer: mistaken, hostile, endless or nothing at all."""

from __future__ import annotations

import asyncio
import base64
import gzip

import pytest

from ca.authority import SigningAuthority
from ca.bundle import MAX_BUNDLE_BYTES, MAX_KEYS
from sds.server.federation.errors import BundleRefused, EndpointUnreachable
from sds.server.federation.fetch import BundleFetcher
from sds.store.federations import BundleSource, EndpointProfile
from tests.contract.federation.endpoints import (
    OTHER,
    Server,
    bundle_of,
    by_web,
    document,
    refused,
    respond,
    server_svid,
)
from tests.contract.public.pki import LOOPBACK


@pytest.mark.parametrize("status", ["204 No Content", "206 Partial", "304 Not Modified", "404 Not Found", "500 Oops"])
async def test_only_200_is_an_answer(
    fetcher: BundleFetcher, web: Server, authority: SigningAuthority, status: str
) -> None:
    body = b"" if status[:3] in {"204", "304"} else bundle_of(authority).spiffe_json()
    web.answers["/"] = respond(body, status)
    await refused(fetcher.fetch(OTHER, by_web(web), None), EndpointUnreachable, f"answered {status[:3]}")
    assert len(web.requests) == 1, "asked once, and not again"


KEY = {"kty": "EC", "crv": "P-256", "use": "x509-svid", "x": "AA", "y": "AA"}
NOT_JSON = "is not JSON"
NO_KEYS = "a JSON object with a list named keys"
SEQUENCE = "spiffe_sequence is not a whole number from 0 to"
HINT = "spiffe_refresh_hint is not a whole number from 0 to"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", NOT_JSON),
        (b"null", NO_KEYS),
        (b"[]", NO_KEYS),
        (b"{}", NO_KEYS),
        (b"{", NOT_JSON),
        (b'"keys"', NO_KEYS),
        (b"\xff\xfe", NOT_JSON),
        (b'{"keys": {}}', NO_KEYS),
        (b'{"keys": null}', NO_KEYS),
        (b'{"keys": [], "keys": []}', NOT_JSON),
        (b"[" * 100_000, NOT_JSON),
        (b'{"keys": [' + b"[" * 100_000, NOT_JSON),
        (b'{"keys": [], "spiffe_sequence": 1e400}', SEQUENCE),
        (b'{"keys": [], "spiffe_sequence": ' + b"9" * 10_000 + b"}", NOT_JSON),
        (document(spiffe_sequence=-1), SEQUENCE),
        (document(spiffe_sequence=1.5), SEQUENCE),
        (document(spiffe_sequence="1"), SEQUENCE),
        (document(spiffe_sequence=2**63), SEQUENCE),
        (document(spiffe_sequence=True), SEQUENCE),
        (document(spiffe_refresh_hint=-1), HINT),
        (document(spiffe_refresh_hint=10**18), HINT),
        (document(spiffe_refresh_hint=None), HINT),
        (document(keys=[{}] * (MAX_KEYS + 1)), "has more than 1024 keys"),
        (document(keys=[{**KEY, "x5c": "text"}]), "key 1 .*: x5c is not a list of texts"),
        (document(keys=[{**KEY, "x5c": [1]}]), "key 1 .*: x5c is not a list of texts"),
        (document(keys=[{**KEY, "x5c": ["!!!"]}]), "key 1 .*: x5c is not base64"),
        (document(keys=[{**KEY, "x5c": ["AAAA"]}]), "certificate 1 of the bundle cannot be read"),
        (
            document(keys=[{"kty": "EC", "use": "jwt-svid", "kid": "a", "crv": "P-256", "x": "AA", "y": "AA"}]),
            "key 1 .*: the JWK's x has 1 octets instead of 32",
        ),
    ],
    ids=range(28),
)
async def test_hostile_documents(fetcher: BundleFetcher, web: Server, body: bytes, words: str) -> None:
    web.answers["/"] = respond(body)
    await refused(fetcher.fetch(OTHER, by_web(web), None), BundleRefused, words)
    assert len(web.requests) == 1, "asked once, and not again"


async def test_a_leaf_is_no_authority(fetcher: BundleFetcher, web: Server, authority: SigningAuthority) -> None:
    leaf = base64.b64encode(server_svid(authority).svid.chain[0]).decode()
    web.answers["/"] = respond(document(keys=[{**KEY, "x5c": [leaf]}]))
    await refused(fetcher.fetch(OTHER, by_web(web), None), BundleRefused, "is not an authority")
    assert len(web.requests) == 1, "asked once, and not again"


async def test_unknown_keys_are_ignored_and_may_leave_nothing(fetcher: BundleFetcher, web: Server) -> None:
    """Trust Domain and Bundle 4.1.3, 4.2: unknown types and uses are passed over; a bundle may end up empty."""
    unknown = [{"kty": "NEW", "use": "x509-svid"}, {**KEY, "use": "other"}, {**KEY, "use": None}, "text", 7, None]
    web.answers["/"] = respond(document(keys=unknown))
    found = await fetcher.fetch(OTHER, by_web(web), None)
    assert (found.x509_authorities, found.jwt_keys, found.sequence) == ((), (), 1)


async def test_an_endless_answer_is_cut(fetcher: BundleFetcher, web: Server) -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(MAX_BUNDLE_BYTES // 1000):
            writer.write(b"1000\r\n" + b" " * 0x1000 + b"\r\n")
            await writer.drain()

    web.answers["/"] = endless
    await refused(fetcher.fetch(OTHER, by_web(web), None), BundleRefused, "more than 1048576 bytes")
    assert len(web.requests) == 1, "asked once, and not again"


async def test_a_compressed_answer_is_not_unpacked(fetcher: BundleFetcher, web: Server) -> None:
    bomb = gzip.compress(b" " * 100_000_000)
    web.answers["/"] = respond(bomb, "200 OK", "content-encoding: gzip")
    await refused(fetcher.fetch(OTHER, by_web(web), None), BundleRefused, "compresses")
    assert len(web.requests) == 1, "asked once, and not again"


async def test_a_slow_answer_is_given_up_on(fetcher: BundleFetcher, web: Server) -> None:
    """Byte by byte: each one in time, all of them not."""

    async def dripping(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.05)

    web.answers["/"] = dripping
    await refused(fetcher.fetch(OTHER, by_web(web), None), EndpointUnreachable, "no answer within 3 s")
    assert len(web.requests) == 1, "asked once, and not again"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"no http\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\na: " + b"b" * 1_000_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=range(6),
)
async def test_what_is_no_http(fetcher: BundleFetcher, web: Server, answer: bytes) -> None:
    web.answers["/"] = answer
    await refused(fetcher.fetch(OTHER, by_web(web), None), EndpointUnreachable, "no usable answer")
    assert len(web.requests) == 1, "asked once, and not again"


async def test_nobody_there(fetcher: BundleFetcher, web: Server) -> None:
    source = BundleSource(EndpointProfile.HTTPS_WEB, "https://127.0.0.1:1/")
    await refused(fetcher.fetch(OTHER, source, None), EndpointUnreachable, "cannot connect")
    plain = await asyncio.start_server(lambda _r, w: w.close(), LOOPBACK, 0)
    async with plain:
        port = plain.sockets[0].getsockname()[1]
        source = BundleSource(EndpointProfile.HTTPS_WEB, f"https://{LOOPBACK}:{port}/")
        await refused(fetcher.fetch(OTHER, source, None), EndpointUnreachable, "TLS failed|cannot connect")
    nowhere = BundleSource(EndpointProfile.HTTPS_WEB, "https://nowhere.invalid/")
    await refused(fetcher.fetch(OTHER, nowhere, None), EndpointUnreachable, "cannot connect")
