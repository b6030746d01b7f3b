"""What changes is told, to a bounded number, for a bounded time; and it says nothing but which pages to look at anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from sds.admin.errors import TooManyRequests
from sds.admin.pages.live import Live, LiveLimits
from sds.audit.event import Outcome
from sds.store.errors import Reason, StoreUnavailable
from tests.fakes.admin_audit import FakeAudit
from tests.fakes.clock import FakeClock
from tests.fakes.pages import CALL
from tests.fakes.wait import until

FAST = LiveLimits(streams=3, each=2, seconds=60, heartbeat=0.05, settle=0.0)


def request(caller: str = "one", accept: str = "text/event-stream") -> Any:
    call = SimpleNamespace(caller=SimpleNamespace(id=caller))
    return SimpleNamespace(scope={"state": {"call": call}}, headers={"accept": accept})


async def begin(live: Live, caller: str = "one") -> AsyncIterator[bytes]:
    answer: Any = await live.stream(request(caller))
    stream: AsyncIterator[bytes] = answer.body_iterator
    assert await anext(stream) == b"retry: 5000\n\n"
    return stream


async def told(stream: AsyncIterator[bytes], topic: str) -> None:
    async with asyncio.timeout(30):
        while await anext(stream) != f"event: changed\ndata: {topic}\n\n".encode():
            pass


async def test_everybody_is_told_of_a_change_and_reading_is_none() -> None:
    audit = FakeAudit(FakeClock().now)
    live = Live(audit, FAST)
    one, other = await begin(live), await begin(live, "other")
    await told(one, "heartbeat")  # from here on the log is followed
    await audit.append(CALL, "entry.update", "secret-name", Outcome.SUCCESS)
    for stream in (one, other):
        await told(stream, "entries")
    await audit.append(CALL, "admin.read", "x", Outcome.SUCCESS)
    async with asyncio.timeout(30):
        heard = [await anext(one) for _ in range(4)]
    assert {each.split(b"data: ")[1].strip() for each in heard} <= {b"fleet", b"heartbeat", b"overview"}
    await one.aclose()  # type: ignore[attr-defined]
    await other.aclose()  # type: ignore[attr-defined]


async def test_there_are_only_so_many() -> None:
    live = Live(FakeAudit(FakeClock().now), FAST)
    mine = [await begin(live), await begin(live)]
    with pytest.raises(TooManyRequests):
        await live.stream(request())
    other = await begin(live, "other")
    with pytest.raises(TooManyRequests):
        await live.stream(request("third"))
    await mine[0].aclose()  # type: ignore[attr-defined]
    third = await begin(live, "third")
    for stream in (mine[1], other, third):
        await stream.aclose()  # type: ignore[attr-defined]


async def test_a_stream_ends_by_itself() -> None:
    live = Live(FakeAudit(FakeClock().now), LiveLimits(seconds=0.1, heartbeat=0.05))
    stream = await begin(live)
    async with asyncio.timeout(30):
        heard = [each async for each in stream]
    assert heard


async def test_with_nobody_listening_nobody_follows() -> None:
    live = Live(FakeAudit(FakeClock().now), FAST)
    stream = await begin(live)
    (follower,) = [each for each in asyncio.all_tasks() if each.get_name() == "live pages"]
    await stream.aclose()  # type: ignore[attr-defined]
    await until(follower.done)
    assert "live pages" not in {each.get_name() for each in asyncio.all_tasks()}


async def test_a_log_that_is_away_ends_nothing() -> None:
    audit = FakeAudit(FakeClock().now)
    live = Live(audit, FAST)
    failing = True

    async def tail(query: Any, wait: Any) -> Any:
        if failing:
            raise StoreUnavailable(Reason.LOST)
        return await FakeAudit.tail(audit, query, wait)

    audit.tail = tail  # type: ignore[method-assign]
    stream = await begin(live)
    await told(stream, "heartbeat")
    failing = False
    for _ in range(100):  # whatever happened while it was away is told by the next look at the page
        await audit.append(CALL, "secret.put", "x", Outcome.SUCCESS)
        if await anext(stream) == b"event: changed\ndata: secrets\n\n":
            break
        await asyncio.sleep(0.05)
    else:
        pytest.fail("it was never told")
    await stream.aclose()  # type: ignore[attr-defined]


async def test_what_is_no_event_source_gets_none() -> None:
    answer = await Live(FakeAudit(FakeClock().now)).stream(request(accept="text/html"))
    assert answer.status_code == 406
