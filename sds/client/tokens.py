"""One-time join tokens for agents."""

from __future__ import annotations

from typing import ClassVar

from sds.client.nouns import Noun, operation
from sds.client.results import Hidden, Result, Time


class JoinToken(Result):
    """`token` is shown this once."""

    SECRET: ClassVar[frozenset[str]] = frozenset({"token"})
    token: Hidden
    spiffe_id: str
    expires_at: Time


class Tokens(Noun):
    @operation("token.create")
    def create(
        self, *, ttl_seconds: float | None = None, spiffe_id: str | None = None, downstream: bool = False
    ) -> JoinToken:
        """None: the server's own lifetime, an agent ID made up for it. `downstream`: for a server below this one."""
        body = {
            **({} if ttl_seconds is None else {"ttl_seconds": ttl_seconds}),
            **({} if spiffe_id is None else {"spiffe_id": spiffe_id}),
            **({"downstream": True} if downstream else {}),
        }
        return self._post(JoinToken, "/v1/tokens", body)
