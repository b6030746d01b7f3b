"""Calls that the server puts off are made again: a bounded number of times, when it says, and without doing it twice."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from sds.client import NEVER, Call, Client, Retry, UnixSocket
from sds.client.errors import TooManyRequests, Unavailable, Unusable
from sds.client.transport.retry import retry_after_seconds
from tests.fakes.http_server import answer, replying

KEK = b'{"old_id": "a", "new_id": "b", "rewrapped": 1}'
EMPTY = b'{"agents": [], "next_cursor": null}'
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def put_off(status: int, after: str | None = "2") -> bytes:
    body = b'{"type": "urn:sds:problem:later", "detail": "later"}'
    return answer(status, body, headers={} if after is None else {"Retry-After": after, "X-Request-Id": "request-1"})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s"


def test_a_call_that_is_put_off_is_made_when_the_server_says(path: Path) -> None:
    slept: list[float] = []
    calls: list[Call] = []
    with (
        replying(put_off(429), put_off(503, "1"), answer(body=EMPTY), path=path) as server,
        Client(UnixSocket(path), sleep=slept.append, on_call=calls.append) as client,
    ):
        assert list(client.agents.list()) == []
    assert slept == [2.0, 1.0]
    assert server.heads() == ["GET /v1/agents?limit=500 HTTP/1.1"] * 3
    assert [(call.status, call.request_id) for call in calls] == [(429, "request-1"), (503, "request-1"), (200, "-")]


def test_a_repeated_post_has_one_idempotency_key(path: Path) -> None:
    with (
        replying(put_off(503), put_off(503), answer(body=KEK), path=path) as server,
        Client(UnixSocket(path), sleep=lambda _: None) as client,
    ):
        client.kek.rotate()
        client.kek.rotate()
    keys = [server.header(number, "idempotency-key") for number in range(4)]
    assert keys[0] is not None and keys[0] == keys[1] == keys[2] != keys[3]


def test_it_ends(path: Path) -> None:
    slept: list[float] = []
    with (
        replying(put_off(503), path=path) as server,
        Client(UnixSocket(path), sleep=slept.append) as client,
        pytest.raises(Unavailable),
    ):
        list(client.agents.list())
    assert (len(server.requests), slept) == (3, [2.0, 2.0])


@pytest.mark.parametrize("after", [None, "3600", "soon", "-1", "1" * 100, "\xb2"])
def test_who_does_not_say_when_or_too_late_is_not_asked_again(path: Path, after: str | None) -> None:
    with (
        replying(put_off(503, after), path=path) as server,
        Client(UnixSocket(path), sleep=print) as client,
        pytest.raises(Unavailable),
    ):
        list(client.agents.list())
    assert len(server.requests) == 1


def test_never_is_never(path: Path) -> None:
    with (
        replying(put_off(429), path=path) as server,
        Client(UnixSocket(path), retry=NEVER, sleep=print) as client,
        pytest.raises(TooManyRequests),
    ):
        list(client.agents.list())
    assert len(server.requests) == 1


def test_what_may_have_been_done_is_not_done_again(path: Path) -> None:
    """A DELETE after 503 might find nothing; after 429 nothing was done."""
    gone = answer(body=b'{"entry": 1}')
    with (
        replying(put_off(503), gone, path=path) as server,
        Client(UnixSocket(path), sleep=print) as client,
        pytest.raises(Unavailable),
    ):
        client.entries.delete("e")
    assert len(server.requests) == 1
    assert Retry().pause(1, 429, 1.0, repeatable=False) == 1.0
    assert Retry().pause(1, 503, 1.0, repeatable=False) is None
    assert Retry().pause(1, 500, 1.0, repeatable=True) is None


def test_a_revision_is_sent_as_if_match(path: Path) -> None:
    gone = answer(412, b'{"type": "urn:sds:problem:conflict", "detail": "no", "current_revision": 8}')
    with (
        replying(gone, path=path) as server,
        Client(UnixSocket(path)) as client,
        pytest.raises(Exception, match="no") as caught,
    ):
        client.entries.delete("e", revision=7)
    assert server.header(0, "if-match") == '"7"'
    assert getattr(caught.value, "current_revision", None) == 8


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        (" 7 ", 7.0),
        ("999999999999", 999999999.0),
        ("Tue, 01 Jan 2030 00:00:05 GMT", 5.0),
        ("Tue, 01 Jan 2019 00:00:05 GMT", 0.0),
        ("nonsense", None),
        ("1.5", None),
        ("", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(value, NOW) == seconds


def test_text_that_is_no_unicode_is_a_mistake_of_the_caller(path: Path) -> None:
    with replying(answer(), path=path), Client(UnixSocket(path)) as client, pytest.raises(Unusable):
        client.entries.create({"spiffe_id": "\udcff"})
