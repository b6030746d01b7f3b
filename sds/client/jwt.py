"""JWT-SVIDs by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from ca.masked import Masked
from sds.client.nouns import Noun, operation
from sds.client.results import Hidden, Many, Result, Time


class MintedToken(Result):
    """`token` is shown this once."""

    SECRET: ClassVar[frozenset[str]] = frozenset({"token"})
    token: Hidden
    token_id: str
    spiffe_id: str
    audience: Many[str]
    expires_at: Time


class VerifiedToken(Result):
    spiffe_id: str
    audience: Many[str]
    expires_at: Time
    key_id: str
    claims: dict[str, Any]


class Jwt(Noun):
    @operation("token.issue")
    def mint(
        self,
        audience: Sequence[str],
        *,
        spiffe_id: str | None = None,
        entry_id: str | None = None,
        ttl_seconds: float | None = None,
    ) -> MintedToken:
        """Give either `spiffe_id` or `entry_id`."""
        body = {
            "audience": [*audience],
            **({} if spiffe_id is None else {"spiffe_id": spiffe_id}),
            **({} if entry_id is None else {"entry_id": entry_id}),
            **({} if ttl_seconds is None else {"ttl_seconds": ttl_seconds}),
        }
        return self._post(MintedToken, "/v1/jwt:mint", body)

    @operation("token.verify")
    def verify(self, unverified_token: Masked[str], audience: str) -> VerifiedToken:
        """What it says, if it may be believed. Raises Invalid."""
        body = {"token": unverified_token.reveal(), "audience": audience}
        return self._post(VerifiedToken, "/v1/jwt:verify", body, keyed=False)
