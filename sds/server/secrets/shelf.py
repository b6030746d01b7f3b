"""The values that somebody here wants now, each once and in memory alone. What nobody wants is forgotten.

A source that fails takes nothing away: the last good value stays until another good one comes, or nobody wants it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from typing import Protocol

from attestation.spiffe_id import SpiffeId
from sds.clock import Clock
from sds.logs import get_logger
from sds.secrets.backend import Fetched
from sds.secrets.errors import SecretError, SecretMalformed, SecretUnavailable
from sds.secrets.judge import Limits
from sds.secrets.secret import Secret, SecretState, SecretValue
from sds.server.secrets.backends import BACKENDS, SecretBackends, backend_name
from sds.server.secrets.judging import judge_aside
from sds.server.secrets.schedule import PollPolicy, next_look
from sds.server.secrets.slot import Held, Key, Problem, Slot, SlotUser, wire_version

FETCHES = 16
"""Under way at once to one backend."""
_BROKEN = "an internal error; the server's log has it"


class Notes(Protocol):
    """Is told how secrets stand, to write it down."""

    def note(self, secret: Secret, state: SecretState) -> None: ...


class ShelfObserver(Protocol):
    """`outcome`: success, or the code of a SecretError."""

    def secret_fetched(self, backend: str, outcome: str, seconds: float) -> None: ...

    def secrets_held(self, values: int, problems: int) -> None: ...


class Shelf:
    """Not for several threads: the event loop's own."""

    def __init__(
        self,
        backends: SecretBackends,
        notes: Notes,
        clock: Clock,
        limits: Limits,
        policy: PollPolicy,
        observer: ShelfObserver,
        linger: float = 60.0,
    ) -> None:
        """`linger`: seconds for which what was made for one receiver stays his after he went, should he come back."""
        self._backends = backends
        self._notes = notes
        self._clock = clock
        self._limits = limits
        self._policy = policy
        self._observer = observer
        self._linger = linger
        self._slots: dict[Key, Slot] = {}
        self._by_secret: dict[str, set[Slot]] = {}
        self._gates = {name: asyncio.Semaphore(FETCHES) for name in BACKENDS}
        self._leaving: dict[Key, asyncio.TimerHandle] = {}
        self._working: set[asyncio.Task[None]] = set()
        self._closed = False
        self._log = get_logger(__name__)

    # Wanting

    def key(self, secret: Secret, receiver: SpiffeId | None) -> Key:
        """Which slot holds the secret for this receiver."""
        return secret.id, receiver if self._backends.per_identity(secret) else None

    def hold(self, secret: Secret, receiver: SpiffeId | None, user: SlotUser) -> Slot:
        """The value for this receiver, which is fetched if nobody has wanted it yet; until `drop`."""
        key = self.key(secret, receiver)
        slot = self._slots.get(key)
        if slot is None:
            leaving = self._leaving.pop(key, None)
            if leaving is not None:
                leaving.cancel()
            slot = self._slots[key] = Slot(secret, key[1])
            self._by_secret.setdefault(secret.id, set()).add(slot)
            self.fetch(slot)
        slot.users.add(user)
        return slot

    def drop(self, slot: Slot, user: SlotUser, *, for_good: bool = False) -> None:
        """`user` wants it no more; the last one takes the value along. `for_good`: he may not have it any more."""
        slot.users.discard(user)
        if slot.users or self._slots.get(slot.key) is not slot:
            return
        del self._slots[slot.key]
        of_secret = self._by_secret[slot.secret.id]
        of_secret.discard(slot)
        if not of_secret:
            del self._by_secret[slot.secret.id]
        slot.held = None
        if slot.timer is not None:
            slot.timer.cancel()
        if slot.receiver is not None:
            self._leave(slot, 0.0 if for_good else self._linger)

    def slots(self) -> Iterable[Slot]:
        return self._slots.values()

    def of(self, secret_id: str) -> Iterable[Slot]:
        """All values of one secret that are wanted now."""
        return tuple(self._by_secret.get(secret_id, ()))

    # Looking

    def changed(self, secret: Secret) -> None:
        """Its definition, its grants or its values may have changed: look at the source."""
        for slot in self.of(secret.id):
            slot.secret = secret
            self.fetch(slot)

    def look_again(self, secret_id: str, receiver: SpiffeId | None = None) -> None:
        """The source has another value, of this receiver or of all."""
        for slot in self.of(secret_id):
            if receiver is None or slot.receiver == receiver:
                self.fetch(slot)

    def fetch(self, slot: Slot) -> asyncio.Task[None]:
        """Ask the source; whoever wants that while it is under way gets one more, later."""
        if slot.timer is not None:
            slot.timer.cancel()
            slot.timer = None
        if slot.task is not None:
            slot.again = True
            return slot.task
        slot.task = asyncio.create_task(self._fetching(slot), name="fetch of a secret")
        self._working.add(slot.task)
        slot.task.add_done_callback(self._working.discard)
        return slot.task

    def compare(self, slot: Slot, answer: str | SecretError | None, now: datetime) -> None:
        """What the source says it would give now: a version, why it gives none, or nothing at all (None)."""
        if not self._alive(slot) or slot.first:
            return
        if isinstance(answer, SecretError):
            self._failed(slot, Problem.of(answer), now)
        elif answer is None or answer != slot.seen or self._beyond_malformed(slot):
            self.fetch(slot)
        else:
            slot.checked_at = now
            self._notes.note(slot.secret, slot.state())

    def expire(self, now: datetime) -> None:
        """What has ended by itself is not sent any more."""
        for slot in self._slots.values():
            if slot.held is not None and not slot.held.fit(now) and slot.problem is None:
                self._failed(slot, Problem(SecretMalformed.code, "it has expired, and there is no newer one"), now)

    def observe(self) -> None:
        """Tell how many there are."""
        slots = self._slots.values()
        self._observer.secrets_held(
            sum(slot.held is not None for slot in slots), sum(slot.problem is not None for slot in slots)
        )

    async def close(self) -> None:
        """Fetch no more, forget all values, and wait for what is under way."""
        self._closed = True
        for timer in self._leaving.values():
            timer.cancel()
        for slot in self._slots.values():
            slot.held = None
            if slot.timer is not None:
                slot.timer.cancel()
        for task in self._working:
            task.cancel()
        await asyncio.gather(*self._working, return_exceptions=True)

    # Below

    def _alive(self, slot: Slot) -> bool:
        return self._slots.get(slot.key) is slot and not self._closed

    @staticmethod
    def _beyond_malformed(slot: Slot) -> bool:
        """It answers again, and what went wrong was not what it holds."""
        return slot.problem is not None and slot.problem.code != SecretMalformed.code

    async def _fetching(self, slot: Slot) -> None:
        try:
            while True:
                slot.again = False
                await self._fetch(slot)
                if not slot.again or not self._alive(slot):
                    return
        finally:
            slot.task = None

    async def _fetch(self, slot: Slot) -> None:
        """Ask once. Nothing of a value outlives this but what goes into the slot."""
        secret, name = slot.secret, backend_name(slot.secret)
        started = self._clock.monotonic()
        outcome = "success"
        try:
            async with self._gates[name]:
                fetched = await self._backends.of(secret).fetch(secret, slot.receiver)
            await self._judge(slot, secret, fetched)
            outcome = "success" if slot.problem is None else slot.problem.code
        except SecretError as error:
            outcome = error.code
            self._failed(slot, Problem.of(error), self._clock.now())
        except Exception:  # noqa: BLE001  # a mistake of ours; it must not end anything else
            outcome = SecretUnavailable.code
            self._log.exception("a secret could not be fetched", secret_id=secret.id, backend=name)
            self._failed(slot, Problem(SecretUnavailable.code, _BROKEN), self._clock.now())
        finally:
            self._observer.secret_fetched(name, outcome, self._clock.monotonic() - started)

    async def _judge(self, slot: Slot, secret: Secret, fetched: Fetched) -> None:
        now = self._clock.now()
        slot.seen = fetched.version
        try:
            value = await judge_aside(secret.spec.kind, fetched, now, self._limits)
        except SecretMalformed as error:
            self._failed(slot, Problem.of(error), now)
            return
        version = wire_version(secret, fetched.version, fetched.changed_at)
        named = SecretValue(value.kind, version, value.fields, value.not_after)
        self._took(slot, Held(named, fetched.version, fetched.changed_at or now), now)

    def _took(self, slot: Slot, held: Held, now: datetime) -> None:
        if not self._alive(slot):
            return
        before, problem = slot.held, slot.problem
        slot.checked_at, slot.failures, slot.problem = now, 0, None
        if slot.timer is not None:
            slot.timer.cancel()
            slot.timer = None
        same = before is not None and before.value.version == held.value.version
        if not same:
            slot.held = held
            slot.detected = None if before is None else self._clock.monotonic()
        if not same or problem is not None:
            self._tell(slot)
        self._notes.note(slot.secret, slot.state())

    def _failed(self, slot: Slot, problem: Problem, now: datetime) -> None:
        if not self._alive(slot):
            return
        before, slot.problem = slot.problem, problem
        slot.checked_at = now
        slot.failures += 1
        if slot.timer is None and slot.task is not None:
            pause = next_look(self._policy.retry, slot.failures, self._clock.jitter(), self._policy)
            slot.timer = asyncio.get_running_loop().call_later(pause, self._retry, slot)
        if before != problem:
            self._log.warning(
                "a secret cannot be had; the last good value stays",
                name=slot.secret.name,
                code=problem.code,
                reason=problem.text,
            )
            self._tell(slot)
        self._notes.note(slot.secret, slot.state())

    def _retry(self, slot: Slot) -> None:
        slot.timer = None
        if self._alive(slot):
            self.fetch(slot)

    @staticmethod
    def _tell(slot: Slot) -> None:
        for user in tuple(slot.users):
            user.slot_changed(slot)

    def _leave(self, slot: Slot, seconds: float) -> None:
        """Give back what was made for its receiver, unless somebody wants it again until then."""
        if self._closed:
            return
        key, secret = slot.key, slot.secret

        def now() -> None:
            self._leaving.pop(key, None)
            task = asyncio.create_task(self._release(secret, key, slot.task), name="release of a secret")
            self._working.add(task)
            task.add_done_callback(self._working.discard)

        self._leaving[key] = asyncio.get_running_loop().call_later(seconds, now)

    async def _release(self, secret: Secret, key: Key, fetching: asyncio.Task[None] | None) -> None:
        if fetching is not None:
            await asyncio.gather(fetching, return_exceptions=True)
        if key in self._slots:
            return
        with suppress(SecretError):  # whoever leased it finds it again
            await self._backends.of(secret).release(secret, key[1])
