"""`sds` as a process of its own: exit codes, pipes, signals, locales, colours, completion."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.admin_server import Running, admin_server
from tests.unit.cli.conftest import CLEAN, SDS, Sds

Make = Callable[..., Any]


def test_help_and_version_need_nothing(sds: Sds) -> None:
    shown = sds.process("--help")
    assert shown.returncode == 0
    for noun in (b"server", b"agent", b"entry", b"token", b"bundle", b"audit", b"kek", b"config", b"db", b"demo"):
        assert noun in shown.stdout
    assert sds.process("--version").stdout.startswith(b"sds ")
    assert sds.process("version").stdout == sds.process("--version").stdout
    assert json.loads(sds.process("version", "-o", "json").stdout).keys() == {"version", "python"}


def test_help_imports_nothing_heavy() -> None:
    """What keeps `sds --help` under 0.3 s, without a clock in a test."""
    heavy = "httpx grpc sqlalchemy cryptography pydantic fastapi starlette uvicorn alembic structlog prometheus_client"
    code = (
        "import sys; from sds.cli import main\n"
        f"loaded = set(sys.modules) & set({heavy.split()!r})\n"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([], 2),
        (["entry"], 2),
        (["nonsense"], 2),
        (["entry", "nonsense"], 2),
        (["entry", "create"], 2),
        (["entry", "show"], 2),
        (["entry", "list", "--limit", "0"], 2),
        (["agent", "explain", "--pid", "x"], 2),
        (["entry", "list"], 0),
        (["entry", "show", "none"], 3),
        (["token", "create", "--ttl", "100d"], 1),
        (["entry", "list", "--admin-socket", "/nonexistent/s"], 5),
        (["server", "run"], 6),
        (["agent", "run"], 6),
        (["config", "check"], 6),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else None,
)
def test_exit_codes(sds: Sds, arguments: list[str], code: int) -> None:
    done = sds.process(*arguments)
    assert done.returncode == code, done
    assert b"Traceback" not in done.stderr


def test_json_on_stdout_and_nothing_else(sds: Sds, make: Make) -> None:
    entry = make()
    done = sds.process("entry", "show", entry["id"], "--output", "json", "--verbose")
    assert json.loads(done.stdout) == entry
    assert done.stderr.startswith(b"GET /v1/entries/")


@pytest.mark.parametrize("encoding", ["ascii", "iso-8859-1", "utf-8"])
def test_any_locale(sds: Sds, running: Running, make: Make, encoding: str) -> None:
    entry = make("web", "--owner", "Zoë 🔑")
    env = {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "LC_ALL": "C"}
    for command in (["entry", "show", entry["id"]], ["entry", "list"], ["--help"], ["entry", "create", "--help"]):
        done = sds.process(*command, env=env)
        assert done.returncode == 0, done.stderr
        done.stdout.decode(encoding)
    done = sds.process("entry", "show", entry["id"], "-o", "json", env=env)
    assert json.loads(done.stdout)["owner"] == "Zoë 🔑"
    standing = next(iter(running.fakes.entries.rows.values()))
    assert standing.spec.owner == "Zoë 🔑"


def test_arguments_that_are_no_text(sds: Sds) -> None:
    done = subprocess.run(
        [
            os.fsencode(SDS),
            b"entry",
            b"create",
            b"--spiffe-id",
            b"\xff",
            b"--parent-id",
            b"x",
            b"--selector",
            b"a:\xff",
        ],
        env={**CLEAN, "SDS_ADMIN_SOCKET": str(sds.socket)},
        capture_output=True,
        check=False,
        timeout=30,
    )
    assert done.returncode in (1, 2)
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("output", ["table", "json"])
def test_a_broken_pipe_is_quiet(sds: Sds, running: Running, make: Make, output: str) -> None:
    make()
    standing = next(iter(running.fakes.entries.rows.values()))
    running.fakes.entries.rows = {f"e{number}": standing for number in range(1000)}
    process = sds.start("entry", "list", "--output", output)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.wait(30) == 141
    assert process.stderr.read() == b""
    process.stderr.close()


@pytest.mark.parametrize("arguments", [("entry", "list"), ("entry", "list", "--output", "json"), ("entry", "export")])
def test_a_full_disk_is_told(sds: Sds, make: Make, arguments: tuple[str, ...]) -> None:
    make()
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [SDS, *arguments],
            env={**CLEAN, "SDS_ADMIN_SOCKET": str(sds.socket)},
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            timeout=30,
        )
    assert done.returncode == 1
    assert b"standard output cannot be written: No space left on device" in done.stderr
    assert b"Traceback" not in done.stderr
    assert b"ignored" not in done.stderr


def test_ctrl_c_ends_a_follower(sds: Sds) -> None:
    sds("kek", "rotate")
    process = sds.start("audit", "tail", "--follow", "--output", "json")
    assert process.stdout is not None
    assert process.stderr is not None
    assert json.loads(process.stdout.readline())["sequence"] == 1
    sds("kek", "rotate")
    assert json.loads(process.stdout.readline())["sequence"] == 2
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    assert process.stderr.read() == b""
    process.stdout.close()
    process.stderr.close()


def test_a_follower_waits_for_a_server_that_restarts(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    client = Sds(path)
    with admin_server(path):
        client("kek", "rotate")
        process = client.start("audit", "tail", "--follow")
        assert process.stdout is not None
        assert process.stderr is not None
        assert b"kek.rotate" in process.stdout.readline()
    assert b"waiting for it" in process.stderr.readline()
    with admin_server(path):
        client("kek", "rotate")
        client("kek", "rotate")  # sequence 2: this fake's numbers begin anew
        assert b"       2  " in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
    process.stdout.close()
    process.stderr.close()


def test_a_person_is_asked_before_a_deletion_only_if_there_is_one(sds: Sds, make: Make) -> None:
    entry = make()
    assert sds.process("entry", "delete", entry["id"], stdin=subprocess.DEVNULL).returncode == 0


def _in_terminal(sds: Sds, *arguments: str, answer: bytes = b"", **env: str) -> tuple[int, bytes]:
    """Exit code and what a terminal would show."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [SDS, *arguments],
        env={**CLEAN, "TERM": "xterm-256color", "COLUMNS": "200", "SDS_ADMIN_SOCKET": str(sds.socket), **env},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    if answer:
        os.write(ours, answer)
    shown = b""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other side has closed
            break
        shown += part
    os.close(ours)
    return process.wait(10), shown


