"""What tests of verifying tokens share: an authority, a good token's time, and how it is asked and refused."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from attestation.spiffe_id import TrustDomain
from ca.bundle import TrustBundle
from ca.errors import InvalidJwtSvid
from ca.jwt_verify import validate
from tests.fakes.clock import EPOCH
from tests.fakes.jwt import AUDIENCE, bundles_of, issue_jwt, make_jwt_authority

AUTHORITY = make_jwt_authority()
BUNDLES = bundles_of(AUTHORITY)
GOOD = issue_jwt(AUTHORITY).token.reveal()
START = int(EPOCH.timestamp())
LEEWAY = timedelta(seconds=30)


def check(token: str, audience: str = AUDIENCE, bundles: Mapping[TrustDomain, TrustBundle] = BUNDLES) -> Any:
    return validate(token, bundles, audience, EPOCH, LEEWAY)


def refused(token: str, match: str = ".", **more: Any) -> None:
    with pytest.raises(InvalidJwtSvid, match=match) as caught:
        check(token, **more)
    assert "eyJ" not in str(caught.value), "an error never quotes the token"
    assert len(str(caught.value)) < 300
