from __future__ import annotations

from collections.abc import Mapping

import httpx
import pytest

from sds.demo.traffic import Tally, Traffic, normal_serial


@pytest.mark.parametrize(("text", "serial"), [("0A:0B", "a0b"), ("00ff", "ff"), ("c95a", "c95a"), ("", "")])
def test_serials_are_compared_in_one_form(text: str, serial: str) -> None:
    assert normal_serial(text) == serial


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (httpx.Response(503, text="no healthy upstream"), "503: no healthy upstream"),
        (httpx.ConnectError("refused"), "ConnectError: refused"),
        (httpx.ReadTimeout("slow"), "ReadTimeout: slow"),
    ],
)
async def test_everything_but_an_answer_counts_as_failed(answer: httpx.Response | Exception, said: str) -> None:
    def handle(_: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    tally = Tally()
    async with httpx.AsyncClient(transport=httpx.MockTransport(handle)) as client:
        await Traffic("http://front/", tally).once(client)
    assert (tally.requests, tally.failed, list(tally.failures)) == (1, 1, [said])
    assert tally.distinct_serials == 0


async def test_an_answer_that_does_not_show_what_it_should_counts_as_failed() -> None:
    tally, shown = Tally(), list[str]()

    def check(headers: Mapping[str, str]) -> str:
        shown.append(headers["x-value"])
        return "a wrong value"

    transport = httpx.MockTransport(lambda _: httpx.Response(200, headers={"x-value": "1"}))
    async with httpx.AsyncClient(transport=transport) as client:
        await Traffic("http://front/", tally, check=check).once(client)
    assert (shown, tally.failed, list(tally.failures)) == (["1"], 1, ["a wrong value"])
