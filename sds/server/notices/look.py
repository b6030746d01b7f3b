"""Reads what notices are made of, in short transactions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from sds.notices.facts import EntryFact, Facts, SidecarFact
from sds.server.transactions import Transactions
from sds.store.notices.facts import sidecar

_ENTRIES, _STREAMS = 1000, 500
"""Rows in one transaction."""


async def read_facts(store: Transactions) -> Facts:
    """All of it, as it stands about now. Raises StoreError."""
    owners = await store.read(lambda uow: uow.notice_facts.owners())
    sidecars, holders = await _sidecars(store, owners)
    rest = await store.read(
        lambda uow: Facts(
            authorities=uow.notice_facts.authorities(),
            secrets=uow.notice_facts.secrets(),
            grants=uow.notice_facts.grants(),
            agents=uow.notice_facts.agents(),
            tokens=uow.notice_facts.tokens(),
        )
    )
    return replace(rest, entries=await _entries(store, holders), sidecars=sidecars)


async def _entries(store: Transactions, holders: Mapping[str, int]) -> tuple[EntryFact, ...]:
    found: list[EntryFact] = []
    after = ""
    while True:
        page = await store.read(lambda uow, last=after: uow.notice_facts.entries(last, _ENTRIES))  # type: ignore[misc]
        found += (replace(one, holders=holders.get(one.spiffe_id, 0)) for one in page)
        if len(page) < _ENTRIES:
            return tuple(found)
        after = page[-1].id


async def _sidecars(
    store: Transactions, owners: Mapping[str, str]
) -> tuple[tuple[SidecarFact, ...], Mapping[str, int]]:
    """What is wrong with streams, and how many have each SPIFFE ID."""
    found: list[SidecarFact] = []
    holders: Counter[str] = Counter()
    cursor: str | None = None
    while True:
        page = await store.read(lambda uow, at=cursor: uow.streams.list(cursor=at, limit=_STREAMS))  # type: ignore[misc]
        for stream in page.items:
            holders.update(set(stream.spiffe_ids))
            fact = sidecar(stream, owners)
            found += [fact] if fact is not None else []
        cursor = page.next_cursor
        if cursor is None:
            return tuple(found), holders
