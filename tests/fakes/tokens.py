"""Tokens for the Workload API: of a real JWT authority, without an agent or a server behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from attestation.entry import RegistrationEntry
from attestation.spiffe_id import TrustDomain
from ca.bundle import TrustBundle
from ca.jwt_verify import JwtSvid, validate
from sds.delivery.tokens import Token
from tests.fakes.jwt import bundles_of, issue_jwt, make_jwt_authority


class FakeTokens:
    """Implements delivery's Tokens. `refusal` is raised instead of giving one out."""

    def __init__(self) -> None:
        self.authority = make_jwt_authority(now=datetime.now(UTC) - timedelta(days=1))
        self.bundles: Mapping[TrustDomain, TrustBundle] = bundles_of(self.authority)
        self.refusal: Exception | None = None
        self.asked: list[tuple[list[str], tuple[str, ...]]] = []

    async def fetch(self, entries: Sequence[RegistrationEntry], audience: tuple[str, ...]) -> Sequence[Token]:
        self.asked.append(([entry.id for entry in entries], audience))
        if self.refusal is not None:
            raise self.refusal
        now = datetime.now(UTC)
        made = [issue_jwt(self.authority, str(entry.spiffe_id), audience, now=now) for entry in entries]
        return [Token(one.intent.spiffe_id, one.token) for one in made]

    def validate(self, entries: Sequence[RegistrationEntry], unverified_token: str, audience: str) -> JwtSvid:
        if self.refusal is not None:
            raise self.refusal
        return validate(unverified_token, self.bundles, audience, datetime.now(UTC))
