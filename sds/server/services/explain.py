"""Who would get what, by what stands in the database."""

from __future__ import annotations

from collections.abc import Iterable

from attestation.entry import RegistrationEntry
from attestation.near import who_gets_what
from attestation.selector import Selectors
from attestation.spiffe_id import SpiffeId
from sds.admin.access.decide import in_scopes, permitted
from sds.admin.services import AdminCall
from sds.admin.services.explain import MAX_MATCHING, MAX_NEAR, Explanation
from sds.secrets.grant import Grant
from sds.server.secrets.catalog import GrantIndex
from sds.server.services.common import Desk
from sds.store.unit_of_work import UnitOfWork


class ExplainService:
    """Implements sds.admin.services.ExplainAdmin."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def explain(self, call: AdminCall, parent_id: SpiffeId | None, selectors: Selectors) -> Explanation:
        scopes = permitted(call, "explain")

        def work(uow: UnitOfWork) -> Explanation:
            standing = (
                one
                for one in uow.entries.sharing(selectors)
                if one.live(uow.now) and in_scopes(scopes, one.spiffe_id, one.spec.labels)
            )
            found = who_gets_what(standing, parent_id, selectors, most_near=MAX_NEAR)
            shown = found.matching[:MAX_MATCHING]
            return Explanation(shown, len(found.matching), found.near, _secrets(uow, shown))

        return await self._desk.store.read(work)


def _secrets(uow: UnitOfWork, entries: Iterable[RegistrationEntry]) -> dict[str, tuple[str, ...]]:
    names = {secret.id: secret.name for secret in uow.secrets.all()}
    by_secret: dict[str, list[Grant]] = {}
    for grant in uow.grants.all():
        by_secret.setdefault(grant.secret_id, []).append(grant)
    indexes = [(names[key], GrantIndex(grants)) for key, grants in by_secret.items() if key in names]
    return {
        entry.id: tuple(sorted(name for name, index in indexes if index.granting(entry.spec) is not None))
        for entry in entries
    }
