"""One lease: credentials that Vault made for one receiver, which hang on a token of their own. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from attestation.spiffe_id import SpiffeId


class LeaseState(StrEnum):
    """How far a lease has come. Whatever the state, revoking the token that it hangs on leaves nothing behind."""

    PENDING = "pending"
    """The token exists and is known; whether there are credentials, only Vault knows."""
    LIVE = "live"
    """The credentials are stored, and delivered to whoever uses them."""
    ENDING = "ending"
    """To be revoked at `expires_at`; nobody is given it any more. The row goes once Vault has revoked it."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """Whom a lease is for: all that have one SPIFFE ID, of one secret."""

    secret_id: str
    spiffe_id: SpiffeId


@dataclass(frozen=True, slots=True)
class Lease:
    """A stored lease, without its credentials.

    `accessor` is of the token, and was stored before credentials were asked for. `generation` grows by one with each
    lease of the same receiver. `ttl`: what a renewal gives. `max_expires_at`: known once Vault renews no further.
    `holder`: the replica that looks after it.
    """

    id: str
    receiver: Receiver
    generation: int
    state: LeaseState
    accessor: str
    holder: str
    created_at: datetime
    lease_id: str = ""
    ttl: timedelta = timedelta(0)
    renewed_at: datetime | None = None
    expires_at: datetime | None = None
    max_expires_at: datetime | None = None

    def usable(self, now: datetime) -> bool:
        """Whether its credentials may be given out."""
        return self.state is LeaseState.LIVE and self.expires_at is not None and now < self.expires_at
