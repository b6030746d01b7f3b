"""The SPIFFE bundle endpoint, served by a real server: both profiles, and what strangers may try on it."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509

from attestation.spiffe_id import SpiffeId
from ca.bundle import parse_spiffe_json
from ca.keys import KeyType, generate
from ca.svid import parse_svid
from sds._pb.sds.node.v1 import node_pb2
from sds.clock import SystemClock
from sds.config import load_server_config
from sds.http.tls import TlsUnusable
from sds.net.errors import AddressUnusable
from sds.server.datadir import DataDir
from sds.server.public import certificates
from sds.server.wiring.build import build
from tests.contract.node.harness import TD, Node, csr, running
from tests.contract.public.pki import LOOPBACK, WebPki
from tests.e2e.harness.wait import eventually

SERVER_ID = SpiffeId(TD, "/sds/server")
PROFILES = ["https_spiffe", "https_web"]


@dataclass
class Endpoint:
    """A server with its endpoint, and a TLS client that trusts it as its profile says."""

    node: Node
    tls: ssl.SSLContext
    folder: Path
    pki: WebPki

    @property
    def port(self) -> int:
        return self.node.server.addresses["bundle"].port

    @property
    def url(self) -> str:
        return f"https://{LOOPBACK}:{self.port}/bundle.json"

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(verify=self.tls, trust_env=False, timeout=10)

    async def get(self, url: str = "", **more: str) -> httpx.Response:
        async with self.client() as client:
            return await client.get(url or self.url, headers=more)

    async def leaf(self) -> bytes:
        _, writer = await asyncio.open_connection(LOOPBACK, self.port, ssl=self.tls, server_hostname=LOOPBACK)
        der: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.transport.abort()
        return der

    async def raw(self, data: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(LOOPBACK, self.port, ssl=self.tls, server_hostname=LOOPBACK)
        writer.write(data)
        try:
            async with asyncio.timeout(10):
                return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.transport.abort()


@asynccontextmanager
async def endpoint(folder: Path, profile: str, **settings: object) -> AsyncIterator[Endpoint]:
    pki = WebPki()
    files = dict(zip(("cert_file", "key_file"), map(str, pki.issue().write(folder)), strict=True))
    flags = {f"endpoints__bundle__{name}": file for name, file in files.items()} if profile == "https_web" else {}
    async with running(
        endpoints__bundle__listen=f"{LOOPBACK}:0",
        endpoints__bundle__profile=profile,
        endpoints__bundle__path="/bundle.json",
        **flags,
        **settings,
    ) as node:
        tls = pki.client() if profile == "https_web" else ssl.create_default_context(cadata=node.roots.decode())
        tls.check_hostname = profile == "https_web"
        yield Endpoint(node, tls, folder, pki)


@pytest.fixture(params=PROFILES)
async def served(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Endpoint]:
    async with endpoint(tmp_path, request.param) as made:
        yield made


@pytest.fixture
async def web(tmp_path: Path) -> AsyncIterator[Endpoint]:
    async with endpoint(tmp_path, "https_web") as made:
        yield made


async def test_it_answers_with_the_newest_bundle(served: Endpoint) -> None:
    """Federation 5.2.1.3, 5.2.2.3: GET, UTF-8, application/json; Trust Domain and Bundle 4.1: the three parameters."""
    answer = await served.get()
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    document = json.loads(answer.content.decode("utf-8"))
    assert set(document) == {"keys", "spiffe_sequence", "spiffe_refresh_hint"}
    bundle = parse_spiffe_json(TD, answer.content)
    own = (await served.node.admin.get("/v1/bundle", params={"format": "spiffe"})).content
    assert answer.content == own
    assert bundle.sequence >= 1
    assert bundle.x509_authorities


async def test_a_new_authority_is_published_before_it_signs(served: Endpoint) -> None:
    """Federation 4.1; and 5.2.1.3, 5.2.2.3: the newest bundle. Trust Domain and Bundle 4.1.1: another sequence."""
    node, entry = served.node, (await served.node.entry())["id"]
    agent = await node.attest()

    async def signed_by() -> str:
        item = node_pb2.SignItem(entry_id=entry, csr=csr(generate(KeyType.ECDSA_P256)))
        (result,) = (await node.node(agent).SignX509Svids(node_pb2.SignX509SvidsRequest(items=[item]))).results
        return parse_svid(tuple(result.svid.certificate_chain)).authority_id

    async def published() -> tuple[int, set[str]]:
        bundle = parse_spiffe_json(TD, (await served.get()).content)
        return bundle.sequence, {key_id(der) for der in bundle.x509_authorities}

    before, first = await published()
    assert first == {await signed_by()}
    following = (await node.api("POST", "/v1/authorities:prepare", {"kind": "x509"}))["id"]
    prepared, both = await published()
    assert both == {*first, following}
    assert prepared > before
    assert {await signed_by()} == first
    node.roots = parse_spiffe_json(TD, (await served.get()).content).pem()
    if not served.tls.check_hostname:
        served.tls.load_verify_locations(cadata=node.roots.decode())
    await node.api("POST", f"/v1/authorities/{following}:activate", {"force": True})
    assert await signed_by() == following
    assert following in (await published())[1]


def key_id(der: bytes) -> str:
    extensions = x509.load_der_x509_certificate(der).extensions
    return extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()


async def test_nobody_has_to_say_who_he_is_and_nobody_is_sent_elsewhere(served: Endpoint) -> None:
    """Federation 5.2.1.3, 5.2.2.3: no client certificate is asked for, no header; and there are no redirects."""
    for path in ("/bundle.json", "/bundle.json?a=b", "//bundle.json", "/BUNDLE.json", "/bundle"):
        answer = await served.raw(b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path.encode())
        assert answer.split(b" ")[1] in {b"200", b"404"}, path
        assert b"www-authenticate" not in answer.lower()
    bad = await served.get(authorization="Bearer nonsense")
    assert bad.status_code == 200


async def test_a_client_that_has_it_is_told_so_and_caches_ask_each_time(served: Endpoint) -> None:
    first = await served.get()
    assert first.headers["cache-control"] == "no-cache"
    again = await served.get(**{"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    listed = await served.get(**{"if-none-match": f'"other", W/{first.headers["etag"]}'})
    assert listed.status_code == 304
    assert (await served.get(**{"if-none-match": '"other"'})).status_code == 200


async def test_only_get_and_head(served: Endpoint) -> None:
    async with served.client() as client:
        head = await client.head(served.url)
        assert (head.status_code, head.content) == (200, b"")
        assert int(head.headers["content-length"]) == len((await client.get(served.url)).content)
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
            answer = await client.request(method, served.url)
            assert answer.status_code == 405, method
            assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


@pytest.mark.parametrize(
    "path", ["/", "/other", "/bundle.json/", "/v1/entries", "/metrics", "/live", "/../bundle.json"]
)
async def test_there_is_nothing_else_at_this_address(served: Endpoint, path: str) -> None:
    answer = await served.raw(b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path.encode())
    assert answer.startswith(b"HTTP/1.1 404 ")


async def test_the_certificate_is_the_profiles(tmp_path: Path) -> None:
    async with endpoint(tmp_path, "https_spiffe") as spiffe:
        assert parse_svid([await spiffe.leaf()]).spiffe_id == SERVER_ID
    async with endpoint(tmp_path, "https_web") as made:
        names = x509.load_der_x509_certificate(await made.leaf()).extensions
        found = names.get_extension_for_class(x509.SubjectAlternativeName).value
        assert found.get_values_for_type(x509.UniformResourceIdentifier) == []


async def test_a_renewed_svid_is_used_without_a_restart(tmp_path: Path) -> None:
    async with endpoint(tmp_path, "https_spiffe") as made, made.client() as open_before:
        assert (await open_before.get(made.url)).status_code == 200
        before = await made.leaf()
        await made.node.server._parts.own_svid.renew()
        after = await made.leaf()
        assert parse_svid([before]).serial != parse_svid([after]).serial
        assert (await open_before.get(made.url)).status_code == 200


async def test_changed_files_are_used_without_a_restart(web: Endpoint) -> None:
    before = await web.leaf()
    renewed = web.pki.issue()
    renewed.write(web.folder)

    async def taken_over() -> bool:
        return x509.load_der_x509_certificate(await web.leaf()).serial_number == renewed.serial

    await eventually(taken_over)
    assert await web.leaf() != before
    assert (await web.get()).status_code == 200


async def test_files_that_do_not_fit_leave_the_former_certificate_in_use(web: Endpoint) -> None:
    before = await web.leaf()
    half_written, other = web.pki.issue(), web.pki.issue()
    (web.folder / "web.crt").write_bytes(half_written.certificate)
    await asyncio.sleep(certificates.LOOK_SECONDS * 1.5)
    assert await web.leaf() == before
    (web.folder / "web.key").write_bytes(b"not a key")
    await asyncio.sleep(certificates.LOOK_SECONDS * 1.5)
    assert await web.leaf() == before
    other.write(web.folder)

    async def taken_over() -> bool:
        return x509.load_der_x509_certificate(await web.leaf()).serial_number == other.serial

    await eventually(taken_over)


async def test_the_end_of_the_certificate_is_a_metric(web: Endpoint) -> None:
    name = "sds_server_endpoint_certificate_expiry_timestamp_seconds"
    told = datetime.fromtimestamp(await web.node.metric(name)).astimezone()
    leaf = x509.load_der_x509_certificate(await web.leaf())
    assert abs(told - leaf.not_valid_after_utc) < timedelta(seconds=1)


async def test_the_private_key_is_in_no_file(tmp_path: Path) -> None:
    """https_spiffe: TLS has the key from memory alone, and lets go of the memory file at once."""
    async with endpoint(tmp_path, "https_spiffe") as made:
        await made.get()
        held = [os.path.realpath(each) for each in Path("/proc/self/fd").iterdir()]
        assert not [link for link in held if "sds-tls" in link]
        for file in (file for file in made.node.folder.rglob("*") if file.is_file()):
            assert b"PRIVATE KEY" not in file.read_bytes(), file


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: version.name)
async def test_tls_is_modern(served: Endpoint, version: ssl.TLSVersion) -> None:
    """Mozilla's intermediate profile: nothing below TLS 1.2, forward secrecy and authenticated ciphers alone."""
    served.tls.minimum_version = served.tls.maximum_version = version
    _, writer = await asyncio.open_connection(LOOPBACK, served.port, ssl=served.tls, server_hostname=LOOPBACK)
    cipher = writer.get_extra_info("cipher")[0]
    assert cipher.startswith(("ECDHE-", "TLS_AES_", "TLS_CHACHA20_"))
    assert "GCM" in cipher or "CHACHA20" in cipher
    writer.transport.abort()


