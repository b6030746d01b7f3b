"""The client of bundle endpoints against real TLS servers that are honest, mistaken or hostile."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.authority import SigningAuthority
from ca.bundle import MAX_BUNDLE_BYTES, MAX_KEYS, TrustBundle, make_bundle
from ca.keys import KeyType
from ca.masked import Masked
from ca.profile import ProfileName
from sds.http.tls import server_context
from sds.server.federation.errors import BundleRefused, EndpointNotAuthentic, EndpointUnreachable, PollFailed
from sds.server.federation.fetch import BundleFetcher, FetchOptions
from sds.store.federations import BundleSource, EndpointProfile
from tests.contract.public.pki import LOOPBACK, WebPki
from tests.fakes.ca import Holder, make_authority, make_svid

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


@pytest.fixture
def authority() -> SigningAuthority:
    return make_authority(OTHER, now=NOW)


@pytest.fixture
def pki() -> WebPki:
    return WebPki()


@pytest.fixture
async def web(pki: WebPki) -> AsyncIterator[Server]:
    pair = pki.issue()
    async with Server(server_context(pair.certificate, Masked(pair.key))).running() as server:
        yield server


def svid_tls(holder: Holder) -> ssl.SSLContext:
    return server_context(holder.chain_pem, holder.key_pem)


def server_svid(authority: SigningAuthority, spiffe_id: str = str(SERVER), **more: object) -> Holder:
    return make_svid(spiffe_id, authority, profile=ProfileName.SERVER, now=NOW, **more)


@pytest.fixture
async def spiffe(authority: SigningAuthority) -> AsyncIterator[Server]:
    async with Server(svid_tls(server_svid(authority))).running() as server:
        yield server


@pytest.fixture
def fetcher(pki: WebPki, tmp_path: Path) -> BundleFetcher:
    (tmp_path / "roots.pem").write_bytes(pki.root_pem)
    return BundleFetcher(FetchOptions(timedelta(seconds=3), 2, tmp_path / "roots.pem"))


def bundle_of(*authorities: SigningAuthority, sequence: int = 5) -> TrustBundle:
    return make_bundle(OTHER, [each.authority.certificate for each in authorities], sequence, timedelta(seconds=77))


def by_web(server: Server, path: str = "/") -> BundleSource:
    return BundleSource(EndpointProfile.HTTPS_WEB, server.url(path))


def by_spiffe(server: Server, endpoint_id: SpiffeId = SERVER) -> BundleSource:
    return BundleSource(EndpointProfile.HTTPS_SPIFFE, server.url(), endpoint_id)


async def test_https_web(fetcher: BundleFetcher, web: Server, authority: SigningAuthority) -> None:
    web.answers["/a/b?c"] = respond(bundle_of(authority).spiffe_json())
    assert await fetcher.fetch(OTHER, by_web(web, "/a/b?c"), None) == bundle_of(authority)
    request = web.requests[0].lower()
    assert request.startswith(b"get /a/b?c http/1.1\r\n")
    assert b"\r\naccept-encoding: identity\r\n" in request
    for word in (b"cookie", b"authorization", b"content-length"):
        assert word not in request


async def test_https_spiffe(fetcher: BundleFetcher, spiffe: Server, authority: SigningAuthority) -> None:
    """The server's certificate names no host: its SPIFFE ID is what counts."""
    spiffe.answers["/"] = respond(bundle_of(authority).spiffe_json())
    assert await fetcher.fetch(OTHER, by_spiffe(spiffe), bundle_of(authority)) == bundle_of(authority)


@pytest.mark.parametrize("key_type", [KeyType.ECDSA_P384, KeyType.ED25519, KeyType.RSA_2048])
async def test_https_spiffe_below_authorities_of_other_kinds(fetcher: BundleFetcher, key_type: KeyType) -> None:
    authority = make_authority(OTHER, now=NOW, key_type=key_type)
    async with Server(svid_tls(server_svid(authority))).running() as server:
        server.answers["/"] = respond(bundle_of(authority).spiffe_json())
        assert await fetcher.fetch(OTHER, by_spiffe(server), bundle_of(authority)) == bundle_of(authority)


async def test_the_name_of_the_trust_domain_is_not_the_documents_to_say(
    fetcher: BundleFetcher, web: Server, authority: SigningAuthority
) -> None:
    """Federation 5.1, 7.2."""
    document = json.loads(bundle_of(authority).spiffe_json()) | {"trust_domain": "example.org"}
    web.answers["/"] = respond(json.dumps(document).encode())
    assert (await fetcher.fetch(OTHER, by_web(web), None)).trust_domain == OTHER


