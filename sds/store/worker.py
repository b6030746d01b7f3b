"""Work in threads for callers on event loops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from sqlalchemy import Connection

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """What a piece of work returned, and whether the feed's followers must be woken once it is committed."""

    value: T
    wake: bool = False


Work = Callable[[Connection], Done[T]]
"""Runs inside a transaction, in a worker thread; may run again after a rollback."""


@dataclass(slots=True)
class Job(Generic[T]):
    """One piece of work and the caller who waits for it."""

    work: Work[T]
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    future: asyncio.Future[T] = field(init=False)

    def __post_init__(self) -> None:
        self.future = self.loop.create_future()

    @property
    def abandoned(self) -> bool:
        """Whether the caller was cancelled: work that has not begun is then not begun."""
        return self.future.cancelled()


Outcome = tuple[Job[T], "Done[T] | BaseException"]


def settle(outcomes: Sequence[Outcome[T]]) -> None:
    """Hand results to their callers; from any thread. One wake-up of each loop serves all its callers."""
    loops: dict[asyncio.AbstractEventLoop, list[Outcome[T]]] = {}
    for outcome in outcomes:
        loops.setdefault(outcome[0].loop, []).append(outcome)
    for loop, mine in loops.items():
        try:
            loop.call_soon_threadsafe(_settle, mine)
        except RuntimeError:  # the loop is closed, so nobody waits any more
            continue


def _settle(outcomes: Sequence[Outcome[T]]) -> None:
    for job, outcome in outcomes:
        if job.future.done():
            continue
        if isinstance(outcome, Done):
            job.future.set_result(outcome.value)
        else:
            job.future.set_exception(outcome)