@pytest.mark.parametrize("ciphers", ["AES128-SHA", "ECDHE-ECDSA-AES128-SHA", "AES128-GCM-SHA256"])
async def test_weak_ciphers_are_refused(web: Endpoint, ciphers: str) -> None:
    web.tls.maximum_version = ssl.TLSVersion.TLSv1_2
    web.tls.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await web.leaf()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_old_versions_are_refused(web: Endpoint) -> None:
    web.tls.set_ciphers("ALL:@SECLEVEL=0")
    web.tls.minimum_version = ssl.TLSVersion.TLSv1
    web.tls.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await web.leaf()


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /bundle.json HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx", b"4"),
        (b"GET /bundle.json HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
        (b"POST /bundle.json HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n0123456789", b"4"),
        (b"GET /bundle.json HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 70_000 + b"\r\n\r\n", b"431"),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"431"),
        (b"\x16\x03\x01" + b"x" * 100, b"400"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"4"),
    ],
)
async def test_what_is_no_plain_get_is_refused(web: Endpoint, request_bytes: bytes, status: bytes) -> None:
    answer = await web.raw(request_bytes)
    assert answer.startswith(b"HTTP/1.1 " + status), answer
    assert (await web.get()).status_code == 200


async def test_a_client_that_says_nothing_is_cut_off(tmp_path: Path) -> None:
    async with endpoint(tmp_path, "https_web", limits__handshake_timeout="1s") as made:
        reader, writer = await asyncio.open_connection(LOOPBACK, made.port)
        async with asyncio.timeout(8):
            assert await reader.read() == b""
        writer.close()


