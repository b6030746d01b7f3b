"""The client of bundle endpoints against real TLS servers: who vouches for one, and who does not."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ca.authority import SigningAuthority
from ca.bundle import TrustBundle
from ca.keys import KeyType
from ca.masked import Masked
from ca.profile import ProfileName
from sds.http.tls import server_context
from sds.server.federation.errors import EndpointNotAuthentic
from sds.server.federation.fetch import BundleFetcher, FetchOptions
from sds.store.federations import BundleSource, EndpointProfile
from tests.contract.federation.endpoints import (
    NOW,
    OTHER,
    SERVER,
    Server,
    bundle_of,
    by_spiffe,
    by_web,
    refused,
    respond,
    server_svid,
    svid_tls,
)
from tests.contract.public.pki import WebPki
from tests.fakes.ca import make_authority, make_svid


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
    assert web.requests == []


async def test_a_web_certificate_of_another_name(fetcher: BundleFetcher, web: Server) -> None:
    """RFC 6125: the certificate is for 127.0.0.1 and localhost."""
    url = f"https://127.0.0.2:{web.port}/"
    listening = await asyncio.start_server(web._serve, "127.0.0.2", web.port, ssl=web._tls)
    async with listening:
        source = BundleSource(EndpointProfile.HTTPS_WEB, url)
        await refused(fetcher.fetch(OTHER, source, None), EndpointNotAuthentic, "IP address mismatch")
    assert web.requests == []


async def test_an_expired_web_certificate(fetcher: BundleFetcher, pki: WebPki) -> None:
    pair = pki.issue(lifetime=timedelta(minutes=-5))
    async with Server(server_context(pair.certificate, Masked(pair.key))).running() as server:
        await refused(fetcher.fetch(OTHER, by_web(server), None), EndpointNotAuthentic, "expired")
    assert server.requests == []


async def test_a_ca_file_that_is_missing_or_no_pem(web: Server, tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("no")
    for name in ("missing.pem", "bad.pem"):
        fetcher = BundleFetcher(FetchOptions(web_ca_file=tmp_path / name))
        await refused(fetcher.fetch(OTHER, by_web(web), None), EndpointNotAuthentic, "cannot be read")
    assert web.requests == []


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
    assert len(server.requests) == 1, "it is not asked again"


async def test_an_expired_svid(fetcher: BundleFetcher, authority: SigningAuthority) -> None:
    old = make_authority(OTHER, now=NOW - timedelta(days=2))
    holder = make_svid(str(SERVER), old, profile=ProfileName.SERVER, now=NOW - timedelta(days=1))
    async with Server(svid_tls(holder)).running() as server:
        await refused(fetcher.fetch(OTHER, by_spiffe(server), bundle_of(old)), EndpointNotAuthentic, "expired")
    assert server.requests == []


async def test_a_web_certificate_is_no_svid(fetcher: BundleFetcher, pki: WebPki, web: Server) -> None:
    """7.2: profiles are never inferred, and one does not stand in for the other."""
    root = x509.load_pem_x509_certificate(pki.root_pem).public_bytes(Encoding.DER)
    web.answers["/"] = respond(b"{}")
    fetch = fetcher.fetch(OTHER, by_spiffe(web), TrustBundle(OTHER, (root,)))
    await refused(fetch, EndpointNotAuthentic, "is no X.509-SVID")
    assert len(web.requests) == 1, "it is not asked again"


async def test_an_svid_is_no_web_certificate(fetcher: BundleFetcher, spiffe: Server) -> None:
    await refused(fetcher.fetch(OTHER, by_web(spiffe), None), EndpointNotAuthentic, "does not verify")
    assert spiffe.requests == []


@pytest.mark.parametrize("trusted", [None, TrustBundle(OTHER, ())])
async def test_without_an_authority_nobody_is_asked(
    fetcher: BundleFetcher, spiffe: Server, trusted: TrustBundle | None
) -> None:
    await refused(fetcher.fetch(OTHER, by_spiffe(spiffe), trusted), EndpointNotAuthentic, "no authority of other")
    assert spiffe.requests == []
