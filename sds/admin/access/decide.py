"""May this caller do that, and to what? By the table of rules alone; everything that it does not say is refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Protocol

from attestation.spiffe_id import SpiffeId
from sds.admin.access.roles import EVERYTHING, Right, Scope
from sds.admin.access.rules import RULES, Rule, Scoping
from sds.admin.errors import Forbidden

_NO_LABELS: Mapping[str, str] = MappingProxyType({})


class HasRights(Protocol):
    """An AdminCall, for all that matters here."""

    @property
    def rights(self) -> tuple[Right, ...]: ...


def permitted(call: HasRights, operation: str, rules: Mapping[str, Rule] = RULES) -> tuple[Scope, ...]:
    """The scopes within which the caller may do this; EVERYTHING alone where there are no limits. Raises Forbidden.

    1. An operation without a rule is refused.
    2. A rule asks for a role; rights of other roles do not count.
    3. Limits of a right matter as the rule says: an operation that knows no limits is refused to who has some.
    """
    rule = rules.get(operation)
    if rule is None:  # 1
        raise Forbidden("this operation has no rule, so nobody may do it")
    if rule.scoping is Scoping.OPEN:
        return (EVERYTHING,)
    scopes = tuple(right.scope for right in call.rights if right.role in rule.roles)
    if not scopes:  # 2
        needed = ", ".join(sorted(role.value for role in rule.roles))
        raise Forbidden(f"this takes one of the roles {needed}")
    if rule.scoping is Scoping.PUBLIC or any(scope.everything for scope in scopes):
        return (EVERYTHING,)
    if rule.scoping is Scoping.NOT_SCOPED:  # 3
        raise Forbidden("this is for who may act on everything, and your role is limited to a part")
    return scopes


def in_scope(scope: Scope, spiffe_id: SpiffeId | None, labels: Mapping[str, str] = _NO_LABELS) -> bool:
    """Whether an identity with these labels lies within. One that is not known (None) lies within EVERYTHING alone.

    At or below, by whole segments of the path: ``/payments`` covers ``/payments/api`` and not ``/payments-test``.
    """
    if scope.everything:
        return True
    if spiffe_id is None:
        return False
    if scope.below is not None and not (
        spiffe_id.member_of(scope.below.trust_domain) and spiffe_id.below(scope.below.path)
    ):
        return False
    return all(labels.get(name) == value for name, value in scope.labels.items())


def in_scopes(scopes: Iterable[Scope], spiffe_id: SpiffeId | None, labels: Mapping[str, str] = _NO_LABELS) -> bool:
    """Whether any of them covers it."""
    return any(in_scope(scope, spiffe_id, labels) for scope in scopes)


def check(call: HasRights, operation: str, spiffe_id: SpiffeId | None, labels: Mapping[str, str] = _NO_LABELS) -> None:
    """Raises Forbidden unless the caller may do this to that. `spiffe_id` None: it belongs to no one identity."""
    if not in_scopes(permitted(call, operation), spiffe_id, labels):
        raise Forbidden("this lies outside of the part that your role is limited to")


def unlimited(scopes: Iterable[Scope]) -> bool:
    """Whether nothing needs to be filtered."""
    return any(scope.everything for scope in scopes)