def test_colour_only_at_a_terminal_that_wants_it(sds: Sds, make: Make) -> None:
    make()
    assert b"\x1b[1m" in _in_terminal(sds, "entry", "list")[1]
    assert b"\x1b[3" not in _in_terminal(sds, "entry", "list", NO_COLOR="1")[1]
    assert b"\x1b" not in _in_terminal(sds, "entry", "list", TERM="dumb")[1]
    for arguments in (["entry", "list"], ["--help"], ["entry", "create"]):
        done = sds.process(*arguments)
        assert b"\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize(("answer", "code", "left"), [(b"n\n", 1, 1), (b"\n", 1, 1), (b"y\n", 0, 0)])
def test_a_person_is_asked_before_a_deletion(sds: Sds, make: Make, answer: bytes, code: int, left: int) -> None:
    entry = make()
    status, shown = _in_terminal(sds, "entry", "delete", entry["id"], answer=answer)
    assert b"Nothing is issued under it any more. [y/N]" in shown
    assert (status, len(sds.json("entry", "list")["entries"])) == (code, left)


def test_nobody_is_asked_with_yes(sds: Sds, make: Make) -> None:
    entry = make()
    status, shown = _in_terminal(sds, "entry", "delete", entry["id"], "--yes")
    assert (status, b"[y/N]" in shown) == (0, False)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_are_open_to_nothing(sds: Sds, closed: str) -> None:
    """Some service managers start programs so; a socket as descriptor 2 would be sent the log lines."""
    shell = ["/bin/sh", "-c", f'exec "$0" entry list {closed}', str(SDS)]
    env = {**CLEAN, "SDS_ADMIN_SOCKET": str(sds.socket)}
    assert subprocess.run(shell, env=env, capture_output=True, check=False, timeout=30).returncode == 0
    code = "import os; from sds.cli.main import _standard_streams as f; f(); f(); assert os.pipe() == (3, 4)"
    shell = ["/bin/sh", "-c", f'exec "$0" -c "{code}" {closed}', sys.executable]
    assert subprocess.run(shell, env=CLEAN, check=False, timeout=30).returncode == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    env = {**CLEAN, "_SDS_COMPLETE": f"source_{shell}"}
    script = subprocess.run([SDS], env=env, capture_output=True, check=False, timeout=30)
    assert b"_SDS_COMPLETE" in script.stdout
    asked = {
        "bash": {"_SDS_COMPLETE": "complete_bash", "COMP_WORDS": "sds entry ", "COMP_CWORD": "2"},
        "zsh": {"_SDS_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": "sds entry "},
        "fish": {
            "_SDS_COMPLETE": "complete_fish",
            "_TYPER_COMPLETE_ARGS": "sds entry ",
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        },
    }[shell]
    offered = subprocess.run([SDS], env={**CLEAN, **asked}, capture_output=True, check=False, timeout=30)
    for command in (b"create", b"list", b"show", b"update", b"delete", b"apply"):
        assert command in offered.stdout
