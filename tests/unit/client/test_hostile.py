"""Whoever answers may be broken or hostile: every answer ends in bounded time and memory with an error of ours."""

from __future__ import annotations

import gzip
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sds.client import Client, ClientError, UnixSocket
from sds.client.errors import BrokenOff, NoSuchCall, NotFound, NotTheApi, ServerFailed, Unexpected, Unreachable
from sds.client.transport import connection
from tests.fakes.http_server import Reply, Replying, answer, replying

SECRET = b"hunter2-in-the-answer"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s"


def ask(path: Path, *replies: bytes | Reply, timeout: float = 30.0) -> tuple[BaseException | None, Replying]:
    """What listing the agents ends with."""
    with replying(*replies, path=path) as server, Client(UnixSocket(path), timeout=timeout) as client:
        try:
            list(client.agents.list())
        except ClientError as error:
            return error, server
    return None, server


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hunter2-in-the-answer",
        b"{",
        b"\xff\xfe",
        b"NaN",
        b'{"agents": NaN}',
        b"[" * 100_000,
        b"1" * 10_000,
        b"null\x00",
    ],
    ids=["empty", "text", "cut", "bytes", "nan", "inside", "deep", "long", "nul"],
)
def test_what_is_no_json_is_not_the_api(path: Path, body: bytes) -> None:
    error, _ = ask(path, answer(body=body))
    assert isinstance(error, NotTheApi)
    assert SECRET.decode() not in str(error)


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"1",
        b"{}",
        b'{"agents": {}}',
        b'{"agents": ["hunter2-in-the-answer"]}',
        b'{"agents": [{}]}',
        b'{"agents": [], "next_cursor": 7}',
    ],
)
def test_what_has_other_fields_names_them_and_no_value(path: Path, body: bytes) -> None:
    error, _ = ask(path, answer(body=body))
    assert isinstance(error, Unexpected)
    assert error.fields
    shown = f"{error} {error!r} {error.__cause__!r} {error.__context__!r}"
    assert SECRET.decode() not in shown


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("entries", '"7"'),
        ("entries", "7.5"),
        ("entries", "true"),
        ("banned", "1"),
        ("banned", '"yes"'),
        ("not_after", "1893456000"),
        ("not_after", '"2030-01-01"'),
        ("not_after", '"2030-01-01T00:00:00"'),
        ("not_after", '"2030-13-01T00:00:00Z"'),
        ("selectors", '"unix:uid:1"'),
        ("selectors", "[1]"),
        ("spiffe_id", "null"),
    ],
)
def test_types_are_not_converted(path: Path, field: str, value: str) -> None:
    agent = {
        **dict.fromkeys(("spiffe_id", "attestation_type", "serial", "banned_reason", "address", "version"), '"x"'),
        **dict.fromkeys(("not_after", "attested_at"), '"2030-01-01T00:00:00Z"'),
        **dict.fromkeys(("renewed_at", "last_seen", "banned_at"), "null"),
        **dict.fromkeys(("banned", "downstream", "connected"), "false"),
        "selectors": "[]",
        "entries": "0",
        "streams": "0",
        "something_new": '{"a": [1]}',
    }

    def page(fields: dict[str, str]) -> bytes:
        one = ", ".join(f'"{key}": {text}' for key, text in fields.items())
        return answer(body=f'{{"agents": [{{{one}}}], "next_cursor": null}}'.encode())

    assert ask(path, page(agent))[0] is None, "what is new is let through"
    path.unlink()
    error, _ = ask(path, page({**agent, field: value}))
    assert isinstance(error, Unexpected)
    assert error.fields[0].startswith(field)


def test_a_listing_that_never_ends_is_told(path: Path) -> None:
    error, server = ask(path, answer(body=b'{"agents": [], "next_cursor": "again"}'))
    assert isinstance(error, Unexpected)
    assert len(server.requests) == 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(path: Path, status: int) -> None:
    with replying(answer(), path=None) as elsewhere:
        error, server = ask(path, answer(status, headers={"Location": f"http://127.0.0.1:{elsewhere.where}/"}))
        assert isinstance(error, NotTheApi)
        assert (len(server.requests), elsewhere.requests) == (1, [])


