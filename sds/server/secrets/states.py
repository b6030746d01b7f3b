"""Writes down how secrets stand at their sources; what is wrong with one is audited once, for all replicas."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

from sds.audit.event import Outcome, Target
from sds.clock import Clock
from sds.logs import get_logger
from sds.secrets.ageing import too_old
from sds.secrets.secret import TICKETS, Secret, SecretState
from sds.server.events import Events, rfc3339, system_actor
from sds.server.transactions import Transactions
from sds.store.errors import NotFound, StoreError
from sds.store.unit_of_work import UnitOfWork

PERIOD = 0.5
"""Seconds between two transactions; what was noted meanwhile shares one."""
CHECKED_EVERY = timedelta(minutes=1)
"""How old the time of the last look may be in the database, while nothing else has changed."""
BATCH = 256
MAX_PROBLEM = 500
AGE = "age"
"""The code of a value that is older than its rotation policy allows; it is in use all the same."""


class States:
    """`note` from anywhere on the event loop, `run` beside the listeners."""

    def __init__(self, store: Transactions, events: Events, clock: Clock) -> None:
        self._store = store
        self._events = events
        self._clock = clock
        self._dirty: dict[str, SecretState] = {}
        self._written: dict[str, SecretState] = {}
        self._wake = asyncio.Event()
        self._log = get_logger(__name__)

    def note(self, secret: Secret, state: SecretState) -> None:
        """Of several notes of one secret before the next transaction the last one counts."""
        if secret.id == TICKETS:
            return
        state = _aged(secret, replace(state, problem=state.problem[:MAX_PROBLEM]), self._clock)
        written = self._written.get(secret.id)
        if written is not None and secret.id not in self._dirty and _same(written, state):
            return
        self._dirty[secret.id] = state
        self._wake.set()

    def forget(self, secret_id: str) -> None:
        """The secret is gone."""
        self._dirty.pop(secret_id, None)
        self._written.pop(secret_id, None)

    async def run(self) -> None:
        """Write what was noted, until cancelled."""
        while True:
            await self._wake.wait()
            try:
                await self.flush()
            except StoreError as error:
                self._log.warning("how secrets stand could not be written down; trying again", reason=str(error))
            await asyncio.sleep(PERIOD * (0.5 + self._clock.jitter()))

    async def close(self) -> None:
        """Write what is still to be written, if that can be."""
        with suppress(StoreError):
            await self.flush()

    async def flush(self) -> None:
        """Write it now. Raises StoreError; then it is still to be written."""
        self._wake.clear()
        while self._dirty:
            chosen = dict(list(self._dirty.items())[:BATCH])
            try:
                await self._store.write(lambda uow, chosen=chosen: self._write(uow, chosen))  # type: ignore[misc]
            except StoreError:
                self._wake.set()
                raise
            for secret_id, state in chosen.items():
                self._written[secret_id] = state
                if self._dirty.get(secret_id) is state:
                    del self._dirty[secret_id]

    def _write(self, uow: UnitOfWork, states: dict[str, SecretState]) -> None:
        for secret_id, state in sorted(states.items()):
            try:
                before = uow.secrets.state(secret_id)
                name = uow.secrets.get(secret_id).name
            except NotFound:
                continue
            since = before.problem_since if before.problem_code == state.problem_code else uow.now
            uow.secrets.note_state(secret_id, replace(state, problem_since=since if state.problem_code else None))
            if before.problem_code != state.problem_code:
                self._audit(uow, secret_id, name, before, state)

    def _audit(self, uow: UnitOfWork, secret_id: str, name: str, before: SecretState, state: SecretState) -> None:
        wrong = bool(state.problem_code)
        details = {"name": name, "code": state.problem_code or before.problem_code, "version": state.version}
        if not wrong and before.problem_since is not None:
            details["since"] = rfc3339(before.problem_since)
        uow.audit.append(
            self._events.make(
                uow.now,
                "secret.problem" if wrong else "secret.recovered",
                system_actor(),
                Target("secret", secret_id),
                outcome=Outcome.FAILURE if wrong else Outcome.SUCCESS,
                reason=state.problem,
                details=details,
            )
        )


def _aged(secret: Secret, state: SecretState, clock: Clock) -> SecretState:
    """With what is to be said of its age, if nothing worse is."""
    if state.changed_at is None or state.problem_code or not too_old(secret, state.changed_at, clock.now()):
        return state
    return replace(state, problem_code=AGE, problem=f"it was not changed since {rfc3339(state.changed_at)}")


def _same(written: SecretState, state: SecretState) -> bool:
    """Whether nothing is worth a transaction."""
    if replace(written, checked_at=state.checked_at) != state:
        return False
    if written.checked_at is None or state.checked_at is None:
        return written.checked_at == state.checked_at
    return state.checked_at - written.checked_at < CHECKED_EVERY
