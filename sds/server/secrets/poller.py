"""Asks sources that tell nothing by themselves whether wanted secrets have changed, as often as the budget allows.

What is looked at together makes a group. When a group is due is known here alone and follows from its last look, so
that a restart, or a source that was away, starts no storm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from sds.clock import Clock
from sds.logs import get_logger
from sds.secrets.errors import SecretError, SecretUnavailable
from sds.secrets.secret import Secret
from sds.server.secrets.backends import SecretBackends, backend_name
from sds.server.secrets.schedule import PollPolicy, first_look, interval, next_look
from sds.server.secrets.shelf import Shelf
from sds.server.secrets.slot import Slot

TICK = 0.1
"""Seconds between two looks at what is due."""
REGROUP = 0.5
"""Seconds between two looks at what is wanted."""
LOOKS = 8
"""Groups looked at at once."""


@runtime_checkable
class Asked(Protocol):
    """A backend that has to be asked."""

    def key_of(self, secret: Secret) -> str: ...

    def cost_of(self, secrets: Sequence[Secret]) -> int: ...

    async def newest(self, secrets: Sequence[Secret]) -> Mapping[str, str | SecretError]: ...


class PollObserver(Protocol):
    def secret_interval(self, seconds: float) -> None: ...

    def secret_looked(self, outcome: str, count: int) -> None: ...


GroupKey = tuple[str, str, float | None]
"""The backend's name, its own key, and the interval (seconds) of secrets that have one of their own."""


@dataclass(slots=True, eq=False)
class _Group:
    """`due` in monotonic seconds."""

    due: float
    slots: list[Slot] = field(default_factory=list)
    failures: int = 0
    busy: bool = False


class SecretPoller:
    """`run` beside the listeners."""

    def __init__(
        self, shelf: Shelf, backends: SecretBackends, clock: Clock, policy: PollPolicy, observer: PollObserver
    ) -> None:
        self._shelf = shelf
        self._backends = backends
        self._clock = clock
        self._policy = policy
        self._observer = observer
        self._groups: dict[GroupKey, _Group] = {}
        self._places = asyncio.Semaphore(LOOKS)
        self._looking: set[asyncio.Task[None]] = set()
        self._pause = policy.shortest
        self._regrouped: float | None = None
        self._backend_of: dict[str, Asked | None] = {}
        self._log = get_logger(__name__)

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                self.tick()
                await asyncio.sleep(TICK)
        finally:
            for task in self._looking:
                task.cancel()
            await asyncio.gather(*self._looking, return_exceptions=True)

    def tick(self) -> None:
        """Begin the looks that are due."""
        now = self._clock.monotonic()
        if self._regrouped is None or now - self._regrouped >= REGROUP:
            self._regrouped = now
            self._regroup(now)
        for key, group in self._groups.items():
            if group.due <= now and not group.busy:
                group.busy = True
                task = asyncio.create_task(self._look(key, group), name="look at secrets")
                self._looking.add(task)
                task.add_done_callback(self._looking.discard)

    async def idle(self) -> None:
        """Wait for the looks that are under way."""
        await asyncio.gather(*self._looking, return_exceptions=True)

    def _regroup(self, now: float) -> None:
        """Sort what is wanted now into groups. One that was there keeps its turn, a new one gets a random place."""
        members: dict[GroupKey, list[Slot]] = {}
        for slot in self._shelf.slots():
            key = self._key(slot)
            if key is not None:
                members.setdefault(key, []).append(slot)
        self._pause = self._interval(members)
        for key in self._groups.keys() - members.keys():
            del self._groups[key]
        for key, slots in members.items():
            group = self._groups.get(key)
            if group is None:
                group = self._groups[key] = _Group(now + first_look(key[2] or self._pause, self._clock.jitter()))
            group.slots = slots

    def _key(self, slot: Slot) -> GroupKey | None:
        """None: this one need not be asked for."""
        if slot.receiver is not None or slot.first:
            return None
        backend = self._asked(slot.secret)
        if backend is None:
            return None
        refresh = slot.secret.spec.refresh
        own = None if refresh is None else refresh.total_seconds()
        return backend_name(slot.secret), backend.key_of(slot.secret), own

    def _asked(self, secret: Secret) -> Asked | None:
        name = backend_name(secret)
        if name not in self._backend_of:
            backend: object = None
            with suppress(SecretUnavailable):
                backend = self._backends.of(secret)
            self._backend_of[name] = backend if isinstance(backend, Asked) else None
        return self._backend_of[name]

    def _interval(self, members: Mapping[GroupKey, list[Slot]]) -> float:
        cost, reserved = 0, 0.0
        for (_, _, own), slots in members.items():
            backend = self._asked(slots[0].secret)
            one = 0 if backend is None else backend.cost_of([slot.secret for slot in slots])
            if own is None:
                cost += one
            else:
                reserved += one / own
        pause = interval(cost, reserved, self._policy)
        self._observer.secret_interval(pause)
        return pause

    async def _look(self, key: GroupKey, group: _Group) -> None:
        """Ask for one group, and plan its next turn."""
        slots = list(group.slots)
        answered = False
        try:
            async with self._places:
                answered = await self._ask(slots)
        except SecretError as error:
            self._log.warning("a source of secrets does not answer", reason=str(error))
        except Exception:  # noqa: BLE001  # a mistake of ours; the next look is due all the same
            self._log.exception("a source of secrets could not be asked")
        finally:
            group.failures = 0 if answered else group.failures + 1
            self._observer.secret_looked("success" if answered else "unavailable", len(slots))
            pause = next_look(key[2] or self._pause, group.failures, self._clock.jitter(), self._policy)
            group.due = self._clock.monotonic() + pause
            group.busy = False

    async def _ask(self, slots: Sequence[Slot]) -> bool:
        """Whether the source answered. Raises SecretError."""
        backend = self._asked(slots[0].secret)
        if backend is None:
            return True
        asked = {slot: slot.secret for slot in slots}
        answer = await backend.newest(list(asked.values()))
        now = self._clock.now()
        away = 0
        for slot, secret in asked.items():
            told = answer.get(secret.id)
            away += isinstance(told, SecretUnavailable)
            if slot.secret is secret:
                self._shelf.compare(slot, told, now)
        return away < len(slots)
