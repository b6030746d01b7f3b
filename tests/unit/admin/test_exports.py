"""How the pieces of an export come to be: one ahead of what is being sent, and none for whoever has gone."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator

import pytest

from sds.admin.routes.exports import FIRST_ROWS, ROWS, Table, export, one_ahead
from sds.admin.services import Page


class Pieces:
    """Counts what was made; waits or fails where it is told to."""

    def __init__(self, number: int, *, stuck_at: int | None = None, fails_at: int | None = None) -> None:
        self.made = 0
        self.ended = asyncio.Event()
        self._number, self._stuck_at, self._fails_at = number, stuck_at, fails_at

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            for piece in range(self._number):
                if piece == self._stuck_at:
                    await asyncio.Event().wait()
                if piece == self._fails_at:
                    raise RuntimeError("the source is gone")
                self.made += 1
                yield b"%d" % piece
        finally:
            self.ended.set()


async def test_each_piece_comes_once_and_in_order() -> None:
    assert [piece async for piece in one_ahead(aiter(Pieces(5)))] == [b"0", b"1", b"2", b"3", b"4"]
    assert [piece async for piece in one_ahead(aiter(Pieces(0)))] == []


async def test_the_next_one_is_made_while_one_is_sent_and_no_more_than_that() -> None:
    source = Pieces(5)
    ahead = one_ahead(aiter(source))
    assert await anext(ahead) == b"0"
    for _ in range(20):  # whoever receives it takes its time
        await asyncio.sleep(0)
    assert source.made == 2
    await ahead.aclose()  # type: ignore[attr-defined]
    await asyncio.wait_for(source.ended.wait(), 10)
    assert source.made == 2


async def test_whoever_goes_leaves_no_work_behind() -> None:
    source = Pieces(5, stuck_at=1)
    ahead = one_ahead(aiter(source))
    assert await anext(ahead) == b"0"
    await ahead.aclose()  # type: ignore[attr-defined]
    await asyncio.wait_for(source.ended.wait(), 10)
    assert len(asyncio.all_tasks()) == 1


async def test_a_failure_comes_after_what_was_made_before_it() -> None:
    ahead = one_ahead(aiter(Pieces(5, fails_at=2)))
    assert [await anext(ahead), await anext(ahead)] == [b"0", b"1"]
    with pytest.raises(RuntimeError, match="the source is gone"):
        await anext(ahead)


async def test_a_failure_that_nobody_is_left_to_hear_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    ahead = one_ahead(aiter(Pieces(5, fails_at=1)))
    assert await anext(ahead) == b"0"
    for _ in range(20):
        await asyncio.sleep(0)
    await ahead.aclose()  # type: ignore[attr-defined]
    del ahead
    await asyncio.sleep(0)
    gc.collect()
    assert caplog.records == []


async def test_the_first_page_is_small_and_the_others_are_not() -> None:
    asked = list[tuple[str | None, int]]()

    async def fetch(cursor: str | None, limit: int) -> Page[int]:
        asked.append((cursor, limit))
        return Page((len(asked),), {1: "a", 2: "b"}.get(len(asked)))

    answer = await export(Table("numbers", ("number",), lambda number: (number,)), "csv", fetch)
    assert asked == [(None, FIRST_ROWS)]
    assert b"".join([piece async for piece in answer.body_iterator]) == b'"number"\r\n"1"\r\n"2"\r\n"3"\r\n'  # type: ignore[misc]
    assert asked == [(None, FIRST_ROWS), ("a", ROWS), ("b", ROWS)]
    assert FIRST_ROWS * 5 <= ROWS
