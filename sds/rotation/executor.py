"""Does what the plan says is due: each step by compare-and-swap over the whole journal.

Any number of these may run against one database. Of two that decide by the same revision one succeeds, and the other
looks again; nothing is decided by who runs first or how often.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from ca.authority import AuthorityKind, AuthorityState
from ca.errors import CaError
from ca.rotation import Activate, Blocked, Drop, Prepare, Step, times
from sds.logs import get_logger
from sds.rotation.acts import LOST, Acts
from sds.rotation.look import Look
from sds.rotation.ports import RotationObserver

MAX_STEPS = 16
"""In one tick; a first start takes four."""
_SHOWN_EVERY = 6
"""Ticks between two looks at a fleet that nothing waits for yet, for the metrics."""


class Executor:
    """Ticked by a scheduler; remembers only what it has said, and what was due at the last tick."""

    def __init__(self, acts: Acts, observer: RotationObserver) -> None:
        self._acts = acts
        self._observer = observer
        self._one_at_a_time = asyncio.Lock()
        self._ticks = 0
        self._due_before: frozenset[str] = frozenset()
        self._problems: dict[AuthorityKind, str] = {}
        self._figures: dict[AuthorityKind, tuple[int, int]] = {}
        self._log = get_logger(__name__)

    @property
    def problems(self) -> Mapping[AuthorityKind, str]:
        """What was due at the last tick and could not be done."""
        return dict(self._problems)

    async def tick(self, *, hold: bool = True) -> int:
        """Do what is due; returns how many steps were done. Raises StoreError.

        With `hold`, what cannot be taken back is done only if it was due at the tick before, too: a wall clock that
        jumps ahead for a moment drops nothing and cuts nobody off. What goes wrong with one kind stops only that one.
        """
        async with self._one_at_a_time:
            done = 0
            problems: dict[AuthorityKind, str] = {}
            look = await self._look()
            for _ in range(MAX_STEPS):
                ready = [one for one in look.due() if one.kind not in problems and self._ripe(one, hold=hold)]
                if not ready:
                    break
                try:
                    await self._do(ready[0], look)
                    done += 1
                except LOST as lost:
                    self._log.info("somebody else was faster; looking again", reason=str(lost))
                except CaError as error:
                    problems[ready[0].kind] = str(error)
                look = await self._look()
            due = look.due()
            self._due_before = frozenset(map(_key, due))
            self._note({one.kind: one.reason for one in due if isinstance(one, Blocked)} | problems)
            self._ticks += 1
            if look.fleet or done or self._ticks % _SHOWN_EVERY == 1:
                self._show(look if look.fleet else await self._acts.look())
            return done

    async def _look(self) -> Look:
        """With the fleet only where an authority would be activated if there were none: reading it takes long."""
        look = await self._acts.look(whole_fleet=False)
        if any(isinstance(one, Activate) and one.kind is AuthorityKind.X509 for one in look.due()):
            return await self._acts.look()
        return look

    def _ripe(self, step: Step, *, hold: bool) -> bool:
        final = isinstance(step, Drop) or (isinstance(step, Activate) and step.past_deadline)
        return not isinstance(step, Blocked) and (not (hold and final) or _key(step) in self._due_before)

    async def _do(self, step: Step, look: Look) -> None:
        own = self._acts.rules.own
        match step:
            case Prepare():
                await self._acts.prepare(look, step.kind, step.reason, own)
            case Activate():
                authority = look.slot(step.authority_id)
                await self._acts.activate(
                    look, authority, step.gate, step.reason, own, past_deadline=step.past_deadline
                )
            case Drop():
                await self._acts.drop(look, look.slot(step.authority_id), step.reason, own)
            case Blocked():
                raise AssertionError("there is nothing to do about it")

    def _note(self, problems: dict[AuthorityKind, str]) -> None:
        """An alarm when something goes wrong in a new way, and a word when it is over."""
        for kind in AuthorityKind:
            now, before = problems.get(kind), self._problems.get(kind)
            if now is not None and now != before:
                self._log.error(
                    "the rotation of an authority cannot go on; what is issued goes on being served, and this is "
                    "tried again",
                    kind=str(kind),
                    reason=now,
                )
            elif now is None and before is not None:
                self._log.info("the rotation of an authority goes on", kind=str(kind))
            self._observer.rotation_problem(str(kind), now is not None)
        self._problems = problems

    def _show(self, look: Look) -> None:
        """How far the fleet is with the prepared authority of each kind; in the log once it is being waited for."""
        for kind in AuthorityKind:
            waiting = next(
                (one for one in look.slots if one.kind is kind and one.state is AuthorityState.PREPARED), None
            )
            if waiting is None:
                self._figures.pop(kind, None)
                self._observer.rotation_gate(str(kind), 0, 0)
                continue
            gate = look.gate(waiting)
            self._observer.rotation_gate(str(kind), gate.total, gate.acked)
            active = look.active(kind)
            needed = active is None or not active.usable(look.now) or look.now >= times(active, look.policy).activate
            figures = (gate.total, gate.acked)
            if needed and gate.reasons and self._figures.get(kind) != figures:
                self._figures[kind] = figures
                self._log.warning(
                    "the next authority waits", kind=str(kind), authority_id=waiting.id, reasons=gate.reasons
                )


def _key(step: Step) -> str:
    """The same for the same step at two ticks."""
    match step:
        case Activate() | Drop():
            return f"{type(step).__name__} {step.authority_id}"
        case _:
            return f"{type(step).__name__} {step.kind}"
