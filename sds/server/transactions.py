"""What the server asks of the store, and the same with a meter in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, Protocol, TypeVar

from sds.audit.trace import left
from sds.clock import Clock
from sds.store.errors import StoreError, StoreUnavailable
from sds.store.feed import ChangeFeed
from sds.store.unit_of_work import UnitOfWork

T = TypeVar("T")
Mode = Literal["read", "write"]


class Transactions(Protocol):
    """See sds.store.store.Store."""

    async def write(self, work: Callable[[UnitOfWork], T]) -> T: ...

    async def read(self, work: Callable[[UnitOfWork], T]) -> T: ...

    def feed(self) -> ChangeFeed: ...

    async def close(self) -> None: ...


class TransactionObserver(Protocol):
    """Is told of each transaction: its outcome, its seconds from call to answer, and its events' outcomes."""

    def transaction(self, mode: Mode, outcome: str, seconds: float, events: Sequence[str]) -> None: ...


class Metered:
    """Transactions that are counted and timed."""

    def __init__(self, inner: Transactions, observer: TransactionObserver, clock: Clock) -> None:
        self._inner = inner
        self._observer = observer
        self._clock = clock

    async def write(self, work: Callable[[UnitOfWork], T]) -> T:
        def counted(uow: UnitOfWork) -> tuple[T, tuple[str, ...]]:
            return work(uow), uow.audit.outcomes

        with self._metered("write") as events:
            value, outcomes = await self._inner.write(counted)
            events.extend(outcomes)
        left(len(outcomes))
        return value

    async def read(self, work: Callable[[UnitOfWork], T]) -> T:
        with self._metered("read"):
            return await self._inner.read(work)

    @contextmanager
    def _metered(self, mode: Mode) -> Iterator[list[str]]:
        """Gives the place where the committed events' outcomes are put."""
        started = self._clock.monotonic()
        events: list[str] = []
        outcome = "failure"
        try:
            yield events
            outcome = "success"
        except StoreUnavailable:
            outcome = "unavailable"
            raise
        except StoreError:  # what was asked cannot be: the store answered
            outcome = "conflict"
            raise
        finally:
            self._observer.transaction(mode, outcome, self._clock.monotonic() - started, events)

    def feed(self) -> ChangeFeed:
        return self._inner.feed()

    async def close(self) -> None:
        await self._inner.close()
