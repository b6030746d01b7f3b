"""--verbose names each call of the admin API, for every command that makes any: method, path, status, time, request id."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sds.cli.main import program
from tests.fakes.admin_server import Running
from tests.unit.cli.conftest import Sds

LINE = re.compile(r"^(GET|POST|PUT|DELETE) (/v1/\S+): (\d{3}) in \d+\.\d ms \(([A-Za-z0-9_.-]+)\)$", re.MULTILINE)
ID = "spiffe://example.org/web"
DIGITS = "a" * 64

ARGUMENTS: dict[str, list[str]] = {
    "agent explain": ["--pid", "1"],
    "audit prune": ["--before", "30d"],
    "audit show": ["1"],
    "entry create": ["--spiffe-id", ID, "--parent-id", f"{ID}/agent", "--selector", "unix:uid:1"],
    "entry update": ["e", "--owner", "somebody"],
    "entry apply": ["-f", "{file}"],
    "entry import": ["{jsonl}"],
    "certificate find": ["{file}"],
    "certificate show": ["0a"],
    "bundle set": ["other.example", "{file}"],
    "explain": ["--selector", "unix:uid:1"],
    "federation add": ["other.example", "--profile", "static", "--bundle", "{bundle}"],
    "federation update": ["other.example", "--profile", "static"],
    "grant create": ["s", "--to", ID],
    "grant check": ["--secret", "s"],
    "jwt mint": ["--audience", "a", "--spiffe-id", ID],
    "jwt verify": ["x.y.z", "--audience", "a"],
    "revoke": ["--spiffe-id", ID],
    "secret update": ["s", "--owner", "somebody"],
    "secret put": ["s", "--file", "{file}"],
    "secret rollback": ["s", "latest"],
    "ca activate": ["--yes"],
    "ca taint": ["0", "--yes"],
    "ca revoke": ["0", "--yes"],
    "access binding create": ["uid:1000", "--role", "viewer"],
    "access token create": ["name", "--role", "viewer"],
}
"""Of the commands that want more than placeholders."""


def leaves(group: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from leaves(command, (*above, name))
        else:
            yield (*above, name), command


def calling() -> dict[str, Any]:
    """Commands that call the admin API, or an agent; `run` makes the socket itself."""
    found = {
        " ".join(path): command for path, command in leaves(typer.main.get_command(program())) if path[-1] != "run"
    }
    return {path: one for path, one in found.items() if any("--admin-socket" in each.opts for each in one.params)}


COMMANDS = calling()


def placeholders(command: Any) -> list[str]:
    """Something for all that a command must be given."""
    found: list[str] = []
    for each in command.params:
        if each.required:
            found += ["x"] if each.param_type_name == "argument" else [each.opts[0], "x"]
    return found


class Recorder:
    """What the server was asked, and what it answered."""

    def __init__(self, inner: ASGIApp) -> None:
        self._inner = inner
        self.seen: list[tuple[str, str, int, str]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                request_id = dict(message["headers"])[b"x-request-id"].decode()
                query = f"?{scope['query_string'].decode()}" if scope["query_string"] else ""
                path = scope["raw_path"].decode() + query
                self.seen.append((scope["method"], path, message["status"], request_id))
            await send(message)

        await self._inner(scope, receive, noting)


@pytest.fixture
def recorder(running: Running) -> Recorder:
    made = Recorder(running._app)
    running._app = made
    return made


@pytest.fixture
def places(tmp_path: Path, sds: Sds) -> dict[str, str]:
    """What the arguments name."""
    (tmp_path / "file").write_text("[]")
    (tmp_path / "jsonl").write_text("{}\n")
    (tmp_path / "bundle").write_text(sds("bundle", "show").stdout)
    return {name: str(tmp_path / name) for name in ("file", "jsonl", "bundle")}


def test_there_are_such_commands_and_no_row_for_one_that_is_gone() -> None:
    assert len(COMMANDS) > 50
    assert {"entry create", "agent status", "ca rotate", "stats"} <= set(COMMANDS)


@pytest.mark.parametrize("path", sorted(COMMANDS))
def test_every_call_is_named(sds: Sds, recorder: Recorder, places: dict[str, str], path: str) -> None:
    recorder.seen.clear()
    given = [each.format(**places) for each in ARGUMENTS.get(path, placeholders(COMMANDS[path]))]
    words = [*path.split(), *given, "--verbose", "--admin-socket", str(sds.socket)]
    done = sds(*words, code=None, stdin="")
    assert "Usage:" not in done.stderr, (words, done.stderr)
    assert recorder.seen, (words, done.output)
    named = [(method, where, int(status), request) for method, where, status, request in LINE.findall(done.stderr)]
    assert named == recorder.seen


@pytest.mark.parametrize("path", ["agent list", "ca show", "entry update", "stats"])
def test_without_it_none_is(sds: Sds, recorder: Recorder, places: dict[str, str], path: str) -> None:
    given = [each.format(**places) for each in ARGUMENTS.get(path, placeholders(COMMANDS[path]))]
    done = sds(*path.split(), *given, "--admin-socket", str(sds.socket), code=None, stdin="")
    assert not LINE.search(done.stderr)


@pytest.mark.parametrize("path", sorted(COMMANDS))
def test_every_command_of_the_server_can_be_told_a_url(path: str) -> None:
    flags = {flag for each in COMMANDS[path].params for flag in each.opts}
    assert "--verbose" in flags
    remote = {
        "--admin-url",
        "--admin-token-file",
        "--admin-ca-file",
        "--admin-certificate-file",
        "--admin-key-file",
        "--admin-server-name",
        "--admin-server-id",
    }
    assert remote <= flags or path in {"agent status", "agent explain"}