async def refused(fetch: Awaitable[TrustBundle], kind: type[PollFailed], words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        await fetch
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


async def test_a_web_certificate_of_an_unknown_authority(
    web: Server, authority: SigningAuthority, tmp_path: Path
) -> None:
    (tmp_path / "others.pem").write_bytes(WebPki().root_pem)
    web.answers["/"] = respond(bundle_of(authority).spiffe_json())
    fetcher = BundleFetcher(FetchOptions(web_ca_file=tmp_path / "others.pem"))
    await refused(fetcher.fetch(OTHER, by_web(web), None), EndpointNotAuthentic, "does not verify")
    assert web.requests == []


async def test_the_operating_systems_authorities_do_not_know_a_private_one(web: Server) -> None:
    await refused(BundleFetcher(FetchOptions()).fetch(OTHER, by_web(web), None), EndpointNotAuthentic, "not verify")


async def test_a_web_certificate_of_another_name(fetcher: BundleFetcher, web: Server) -> None:
    """RFC 6125: the certificate is for 127.0.0.1 and localhost."""
    url = f"https://127.0.0.2:{web.port}/"
    listening = await asyncio.start_server(web._serve, "127.0.0.2", web.port, ssl=web._tls)
    async with listening:
        source = BundleSource(EndpointProfile.HTTPS_WEB, url)
        await refused(fetcher.fetch(OTHER, source, None), EndpointNotAuthentic, "IP address mismatch")


async def test_an_expired_web_certificate(fetcher: BundleFetcher, pki: WebPki) -> None:
    pair = pki.issue(lifetime=timedelta(minutes=-5))
    async with Server(server_context(pair.certificate, Masked(pair.key))).running() as server:
        await refused(fetcher.fetch(OTHER, by_web(server), None), EndpointNotAuthentic, "expired")


async def test_a_ca_file_that_is_missing_or_no_pem(web: Server, tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("no")
    for name in ("missing.pem", "bad.pem"):
        fetcher = BundleFetcher(FetchOptions(web_ca_file=tmp_path / name))
        await refused(fetcher.fetch(OTHER, by_web(web), None), EndpointNotAuthentic, "cannot be read")


async def test_an_svid_of_another_authority(fetcher: BundleFetcher, spiffe: Server) -> None:
    """X509-SVID 5.1: only the bundle of the endpoint's own trust domain counts."""
    stranger = bundle_of(make_authority(OTHER, now=NOW))
    await refused(fetcher.fetch(OTHER, by_spiffe(spiffe), stranger), EndpointNotAuthentic, "does not verify")
    assert spiffe.requests == []


@pytest.mark.parametrize("path", ["/server", "/sdss/server", "/web"])
async def test_an_svid_for_another_id(fetcher: BundleFetcher, authority: SigningAuthority, path: str) -> None:
    """Federation 5.2.2.4: exactly the configured SPIFFE ID, whoever else the authority vouches for."""
    holder = make_svid(f"spiffe://other.example{path}", authority, now=NOW)
    async with Server(svid_tls(holder)).running() as server:
        server.answers["/"] = respond(bundle_of(authority).spiffe_json())
        fetch = fetcher.fetch(OTHER, by_spiffe(server), bundle_of(authority))
        await refused(fetch, EndpointNotAuthentic, f"the endpoint is spiffe://other.example{path}, not")


async def test_an_expired_svid(fetcher: BundleFetcher, authority: SigningAuthority) -> None:
    old = make_authority(OTHER, now=NOW - timedelta(days=2))
    holder = make_svid(str(SERVER), old, profile=ProfileName.SERVER, now=NOW - timedelta(days=1))
    async with Server(svid_tls(holder)).running() as server:
        await refused(fetcher.fetch(OTHER, by_spiffe(server), bundle_of(old)), EndpointNotAuthentic, "expired")


async def test_a_web_certificate_is_no_svid(fetcher: BundleFetcher, pki: WebPki, web: Server) -> None:
    """7.2: profiles are never inferred, and one does not stand in for the other."""
    root = x509.load_pem_x509_certificate(pki.root_pem).public_bytes(Encoding.DER)
    web.answers["/"] = respond(b"{}")
    fetch = fetcher.fetch(OTHER, by_spiffe(web), TrustBundle(OTHER, (root,)))
    await refused(fetch, EndpointNotAuthentic, "is no X.509-SVID")


async def test_an_svid_is_no_web_certificate(fetcher: BundleFetcher, spiffe: Server) -> None:
    await refused(fetcher.fetch(OTHER, by_web(spiffe), None), EndpointNotAuthentic, "does not verify")


@pytest.mark.parametrize("trusted", [None, TrustBundle(OTHER, ())])
async def test_without_an_authority_nobody_is_asked(
    fetcher: BundleFetcher, spiffe: Server, trusted: TrustBundle | None
) -> None:
    await refused(fetcher.fetch(OTHER, by_spiffe(spiffe), trusted), EndpointNotAuthentic, "no authority of other")
    assert spiffe.requests == []


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
async def test_redirects_are_followed(
    fetcher: BundleFetcher, web: Server, authority: SigningAuthority, status: str
) -> None:
    """Federation 5.2.1.4; the next poll starts at the configured URL again."""
    web.answers["/"] = respond(b"", status, "location: /moved", "set-cookie: a=b")
    web.answers["/moved"] = respond(bundle_of(authority).spiffe_json())
    for _ in range(2):
        assert await fetcher.fetch(OTHER, by_web(web), None) == bundle_of(authority)
    assert [request.split(b" ")[1] for request in web.requests] == [b"/", b"/moved"] * 2
    assert b"cookie" not in b"".join(web.requests)


async def test_a_redirect_meets_the_same_demands(
    fetcher: BundleFetcher, spiffe: Server, authority: SigningAuthority
) -> None:
    """5.2.2.4: the same SPIFFE ID at the new place, below the same authorities."""
    holder = make_svid("spiffe://other.example/web", authority, now=NOW)
    async with Server(svid_tls(holder)).running() as other:
        other.answers["/"] = respond(bundle_of(authority).spiffe_json())
        spiffe.answers["/"] = respond(b"", "302 Found", f"location: {other.url()}")
        fetch = fetcher.fetch(OTHER, by_spiffe(spiffe), bundle_of(authority))
        await refused(fetch, EndpointNotAuthentic, "the endpoint is spiffe://other.example/web")


async def test_a_redirect_leads_to_no_place_that_the_web_pki_does_not_vouch_for(
    fetcher: BundleFetcher, pki: WebPki, web: Server, authority: SigningAuthority
) -> None:
    """5.2.1.4: the new place needs a certificate of a trusted authority for its own name, and gets no request before."""
    stranger = WebPki().issue()
    expired = pki.issue(lifetime=timedelta(minutes=-5))
    for pair, words in ((stranger, "does not verify"), (expired, "expired")):
        async with Server(server_context(pair.certificate, Masked(pair.key))).running() as other:
            other.answers["/"] = respond(bundle_of(authority).spiffe_json())
            web.answers["/"] = respond(b"", "302 Found", f"location: {other.url()}")
            await refused(fetcher.fetch(OTHER, by_web(web), None), EndpointNotAuthentic, words)
            assert other.requests == []


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("http://127.0.0.1/", "must be an https URL"),
        ("https://user:password@127.0.0.1/", "must not hold a user"),
        ("file:///etc/passwd", "must be an https URL"),
        ("https://localhost/", "leads to this host"),
        ("https://169.254.169.254/latest/meta-data", "leads to this host"),
        ("https://[fe80::1]/", "leads to this host"),
        ("https://[::1]/", "leads to this host"),
        ("https://0.0.0.0/", "leads to this host"),
        ("https://127.0.0.2/", "leads to this host"),
        ("https://a.localhost/", "leads to this host"),
        ("/\x7f", "no usable answer"),
    ],
)
async def test_redirects_that_are_not_followed(fetcher: BundleFetcher, web: Server, location: str, words: str) -> None:
    web.answers["/"] = respond(b"", "302 Found", f"location: {location}")
    await refused(fetcher.fetch(OTHER, by_web(web), None), EndpointUnreachable, words)
    assert len(web.requests) == 1


