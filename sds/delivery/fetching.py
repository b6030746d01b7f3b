"""A unary fetch waits a moment for secrets that nobody here has asked for before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from sds.delivery.ports import Caller
from sds.delivery.view import View


@asynccontextmanager
async def known(caller: Caller, names: Sequence[str], spiffe_validator: bool, patience: float) -> AsyncIterator[View]:
    """The caller's view once it is known what is under the names, at the latest after `patience` seconds.

    They are wanted until the block ends. Raises AttestationRefused, LimitExceeded.
    """
    view = caller.view()
    if not _waits(view, names, spiffe_validator):
        yield view
        return
    news = asyncio.Event()
    unwatch = caller.watch(news.set)
    try:
        caller.want(news.set, names)
        try:
            async with asyncio.timeout(patience):
                while _waits(view := caller.view(), names, spiffe_validator):
                    await news.wait()
                    news.clear()
        except TimeoutError:
            view = caller.view()
        yield view
    finally:
        unwatch()


def _waits(view: View, names: Sequence[str], spiffe_validator: bool) -> bool:
    return any(view.resolve(name, spiffe_validator=spiffe_validator) is None and view.awaits(name) for name in names)
