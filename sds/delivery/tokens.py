"""What the JWT-SVID profile needs from whoever runs it: tokens for the entries that a caller matches, and a judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from attestation.entry import RegistrationEntry
from attestation.spiffe_id import SpiffeId
from ca.jwt_verify import JwtSvid
from ca.masked import Masked


@dataclass(frozen=True, slots=True)
class Token:
    """A JWT-SVID as one of a caller's entries grants it."""

    spiffe_id: SpiffeId
    token: Masked[str]


class Tokens(Protocol):
    """See sds.agent.jwt."""

    async def fetch(self, entries: Sequence[RegistrationEntry], audience: tuple[str, ...]) -> Sequence[Token]:
        """One for each entry, in their order. Raises NotReady, NotGranted, LimitExceeded."""
        ...

    def validate(self, entries: Sequence[RegistrationEntry], unverified_token: str, audience: str) -> JwtSvid:
        """By the keys of our trust domain, and of those that the entries federate with. Raises InvalidJwtSvid,
        NotReady.
        """
        ...
