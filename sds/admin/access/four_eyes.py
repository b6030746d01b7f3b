"""What needs a second pair of eyes, of what was chosen to. Pure: by the operation and what its body asks for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

AUTHORITY, MASS, RETENTION = "authority.revoke", "revocation.mass", "audit.retention"
MASS_KINDS = frozenset({"agent", "authority"})
"""Revocations that end more than one identity: of all that an agent holds, of all that an authority has signed."""
_OPERATIONS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "authority.revoke": frozenset({AUTHORITY}),
        "revocation.create": frozenset({AUTHORITY, MASS}),
        "audit.prune": frozenset({RETENTION}),
    }
)
_DRY_UNLESS_SAID = frozenset({"revocation.create", "audit.prune"})
DRY_BY_QUERY = frozenset({"authority.revoke"})
"""Operations that are asked by a query parameter to only say what would happen; the others by their body alone."""


def concerned(operation: str, chosen: Collection[str]) -> bool:
    """Whether the operation can need it at all."""
    return not _OPERATIONS.get(operation, frozenset()).isdisjoint(chosen)


def needed(operation: str, asked: Mapping[str, object], chosen: Collection[str]) -> bool:
    """Whether this request does. `asked`: the body's keys. What only asks what would happen never does."""
    if not concerned(operation, chosen):
        return False
    dry = asked.get("dry_run", operation in _DRY_UNLESS_SAID)
    if dry is True:
        return False
    if operation != "revocation.create":
        return True
    kind = asked.get("kind")
    return (MASS in chosen and kind in MASS_KINDS) or (AUTHORITY in chosen and kind == "authority")
