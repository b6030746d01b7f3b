"""What one decision revokes: the records, whether there is room for them, and how the audit event names them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256

from ca.revocation import MAX_REVOKED, Reason
from sds.admin.errors import FieldProblem, InvalidInput
from sds.admin.services.revocations import RevocationOrder
from sds.audit.event import Json
from sds.store.revocation.records import BlockKind, BlockRecord, Concerned, RevocationRecord
from sds.store.unit_of_work import UnitOfWork

MAX_NAMED = 100
"""Serials that the audit event names; their number and a digest over all of them are always there."""


def records(uow: UnitOfWork, order: RevocationOrder, block: BlockRecord) -> list[RevocationRecord]:
    """What is revoked by this. An authority's certificates are not: it leaves the bundle, and they with it."""
    if order.kind is BlockKind.AUTHORITY:
        return []
    certificates = uow.revocations.concerned(order.kind, order.value, limit=MAX_REVOKED + 1)
    if len(certificates) > MAX_REVOKED:
        problem = f"more than {MAX_REVOKED} certificates are concerned: revoke their authority instead"
        raise InvalidInput([FieldProblem("value", problem)])
    standing = uow.revocations.find(one.serial for one in certificates)
    fresh = [
        one
        for one in certificates
        if (before := standing.get(one.serial)) is None
        or (before.reason is Reason.CERTIFICATE_HOLD and order.reason is not Reason.CERTIFICATE_HOLD)
    ]
    if order.issuer and not certificates:
        authority = uow.authorities.get(order.issuer)
        return [RevocationRecord(order.value, authority.id, authority.not_after, order.reason, uow.now, block.id)]
    return [_record(one, order, block, uow.now) for one in fresh]


def _record(one: Concerned, order: RevocationOrder, block: BlockRecord, now: datetime) -> RevocationRecord:
    return RevocationRecord(one.serial, one.authority_id, one.not_after, order.reason, now, block.id)


def check_room(uow: UnitOfWork, found: Sequence[RevocationRecord]) -> None:
    """Raises InvalidInput if a list would grow beyond what one may hold."""
    for authority_id, more in Counter(one.authority_id for one in found).items():
        if uow.revocations.count(authority_id) + more > MAX_REVOKED:
            problem = (
                f"the CRL of authority {authority_id} would have more than {MAX_REVOKED} entries: revoke it instead"
            )
            raise InvalidInput([FieldProblem("value", problem)])


def serials(found: Sequence[RevocationRecord]) -> dict[str, Json]:
    ordered = sorted(one.serial for one in found)
    digest = sha256("\n".join(ordered).encode()).hexdigest()
    return {"serials": tuple(ordered[:MAX_NAMED]), "serials_sha256": digest}
