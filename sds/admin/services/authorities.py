"""Authorities: which there are, who waits for the next one, and what moves them from slot to slot."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from ca.authority import Authority, AuthorityKind
from ca.gate import Gate
from ca.rotation import Step, Times
from sds.admin.services.common import AdminCall
from sds.admin.services.conditions import ANY, Condition


@dataclass(frozen=True, slots=True)
class AuthorityInfo:
    """One authority. `gate`: of one that is prepared, who would not accept yet what it issues. `times`: of the active
    one, when its successor is due. `kept_until`: of an old one, when nothing that it issued is valid any more.
    """

    authority: Authority
    gate: Gate | None = None
    times: Times | None = None
    kept_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class AuthorityOverview:
    """All authorities, oldest first, and what is due now by the schedule."""

    authorities: tuple[AuthorityInfo, ...]
    due: tuple[Step, ...] = ()


class AuthorityAdmin(Protocol):
    """All raise AuthorityUnavailable where a key or an upstream is away.

    Methods that name an authority raise NotFound, RotationRefused if its state forbids what is asked, and Conflict if
    a condition fails.
    """

    async def overview(self, kind: AuthorityKind | None = None) -> AuthorityOverview:
        """None: both kinds."""
        ...

    async def get(self, authority_id: str) -> AuthorityInfo: ...

    async def prepare(self, call: AdminCall, kind: AuthorityKind) -> AuthorityInfo:
        """Makes the next authority and publishes it. Raises RotationRefused if one is prepared already."""
        ...

    async def activate(
        self,
        call: AdminCall,
        authority_id: str,
        *,
        force: bool = False,
        cross_sign: bool = False,
        condition: Condition = ANY,
    ) -> AuthorityInfo:
        """It signs from now on; idempotent. Raises GateClosed unless `force`.

        `cross_sign`: its leaves are sent with a certificate of the authority that it replaces, so that who knows only
        that one verifies them.
        """
        ...

    async def taint(self, call: AdminCall, authority_id: str, *, condition: Condition = ANY) -> AuthorityInfo:
        """It signs nothing more, and agents replace what it issued. Idempotent, and cannot be undone."""
        ...

    async def revoke(
        self, call: AdminCall, authority_id: str, *, force: bool = False, condition: Condition = ANY
    ) -> AuthorityInfo:
        """Out of the bundle at once: nobody accepts any more what it issued. Idempotent, and cannot be undone.

        The active one only with `force`, which activates another one first, whoever has that in its bundle.
        """
        ...
