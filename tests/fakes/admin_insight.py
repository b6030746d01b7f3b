"""Explanations and numbers over the other fakes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from attestation.entry import RegistrationEntry
from attestation.near import who_gets_what
from attestation.selector import Selectors
from attestation.spiffe_id import SpiffeId
from sds.admin.access.decide import in_scopes, permitted
from sds.admin.services import AdminCall
from sds.admin.services.explain import MAX_MATCHING, MAX_NEAR, Explanation
from sds.admin.services.statistics import AuditHealth, Expiring, Statistics


class FakeExplain:
    def __init__(self, now: Callable[[], datetime], entries: Callable[[], Iterable[RegistrationEntry]]) -> None:
        self._now = now
        self._entries = entries
        self.secrets: dict[str, tuple[str, ...]] = {}  # by entry

    async def explain(self, call: AdminCall, parent_id: SpiffeId | None, selectors: Selectors) -> Explanation:
        scopes = permitted(call, "explain")
        live = [e for e in self._entries() if e.live(self._now()) and in_scopes(scopes, e.spiffe_id, e.spec.labels)]
        found = who_gets_what(live, parent_id, selectors, most_near=MAX_NEAR)
        shown = found.matching[:MAX_MATCHING]
        secrets = {entry.id: self.secrets.get(entry.id, ()) for entry in shown}
        return Explanation(shown, len(found.matching), found.near, secrets)


class FakeStatistics:
    def __init__(self, now: Callable[[], datetime], entries: Callable[[], int]) -> None:
        self._now = now
        self._entries = entries

    async def overview(self, call: AdminCall) -> Statistics:
        now = self._now()
        return Statistics(
            at=now,
            entries=self._entries(),
            identities=0,
            certificates=0,
            agents=0,
            agents_connected=0,
            agents_silent=0,
            agents_banned=0,
            streams=0,
            streams_nacked=0,
            streams_behind=0,
            secrets=0,
            secrets_in_trouble=0,
            grants=0,
            issued_a_minute=(0,) * 60,
            refused_a_minute=(0,) * 60,
            expiring=(Expiring(now, now + timedelta(minutes=5), 0),),
            rotation="steady",
            audit=AuditHealth(0, None, 0, 0, 0, 0),
        )
