"""Puts an authority into a store, as the server's own makers of authorities would."""

from __future__ import annotations

from dataclasses import replace

from ca.authority import Authority, AuthorityState
from sds.audit.event import Target
from sds.server.events import Events, system_actor
from sds.store.store import Store
from sds.store.unit_of_work import UnitOfWork


async def install(store: Store, events: Events, authority: Authority) -> None:
    """Make `authority` stand in the store; an active one takes the place of the one that is active now."""

    def work(uow: UnitOfWork) -> None:
        for former in uow.authorities.all(authority.kind):
            if former.state is authority.state is AuthorityState.ACTIVE:
                uow.authorities.compare_and_swap(former, replace(former, state=AuthorityState.OLD))
        uow.authorities.add(authority)
        target = Target("authority", authority.id)
        uow.audit.append(events.make(uow.now, "authority.create", system_actor(), target))

    await store.write(work)


async def alter(store: Store, events: Events, before: Authority, after: Authority) -> None:
    """Change what the store says of an authority."""

    def work(uow: UnitOfWork) -> None:
        uow.authorities.compare_and_swap(before, after)
        target = Target("authority", after.id)
        uow.audit.append(events.make(uow.now, "authority.taint", system_actor(), target))

    await store.write(work)
