"""Keeps on record when entries and grants were last used, now and then, from what is written anyway."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from attestation.spiffe_id import SpiffeId
from sds.secrets.grant import covers
from sds.server.transactions import Transactions
from sds.store.notices.uses import GRANT, Seen
from sds.store.records import EntryFilter
from sds.store.unit_of_work import UnitOfWork

MOST = 20_000
"""Rows that one look is for."""
_ROUNDS = 50
"""Looks in one call; what is left waits for the next."""


async def note_uses(store: Transactions) -> None:
    """Long looks only read; what they found is written in a moment. Raises StoreError; what was noted stays."""
    for _ in range(_ROUNDS):
        seen = await store.read(lambda uow: uow.uses.in_certificates(MOST))
        await store.write(lambda uow, found=seen: uow.uses.done(found))  # type: ignore[misc]
        if not seen.left:
            break
    for _ in range(_ROUNDS):
        seen, grants = await store.read(_in_audit)
        await store.write(lambda uow, found=seen, used=grants: _done(uow, found, used))  # type: ignore[misc]
        if not seen.left:
            break
    await store.write(lambda uow: uow.uses.forget_gone())


def _in_audit(uow: UnitOfWork) -> tuple[Seen, Mapping[str, datetime]]:
    seen = uow.uses.in_audit(MOST)
    return seen, used_grants(uow, seen.delivered)


def _done(uow: UnitOfWork, seen: Seen, grants: Mapping[str, datetime]) -> None:
    uow.uses.note(GRANT, grants)
    uow.uses.done(seen)


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
