"""Servers of both profiles, and a client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from ca.authority import SigningAuthority
from ca.masked import Masked
from sds.http.tls import server_context
from sds.server.federation.fetch import BundleFetcher, FetchOptions
from tests.contract.federation.endpoints import NOW, OTHER, Server, server_svid, svid_tls
from tests.contract.public.pki import WebPki
from tests.fakes.ca import make_authority


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


@pytest.fixture
async def spiffe(authority: SigningAuthority) -> AsyncIterator[Server]:
    async with Server(svid_tls(server_svid(authority))).running() as server:
        yield server


@pytest.fixture
def fetcher(pki: WebPki, tmp_path: Path) -> BundleFetcher:
    (tmp_path / "roots.pem").write_bytes(pki.root_pem)
    return BundleFetcher(FetchOptions(timedelta(seconds=3), 2, tmp_path / "roots.pem"))
