"""Keeps on record when entries and grants were last used, now and then, from what is written anyway."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from attestation.spiffe_id import SpiffeId
from sds.secrets.grant import covers
from sds.server.transactions import Transactions
from sds.store.notices.uses import GRANT
from sds.store.records import EntryFilter
from sds.store.unit_of_work import UnitOfWork

MOST = 20_000
"""Rows that one transaction looks at."""
_ROUNDS = 50
"""Transactions in one call; what is left waits for the next."""


async def note_uses(store: Transactions) -> None:
    """Raises StoreError; what was noted until then stays."""
    for _ in range(_ROUNDS):
        if not await store.write(lambda uow: uow.uses.from_certificates(MOST)):
            break
    for _ in range(_ROUNDS):
        if not await store.write(_from_audit):
            break
    await store.write(lambda uow: uow.uses.forget_gone())


def _from_audit(uow: UnitOfWork) -> int:
    left, delivered = uow.uses.from_audit(MOST)
    uow.uses.note(GRANT, used_grants(uow, delivered))
    return left


def used_grants(uow: UnitOfWork, delivered: Mapping[tuple[str, str], datetime]) -> Mapping[str, datetime]:
    """The grants by which these deliveries, (secret ID, SPIFFE ID) each, may have been made.

    Several grants may cover one receiver; each of them counts as used, since without the others it would have been.
    """
    used: dict[str, datetime] = {}
    entries = {
        each: tuple(one.spec for one in uow.entries.list(EntryFilter(spiffe_id=SpiffeId.parse(each))).items)
        for each in sorted({spiffe_id for _, spiffe_id in delivered})
    }
    grants = {each: uow.grants.of(each) for each in sorted({secret_id for secret_id, _ in delivered})}
    for (secret_id, spiffe_id), time in delivered.items():
        for grant in grants[secret_id]:
            if any(covers(grant.subject, entry) for entry in entries[spiffe_id]):
                used[grant.id] = max(time, used.get(grant.id, time))
    return used
