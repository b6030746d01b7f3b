"""Who may revoke what, beyond the role that revoking takes."""

from __future__ import annotations

from collections.abc import Mapping

from attestation.spiffe_id import SpiffeId
from sds.admin.access.decide import check, permitted, unlimited
from sds.admin.services.common import AdminCall
from sds.admin.services.revocations import RevocationOrder
from sds.server.transactions import Transactions
from sds.store.errors import NotFound
from sds.store.revocation.records import BlockKind
from sds.store.unit_of_work import UnitOfWork

OPERATION = "revocation.create"


async def check_target(store: Transactions, call: AdminCall, order: RevocationOrder) -> None:
    """Raises Forbidden.

    1. An authority is for who may revoke authorities.
    2. Who may act on a part of the trust domain alone, revokes there what belongs to one identity.
    """
    if order.kind is BlockKind.AUTHORITY:  # 1
        permitted(call, "authority.revoke")
    if not unlimited(permitted(call, OPERATION)):  # 2
        spiffe_id, labels = await store.read(lambda uow: _belongs_to(uow, order))
        check(call, OPERATION, spiffe_id, labels)


def _belongs_to(uow: UnitOfWork, order: RevocationOrder) -> tuple[SpiffeId | None, Mapping[str, str]]:
    """The one identity that it is about, and its labels; None where that is not known, or they may be several."""
    try:
        match order.kind:
            case BlockKind.SPIFFE_ID:
                return SpiffeId.parse(order.value), {}
            case BlockKind.ENTRY:
                entry = uow.entries.get(order.value)
                return entry.spiffe_id, entry.spec.labels
            case BlockKind.SERIAL:
                record = uow.certificates.get(order.value)
                labels = uow.entries.get(record.entry_id).spec.labels if record.entry_id else {}
                return record.spiffe_id, labels
            case _:
                return None, {}
    except NotFound:
        return None, {}
