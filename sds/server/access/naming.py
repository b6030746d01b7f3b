"""Who may make, or change, an entry of this name, or an agent that gets one: an identity that has a role here is worth
that role.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attestation.entry import EntrySpec
from attestation.spiffe_id import SpiffeId
from sds.admin.access.granting import covers, may_name
from sds.admin.access.roles import Right
from sds.admin.access.rules import OPERATORS
from sds.admin.errors import Forbidden
from sds.admin.services import AdminCall
from sds.server.access.rights import bound
from sds.store.unit_of_work import UnitOfWork

_AT_ONCE = 500
"""Names in one query: databases bound the number of values."""


def check_agent(uow: UnitOfWork, call: AdminCall, agent_id: SpiffeId) -> None:
    """Raises Forbidden for who may not let a node in as this agent.

    An agent gets the identity of each of its entries, and its own. Else whoever may make join tokens could become the
    agent of an administrator's workload, and with it the administrator.
    """
    names = {str(agent_id), *(str(each.spiffe_id) for each in uow.entries.all_for(agent_id))}
    if not all(covers(call.rights, right) for right in _given_to(uow, sorted(names))):
        raise Forbidden("this agent gets an identity that has a role here, which goes beyond your own")


def _given_to(uow: UnitOfWork, names: Sequence[str]) -> Iterator[Right]:
    for start in range(0, len(names), _AT_ONCE):
        yield from bound(uow, tuple(names[start : start + _AT_ONCE]))


def check_name(uow: UnitOfWork, call: AdminCall, wanted: EntrySpec, before: EntrySpec | None = None) -> None:
    """Raises Forbidden. That the caller may change entries at all was decided before.

    1. An identity to which bindings give a role is for who has that role: else whoever may write entries could give
       its certificate to a process of their own.
    2. Who is limited by labels alone gives no new names: labels are what the entry's maker writes.
    """
    names = {str(each.spiffe_id) for each in (wanted, before) if each is not None}
    if not all(covers(call.rights, right) for right in bound(uow, tuple(sorted(names)))):  # 1
        raise Forbidden("this identity has a role here that goes beyond your own")
    if not call.rights or (before is not None and before.spiffe_id == wanted.spiffe_id):  # none: the server's own doing
        return
    scopes = [right.scope for right in call.rights if right.role in OPERATORS]
    if not may_name(scopes, wanted.spiffe_id):  # 2
        raise Forbidden("your role is limited by labels, which takes no new SPIFFE IDs; ask for one below a SPIFFE ID")