def test_a_body_beyond_its_bound_is_not_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MOST_BYTES", 100_000)
    sent = 0

    def endless(to: socket.socket, _: bytes) -> None:
        nonlocal sent
        to.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            to.sendall(b"2710\r\n" + b" " * 10_000 + b"\r\n")
            sent += 10_000

    error, _ = ask(path, endless)
    assert isinstance(error, NotTheApi)
    assert "larger than 100000 bytes" in str(error)
    assert sent < 100_000_000


def test_what_is_compressed_is_refused(path: Path) -> None:
    body = gzip.compress(b" " * 10_000_000)
    error, server = ask(path, answer(body=body, headers={"Content-Encoding": "gzip"}))
    assert isinstance(error, NotTheApi)
    assert server.header(0, "accept-encoding") == "identity"


def test_who_drips_is_left_at_the_end_of_the_time(path: Path) -> None:
    """Each byte comes within the timeout of one read; all of them do not."""

    def drip(to: socket.socket, _: bytes) -> None:
        to.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            to.sendall(b" ")
            to.settimeout(0.05)
            try:
                if not to.recv(1):
                    return
            except TimeoutError:
                pass

    error, _ = ask(path, drip, timeout=0.5)
    assert isinstance(error, Unreachable)
    assert error.timed_out


def test_who_says_nothing_is_left_at_the_end_of_the_time(path: Path) -> None:
    def silent(to: socket.socket, _: bytes) -> None:
        to.recv(1)

    error, _ = ask(path, silent, timeout=0.3)
    assert isinstance(error, Unreachable)
    assert error.timed_out


@pytest.mark.parametrize("reply", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", b"SSH-2.0-OpenSSH\r\n\r\n"])
def test_who_breaks_off_is_unreachable(path: Path, reply: bytes) -> None:
    error, _ = ask(path, reply)
    assert isinstance(error, Unreachable)
    assert error.__cause__ is None


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (answer(500, b"Internal Server Error", kind="text/plain"), BrokenOff),
        (answer(500, b"<html>", kind="text/html"), NotTheApi),
        (answer(400, b'{"detail": 7}'), NotTheApi),
        (answer(404, b"[]"), NotTheApi),
        (answer(404, b'{"type": "urn:sds:problem:not-found", "detail": "no"}'), NotFound),
        (answer(404, b'{"type": "urn:sds:problem:no-such-path", "detail": "no"}'), NoSuchCall),
        (answer(404, b'{"type": {}, "detail": "Not Found"}'), NoSuchCall),
        (answer(502, b'{"type": [], "detail": "no", "problems": [1, {"field": 2}], "request_id": 3}'), ServerFailed),
        (answer(202, b'{"id": 7}'), NotTheApi),
        (answer(202, b"[]"), NotTheApi),
    ],
)
def test_refusals_that_are_not_as_they_should_be(path: Path, reply: bytes, kind: type[ClientError]) -> None:
    error, _ = ask(path, reply)
    assert type(error) is kind


def test_an_export_that_is_cut_is_told(path: Path) -> None:
    def cut(to: socket.socket, _: bytes) -> None:
        to.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n{}\n{}\n\r\n")

    with replying(cut, path=path), Client(UnixSocket(path)) as client:
        lines = client.certificates.export()
        assert [next(lines), next(lines)] == [b"{}", b"{}"]
        with pytest.raises(Unreachable):
            next(lines)


def test_a_line_without_an_end_is_not_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LONGEST_LINE", 1000)
    with (
        replying(answer(body=b"x" * 200_000), path=path),
        Client(UnixSocket(path)) as client,
        pytest.raises(NotTheApi, match="has no end"),
    ):
        list(client.certificates.export())


def test_a_refused_export_is_a_refusal(path: Path) -> None:
    refusal = answer(403, b'{"type": "urn:sds:problem:forbidden", "detail": "not for you"}')
    with (
        replying(refusal, path=path),
        Client(UnixSocket(path)) as client,
        pytest.raises(ClientError, match="not for you"),
    ):
        list(client.certificates.export())


@pytest.fixture(autouse=True)
def _unlinked(path: Path) -> Iterator[None]:
    yield
    path.unlink(missing_ok=True)
