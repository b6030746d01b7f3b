"""What trust rests on: join tokens, the bundle, the key-encryption key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from attestation.spiffe_id import SpiffeId
from ca.bundle import TrustBundle
from ca.masked import Masked
from sds.admin.services.common import AdminCall


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A join token; only its hash is stored, so this is the only time it can be shown."""

    token: Masked[str]
    spiffe_id: SpiffeId  # what the agent will be called
    expires_at: datetime


class TokenAdmin(Protocol):
    async def create(
        self, call: AdminCall, ttl: timedelta | None, spiffe_id: SpiffeId | None, *, downstream: bool = False
    ) -> IssuedToken:
        """A one-time token. None: the server's default TTL, a random agent ID. `downstream`: for another server of the
        trust domain, which may then get signing certificates.

        Raises InvalidInput (fields ttl_seconds, spiffe_id) for a TTL beyond policy, or an ID that no agent may have.
        """
        ...


class BundleAdmin(Protocol):
    async def current(self) -> TrustBundle: ...


@dataclass(frozen=True, slots=True)
class KekRotation:
    """`old_id` == `new_id` never happens; `rewrapped` keys now lie under `new_id`, which is "" if nothing was done.

    `shared`: it rests in the database, encrypted by Vault, and not in a file of the server that was asked.
    """

    old_id: str
    new_id: str
    rewrapped: int
    shared: bool = False


class KekAdmin(Protocol):
    async def rotate(self, call: AdminCall) -> KekRotation:
        """Makes a new key-encryption key and re-wraps every key under it, in one transaction."""
        ...

    async def plan(self) -> KekRotation:
        """How many keys `rotate` would wrap anew now; nothing is changed. Raises as that does."""
        ...
