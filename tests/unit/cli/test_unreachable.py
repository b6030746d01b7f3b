"""What every command does with a socket that fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sds.store.errors import Reason, StoreUnavailable
from tests.fakes.admin_server import Running
from tests.unit.cli.conftest import Sds
from tests.unit.cli.odd_server import served

COMMANDS = [
    ["entry", "list"],
    ["entry", "show", "x"],
    ["token", "create"],
    ["bundle", "show"],
    ["agent", "list"],
    ["agent", "streams"],
    ["agent", "status"],
    ["agent", "explain", "--pid", "1"],
    ["kek", "rotate"],
    ["audit", "tail"],
    ["audit", "tail", "--follow"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_socket(sds: Sds, folder: Path, command: list[str]) -> None:
    path = folder / "none.sock"
    result = sds(*command, "--admin-socket", str(path), code=5)
    assert result.stdout == ""
    assert f"Error: cannot reach {path}: there is no such socket" in result.stderr
    program = "sds agent run" if command[1] in ("status", "explain") else "sds server run"
    assert f"Is `{program}" in result.stderr
    assert "Traceback" not in result.stderr


def test_other_ways_not_to_be_reached(sds: Sds, folder: Path) -> None:
    plain = folder / "file"
    plain.write_text("")
    assert "nothing listens there" in sds("entry", "list", "--admin-socket", str(plain), code=5).stderr
    below = plain / "x.sock"
    assert "there is no such socket" in sds("entry", "list", "--admin-socket", str(below), code=5).stderr
    long = folder / ("x" * 200)
    assert "too long" in sds("entry", "list", "--admin-socket", str(long), code=5).stderr


def test_errors_as_json(sds: Sds, folder: Path) -> None:
    result = sds("entry", "list", "--output", "json", "--admin-socket", str(folder / "none"), code=5)
    problem = json.loads(result.stderr)
    assert problem["type"] == "urn:sds:problem:cli-unreachable"
    assert problem["exit_code"] == 5
    problem = json.loads(sds("entry", "show", "none", "--output", "json", code=3).stderr)
    assert problem["type"] == "urn:sds:problem:not-found"
    assert len(problem["request_id"]) == 32


def test_a_server_in_trouble(sds: Sds, running: Running) -> None:
    running.fakes.entries.fail = StoreUnavailable(Reason.FULL)
    assert "no space left" in sds("entry", "list", code=1).stderr
    running.fakes.entries.fail = RuntimeError("CANARY")
    result = sds("entry", "list", code=1)
    assert "something went wrong here" in result.stderr
    assert "CANARY" not in result.output


def test_a_refused_user(sds: Sds, running: Running) -> None:
    running.reset(allowed=frozenset())
    assert "may not use the admin API" in sds("entry", "list", code=1).stderr


@pytest.mark.parametrize("answer", [{"entries": 1}, {"entries": [{"id": 5}]}, {"entries": ["CANARY"]}, [], "CANARY"])
def test_an_answer_of_another_shape(sds: Sds, folder: Path, answer: Any) -> None:
    with served(folder / "odd.sock", json.dumps(answer).encode()) as path:
        result = sds("entry", "list", "--admin-socket", str(path), code=1)
    assert "CANARY" not in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("answer", [b"", b"CANARY", b"<html>CANARY</html>", b"[" * 10_000])
def test_something_else_at_the_socket(sds: Sds, folder: Path, answer: bytes) -> None:
    with served(folder / "odd.sock", answer) as path:
        result = sds("entry", "list", "--admin-socket", str(path), code=1)
    assert "is not the admin API" in result.stderr
    assert "CANARY" not in result.stderr
    with served(folder / "odd2.sock", answer, status=500) as path:
        assert "is not the admin API" in sds("entry", "list", "--admin-socket", str(path), code=1).stderr


def test_a_server_that_hangs_up(sds: Sds, folder: Path) -> None:
    with served(folder / "odd.sock", None) as path:
        assert "broke off" in sds("entry", "list", "--admin-socket", str(path), code=5).stderr
