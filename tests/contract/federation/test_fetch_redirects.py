"""Redirects of bundle endpoints: followed only to where the same demands are met."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from ca.authority import SigningAuthority
from ca.masked import Masked
from sds.http.tls import server_context
from sds.server.federation.errors import EndpointNotAuthentic, EndpointUnreachable
from sds.server.federation.fetch import BundleFetcher, FetchOptions
from tests.contract.federation.endpoints import (
    NOW,
    OTHER,
    Server,
    bundle_of,
    by_spiffe,
    by_web,
    refused,
    respond,
    svid_tls,
)
from tests.contract.public.pki import WebPki
from tests.fakes.ca import make_svid


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
    assert (len(spiffe.requests), len(other.requests)) == (1, 1), "neither is asked again"


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
