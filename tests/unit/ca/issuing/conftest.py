"""An authority, and a request for an identity."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import pytest

from ca.authority import SigningAuthority
from ca.csr import VerifiedCsr
from ca.intent import IssueRequest
from ca.keys import KeyType, PrivateKey, generate
from ca.profile import ProfileName
from tests.fakes.ca import make_authority
from tests.unit.ca.issuing.kit import WEB


@pytest.fixture(scope="module")
def authority(keys: Mapping[KeyType, PrivateKey]) -> SigningAuthority:
    return make_authority(key=generate(KeyType.ECDSA_P256))


@pytest.fixture
def request_(key: PrivateKey) -> IssueRequest:
    return IssueRequest(
        ProfileName.WORKLOAD, WEB, VerifiedCsr.of_own_key(key), ("web.example.org",), timedelta(hours=2)
    )
