"""What the rest of the server asks of the engine: looks on request, single values, and how things stand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from attestation.entry import RegistrationEntry
from sds.audit.event import Actor, ActorKind, Target
from sds.clock import Clock
from sds.secrets.errors import SecretError
from sds.secrets.secret import Secret, SecretState, SecretValue
from sds.server.events import Events
from sds.server.refusals import Refusal, RefusalLog
from sds.server.secrets.backends import SecretBackends
from sds.server.secrets.catalog import SecretCatalog
from sds.server.secrets.news import Told
from sds.server.secrets.record import DeliveryRecord
from sds.server.secrets.shelf import Shelf
from sds.server.secrets.slot import Problem, Slot
from sds.server.secrets.states import States
from sds.server.secrets.watch import SecretWatcher
from sds.server.secrets.watches import SecretWatches
from sds.server.transactions import Transactions
from sds.store.errors import NotFound
from sds.store.records import ChangeKind
from sds.store.unit_of_work import UnitOfWork

HOOK = "webhook"
"""Who wished a look, where the webhook was called."""
LOOK_SECONDS = 15.0
"""The longest that a look on request is waited for."""


@dataclass(frozen=True, slots=True)
class DeskParts:
    """What the desk works with."""

    store: Transactions
    events: Events
    catalog: SecretCatalog
    backends: SecretBackends
    shelf: Shelf
    states: States
    watches: SecretWatches
    record: DeliveryRecord
    refusals: RefusalLog
    clock: Clock


class SecretDesk:
    """For administrators, and for those who fetch secrets without an agent."""

    def __init__(self, parts: DeskParts) -> None:
        self._parts = parts

    async def state(self, secret_id: str) -> SecretState:
        """How it stands, as far as any replica has seen. Raises NotFound, StoreError."""
        return await self._parts.store.read(lambda uow: uow.secrets.state(secret_id))

    def watchers(self, secret_id: str) -> int:
        """How many agents of this replica are sent it now."""
        return self._parts.watches.watching(secret_id)

    async def refresh(self, secret_id: str, actor: Actor | None = None, request_id: str = "") -> SecretState:
        """Ask the source now, whether anybody wants the value or not; how it stands then.

        With an actor all replicas ask, and it is audited as his wish; else this one alone does.
        Raises NotFound, StoreError.
        """
        parts = self._parts
        if actor is not None:
            asking = actor
            await parts.store.write(lambda uow: self._announce(uow, secret_id, asking, request_id))
        secret = await parts.store.read(lambda uow: uow.secrets.get(secret_id))
        if parts.backends.per_identity(secret):
            await self._look_at_source(secret)
        else:
            await self._look(secret)
        await parts.states.flush()
        return await self.state(secret_id)

    async def changed(self, names: Sequence[str]) -> None:
        """The webhook was told of these: all replicas look. Names that there are not are passed over.

        Raises StoreError.
        """
        actor = Actor(ActorKind.SYSTEM, HOOK)
        known = [secret.id for name in names if (secret := self._parts.catalog.named(name)) is not None]

        def work(uow: UnitOfWork) -> None:
            for secret_id in known:
                with suppress(NotFound):
                    self._announce(uow, secret_id, actor, "")

        if known:
            await self._parts.store.write(work)

    async def value_for(
        self, entry: RegistrationEntry, name: str, actor: Actor | None = None, request_id: str = ""
    ) -> SecretValue | None:
        """The secret for whoever has proven to be the entry's identity; None: it may not have it, or it is not to be
        had now. Audited. Raises StoreError, Overloaded: then nothing may be given out.
        """
        async with self.subscribe(entry, name, actor=actor, request_id=request_id) as subscription:
            news = await subscription.next(LOOK_SECONDS)
            return news if isinstance(news, SecretValue) else None

    @asynccontextmanager
    async def subscribe(
        self,
        entry: RegistrationEntry,
        name: str,
        held_version: str = "",
        *,
        actor: Actor | None = None,
        request_id: str = "",
    ) -> AsyncIterator[Subscription]:
        """News of one secret for one identity. `held_version`: what is known already, and need not be told again."""
        watcher = self._parts.watches.open_for(entry.spiffe_id)
        try:
            watcher.want(entry.id, name, held_version)
            who = actor or Actor(ActorKind.WORKLOAD, str(entry.spiffe_id))
            yield Subscription(self._parts, watcher, who, request_id)
        finally:
            watcher.close()

    def _announce(self, uow: UnitOfWork, secret_id: str, actor: Actor, request_id: str) -> None:
        secret = uow.secrets.get(secret_id)
        uow.changes.append(ChangeKind.SECRET, secret_id)
        uow.audit.append(
            self._parts.events.make(
                uow.now,
                "secret.refresh",
                actor,
                Target("secret", secret_id),
                request_id=request_id,
                details={"name": secret.name},
            )
        )

    async def _look(self, secret: Secret) -> None:
        """Fetch the value, and forget it unless somebody else wants it."""
        visitor = _Visitor()
        slot = self._parts.shelf.hold(secret, None, visitor)
        try:
            new = slot.task if slot.checked_at is None else None
            looking = new or self._parts.shelf.fetch(slot)
            await asyncio.wait({looking}, timeout=LOOK_SECONDS)
        finally:
            self._parts.shelf.drop(slot, visitor)

    async def _look_at_source(self, secret: Secret) -> None:
        """Of a secret that everybody has his own value of: whether there would be one."""
        parts = self._parts
        problem: Problem | None = None
        try:
            answer = (await parts.backends.of(secret).newest([secret])).get(secret.id)
            problem = Problem.of(answer) if isinstance(answer, SecretError) else None
        except SecretError as error:
            problem = Problem.of(error)
        slot = Slot(secret, None)
        slot.checked_at, slot.problem = parts.clock.now(), problem
        parts.states.note(secret, slot.state())
        parts.shelf.look_again(secret.id)


class Subscription:
    """Made by `SecretDesk.subscribe`."""

    def __init__(self, parts: DeskParts, watcher: SecretWatcher, actor: Actor, request_id: str) -> None:
        self._parts = parts
        self._watcher = watcher
        self._actor = actor
        self._request_id = request_id

    async def next(self, seconds: float) -> SecretValue | Told | None:
        """The value, once its delivery is durable; or why there is none (NOT_GRANTED, UNAVAILABLE), or that what is
        held is good (UNCHANGED); None: nothing new within `seconds`. Raises StoreError, Overloaded.
        """
        clock = self._parts.clock
        until = clock.monotonic() + seconds
        while True:
            news = self._watcher.take(clock.now(), 1)
            for refused in news.refused:
                await self._refuse(refused.name, refused.why)
            for absence in news.absences:
                return absence.told
            for delivery in news.deliveries:
                await self._parts.record.write([delivery], self._actor, self._request_id)
                still = self._watcher.still(delivery, clock.now())
                if still is not None:
                    self._watcher.told_value(still)
                    return still.held.value
            left = until - clock.monotonic()
            if left <= 0 or not await self._watcher.wait(left):
                return None

    async def _refuse(self, name: str, why: str) -> None:
        await self._parts.refusals.note(
            Refusal(
                action="secret.refused",
                actor=self._actor,
                target=Target("secret", name),
                reason=why,
                request_id=self._request_id,
                source=self._actor.id,
            )
        )


class _Visitor:
    """Wants a value for a moment."""

    def slot_changed(self, slot: Slot) -> None:
        """He waits for the look itself."""