async def test_connections_are_bounded_by_address(tmp_path: Path) -> None:
    async with endpoint(tmp_path, "https_web", limits__max_connections_per_address="3") as made:
        held = [socket.create_connection((LOOPBACK, made.port)) for _ in range(3)]
        with pytest.raises((ssl.SSLError, OSError)):
            await made.leaf()
        for one in held:
            one.close()

        async def admitted() -> bool:
            try:
                return bool(await made.leaf())
            except (ssl.SSLError, OSError):
                return False

        await eventually(admitted)
        refused = await made.node.metric("sds_server_connections_refused_total", listener="public", reason="per_peer")
        assert refused >= 1


async def test_requests_are_counted(web: Endpoint) -> None:
    await web.get()
    await web.get(f"https://{LOOPBACK}:{web.port}/no")
    assert await web.node.metric("sds_server_public_requests_total", endpoint="bundle", status="2xx") == 1
    assert await web.node.metric("sds_server_public_requests_total", endpoint="other", status="4xx") == 1


async def test_a_server_does_not_start_without_its_certificate(tmp_path: Path) -> None:
    files = WebPki().issue().write(tmp_path)
    files[1].write_bytes(WebPki().issue().key)
    flags = {
        "endpoints__bundle__listen": f"{LOOPBACK}:0",
        "endpoints__bundle__profile": "https_web",
        "endpoints__bundle__cert_file": str(files[0]),
        "endpoints__bundle__key_file": str(files[1]),
    }
    with pytest.raises(TlsUnusable, match="does not belong"):
        async with running(**flags):
            pass
    files[0].unlink()
    with pytest.raises(TlsUnusable, match="No such file"):
        async with running(**flags):
            pass


async def test_a_port_that_is_taken_says_so(tmp_path: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        flags = {
            "trust_domain": TD.name,
            "data_dir": str(tmp_path / "s"),
            "listen": f"{LOOPBACK}:0",
            "attest_listen": f"{LOOPBACK}:0",
            "endpoints.bundle.listen": f"{LOOPBACK}:{taken.getsockname()[1]}",
        }
        config = load_server_config(None, {}, flags)
        server = await build(config, SystemClock(), DataDir(config.data_dir))
        with pytest.raises(AddressUnusable, match="Address already in use"):
            await server.start()
        await server.stop()


async def test_plain_http_for_a_proxy_on_this_host() -> None:
    async with running(endpoints__bundle__listen=f"{LOOPBACK}:0", endpoints__bundle__profile="http") as node:
        port = node.server.addresses["bundle"].port
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(f"http://{LOOPBACK}:{port}/")
    assert parse_spiffe_json(TD, answer.content).x509_authorities
