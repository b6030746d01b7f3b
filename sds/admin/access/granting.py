"""What somebody may give to others: never more than they have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from attestation.spiffe_id import SpiffeId
from sds.admin.access.roles import Right, Role, Scope

_INCLUDED: Mapping[Role, frozenset[Role]] = MappingProxyType(
    {
        Role.VIEWER: frozenset({Role.VIEWER}),
        Role.AUDITOR: frozenset({Role.AUDITOR, Role.VIEWER}),
        Role.OPERATOR: frozenset({Role.OPERATOR, Role.VIEWER}),
        Role.ADMIN: frozenset(Role),
    }
)


def covers(held: Iterable[Right], wanted: Right) -> bool:
    """Whether one of the rights that are held includes all of `wanted`: its role, and every identity of its scope."""
    return any(wanted.role in _INCLUDED[each.role] and within(wanted.scope, each.scope) for each in held)


def within(inner: Scope, outer: Scope) -> bool:
    """Whether everything that `inner` covers lies within `outer`, whatever identities there are."""
    if outer.below is not None and (inner.below is None or not _at_or_below(inner.below, outer.below)):
        return False
    return all(inner.labels.get(name) == value for name, value in outer.labels.items())


def may_name(scopes: Iterable[Scope], spiffe_id: SpiffeId) -> bool:
    """Whether an identity of this name may be made or renamed to.

    Labels are what its maker writes, so a limit by labels alone limits no name: only where a SPIFFE ID limits as well.
    """
    return any(
        scope.everything or (scope.below is not None and _at_or_below(spiffe_id, scope.below)) for scope in scopes
    )


def _at_or_below(spiffe_id: SpiffeId, above: SpiffeId) -> bool:
    return spiffe_id.member_of(above.trust_domain) and spiffe_id.below(above.path)
