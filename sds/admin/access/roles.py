"""Roles, and what limits them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from attestation.spiffe_id import SpiffeId


class Role(StrEnum):
    """What somebody may do. `VIEWER` sees the inventory; `AUDITOR` also the audit log, exports and explanations.

    `OPERATOR` sees the inventory and changes entries, grants, secrets and agents, and revokes; `ADMIN` may do anything.
    """

    VIEWER = "viewer"
    AUDITOR = "auditor"
    OPERATOR = "operator"
    ADMIN = "admin"


def _no_labels() -> Mapping[str, str]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Scope:
    """The part of the trust domain that a role holds for: at or below a SPIFFE ID, and with all of these labels.

    One that names neither is everything.
    """

    below: SpiffeId | None = None
    labels: Mapping[str, str] = field(default_factory=_no_labels)

    @property
    def everything(self) -> bool:
        return self.below is None and not self.labels


EVERYTHING = Scope()


@dataclass(frozen=True, slots=True)
class Right:
    """A role within a scope, as a caller has it. A caller's rights add up."""

    role: Role
    scope: Scope = EVERYTHING


ALL_RIGHTS = (Right(Role.ADMIN),)


@dataclass(frozen=True, slots=True)
class Binding:
    """Gives a role to a subject: ``uid:1000``, a SPIFFE ID, ``oidc:ISSUER#SUBJECT`` or ``group:NAME``."""

    id: str
    subject: str
    right: Right
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
