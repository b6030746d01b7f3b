"""/v1/notices: what it answers, what it takes."""

from __future__ import annotations

import httpx
import pytest


async def test_what_stands_is_listed_by_kind(http: httpx.AsyncClient) -> None:
    page = (await http.get("/v1/notices")).json()
    assert [one["id"] for one in page["notices"]] == ["notice-1", "notice-2"]
    assert page["next_cursor"] is None
    one = page["notices"][0]
    assert (one["kind"], one["told_stage"], one["due_at"], one["sent_at"]) == (
        "certificate",
        -1,
        "2026-01-01T00:00:00Z",
        None,
    )
    (chosen,) = (await http.get("/v1/notices", params={"kind": "authority", "over": "false"})).json()["notices"]
    assert chosen["id"] == "notice-2"


@pytest.mark.parametrize(
    "query", ["kind=canary", "over=canary", "urgent=1", "sort=canary", "limit=0", "recipient=" + "x" * 255]
)
async def test_what_is_no_filter_is_refused_without_being_repeated(http: httpx.AsyncClient, query: str) -> None:
    answer = await http.get(f"/v1/notices?{query}")
    assert answer.status_code == 422
    assert "canary" not in answer.text


async def test_a_test_says_whether_it_was_taken_over(http: httpx.AsyncClient) -> None:
    sent = await http.post("/v1/notices:test", json={"recipient": "ops@example.org"})
    assert (sent.status_code, sent.json()) == (200, {"recipient": "ops@example.org", "sent": True, "problem": ""})
    not_sent = (await http.post("/v1/notices:test", json={"recipient": "x@example.org"})).json()
    assert (not_sent["sent"], not_sent["problem"]) == (False, "the recipient is refused: 550 no")


@pytest.mark.parametrize(
    "body",
    [{}, {"recipient": 1}, {"recipient": "a@x.org\r\nBcc: canary@x.org"}, {"recipient": "x" * 256}, {"to": "canary"}],
)
async def test_bodies_are_strict(http: httpx.AsyncClient, body: object) -> None:
    answer = await http.post("/v1/notices:test", json=body)
    assert answer.status_code == 422
    assert "canary" not in answer.text
