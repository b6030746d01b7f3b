"""Following the change feed: woken at once by a commit in this process or a notification, and by a clock as the net."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Protocol, TypeVar

from sds.store.change_records import ChangeBatch, FeedState
from sds.store.errors import FeedTruncated, Reason, StoreUnavailable
from sds.store.unit_of_work import UnitOfWork
from sds.store.wakeups import Wakeups

T = TypeVar("T")


class Reader(Protocol):
    """Store.read."""

    def __call__(self, work: Callable[[UnitOfWork], T], /) -> Awaitable[T]: ...


class ChangeFeed:
    """Hands out every change after a place, in order of commit, to any number of followers."""

    def __init__(self, read: Reader, wakeups: Wakeups, poll_interval: float) -> None:
        """`poll_interval`: seconds after which a follower looks even if nothing woke it."""
        self._read = read
        self._wakeups = wakeups
        self._poll_interval = poll_interval

    async def state(self) -> FeedState:
        """From where the feed can be followed now."""
        return await self._read(lambda work: work.changes.state())

    async def follow(self, after: int, epoch: str | None = None) -> AsyncGenerator[ChangeBatch, None]:
        """Batches of changes after place `after`, for ever; never an empty one. Close the iterator when done.

        Raises FeedTruncated, at the start or later, if what follows `after` is not kept, or was counted in another
        epoch: take a snapshot (with `changes.state()` in the same unit of work) and follow from there. While the
        database is unavailable it waits; StoreUnavailable is raised only once the store is closed.
        """
        with self._wakeups.subscribe() as woken:
            while True:
                woken.clear()  # before reading: what commits while we read must wake us again
                batch = await self._next(after, epoch)
                if batch is not None and batch.changes:
                    after = batch.last
                    yield batch
                    continue
                try:
                    await asyncio.wait_for(woken.wait(), self._poll_interval)
                except TimeoutError:
                    continue

    async def _next(self, after: int, epoch: str | None) -> ChangeBatch | None:
        """None while the database is unavailable."""

        def read(work: UnitOfWork) -> ChangeBatch:
            state = work.changes.state()
            if not state.oldest <= after <= state.newest or epoch not in (None, state.epoch):
                raise FeedTruncated(after, state.oldest, state.newest)
            return work.changes.since(after)

        try:
            return await self._read(read)
        except StoreUnavailable as error:
            if error.reason is Reason.CLOSED:
                raise
            return None