async def test_redirects_are_bounded(fetcher: BundleFetcher, web: Server, tmp_path: Path) -> None:
    web.answers["/"] = respond(b"", "302 Found", "location: /")
    await refused(fetcher.fetch(OTHER, by_web(web), None), EndpointUnreachable, "more than 2 redirects")
    assert len(web.requests) == 3
    never = BundleFetcher(FetchOptions(max_redirects=0, web_ca_file=tmp_path / "roots.pem"))
    await refused(never.fetch(OTHER, by_web(web), None), EndpointUnreachable, "more than 0 redirects")
    assert len(web.requests) == 4


@pytest.mark.parametrize("status", ["204 No Content", "206 Partial", "304 Not Modified", "404 Not Found", "500 Oops"])
async def test_only_200_is_an_answer(
    fetcher: BundleFetcher, web: Server, authority: SigningAuthority, status: str
) -> None:
    body = b"" if status[:3] in {"204", "304"} else bundle_of(authority).spiffe_json()
    web.answers["/"] = respond(body, status)
    await refused(fetcher.fetch(OTHER, by_web(web), None), EndpointUnreachable, f"answered {status[:3]}")


def document(**changes: object) -> bytes:
    return json.dumps({"keys": [], "spiffe_sequence": 1, **changes}).encode()


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


async def test_a_leaf_is_no_authority(fetcher: BundleFetcher, web: Server, authority: SigningAuthority) -> None:
    leaf = base64.b64encode(server_svid(authority).svid.chain[0]).decode()
    web.answers["/"] = respond(document(keys=[{**KEY, "x5c": [leaf]}]))
    await refused(fetcher.fetch(OTHER, by_web(web), None), BundleRefused, "is not an authority")


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


async def test_a_compressed_answer_is_not_unpacked(fetcher: BundleFetcher, web: Server) -> None:
    bomb = gzip.compress(b" " * 100_000_000)
    web.answers["/"] = respond(bomb, "200 OK", "content-encoding: gzip")
    await refused(fetcher.fetch(OTHER, by_web(web), None), BundleRefused, "compresses")


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
