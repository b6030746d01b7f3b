"""Who may have which secret."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from attestation.entry import RegistrationEntry
from attestation.spiffe_id import SpiffeId
from sds.admin.services.common import AdminCall, Page
from sds.admin.services.conditions import ANY, Condition
from sds.secrets.grant import Grant, Subject


@dataclass(frozen=True, slots=True)
class GrantInfo:
    """A grant and the name of its secret."""

    grant: Grant
    secret: str


@dataclass(frozen=True, slots=True)
class CreatedGrant:
    """`created` is False for one that stood already. `entries`: how many it reaches now."""

    info: GrantInfo
    created: bool
    entries: int


@dataclass(frozen=True, slots=True)
class GrantQuery:
    """Filters are and-ed. `spiffe_id`: grants that reach this identity, whether by its name or by an entry's labels."""

    secret: str | None = None
    spiffe_id: SpiffeId | None = None
    order: str = "created"  # or -created
    limit: int = 100
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class CheckOrder:
    """What is asked: which secrets an identity or an entry may have, which entries may have a secret, or both.

    At least one is given; of `spiffe_id` and `entry_id` at most one.
    """

    secret: str | None = None
    spiffe_id: SpiffeId | None = None
    entry_id: str | None = None


@dataclass(frozen=True, slots=True)
class Allowed:
    """An identity may have a secret, and by which grant. `entry_id` is None for an identity that has no entry."""

    secret: str
    spiffe_id: SpiffeId
    entry_id: str | None
    grant: Grant


@dataclass(frozen=True, slots=True)
class Checked:
    """The first `MAX_ALLOWED` of `total`, by entries' age and then by secrets' names. Who is not here may not."""

    allowed: tuple[Allowed, ...]
    total: int


MAX_ALLOWED = 1000


@dataclass(frozen=True, slots=True)
class Losing:
    """The oldest MAX_LOSING of the `total` entries that have a secret by one grant alone."""

    info: GrantInfo
    entries: tuple[RegistrationEntry, ...]
    total: int


MAX_LOSING = 100


class GrantAdmin(Protocol):
    async def create(self, call: AdminCall, secret: str, subject: Subject) -> CreatedGrant:
        """Idempotent. Raises NotFound for the secret, InvalidInput (fields spiffe_id, spiffe_id_prefix, labels)."""
        ...

    async def find(self, query: GrantQuery) -> Page[GrantInfo]:
        """Oldest first. Raises NotFound for the secret, InvalidCursor."""
        ...

    async def get(self, grant_id: str) -> GrantInfo:
        """Raises NotFound."""
        ...

    async def losing(self, grant_id: str) -> Losing:
        """Who would have the secret no more without this grant, by what stands. Raises NotFound."""
        ...

    async def delete(self, call: AdminCall, grant_id: str, condition: Condition = ANY) -> GrantInfo:
        """Takes it back; what stood. Whoever has the secret by no other grant loses it at once.

        Raises NotFound, Conflict.
        """
        ...

    async def check(self, order: CheckOrder) -> Checked:
        """By what stands in the database, expired entries left out. Raises NotFound, InvalidInput."""
        ...
