"""sds secret put at a terminal: typed twice, and never shown."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.fakes.admin_secrets import FakeSecrets
from tests.unit.cli.conftest import CLEAN, SDS, Sds
from tests.unit.cli.secret.conftest import CANARY, last


class Terminal:
    """A command at a terminal: what it shows, and typing when it asks."""

    def __init__(self, sds: Sds, *arguments: str) -> None:
        self._ours, theirs = pty.openpty()
        self._process = subprocess.Popen(
            [SDS, *arguments],
            env={**CLEAN, "TERM": "dumb", "COLUMNS": "200", "SDS_ADMIN_SOCKET": str(sds.socket)},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        self.shown = b""

    def answer(self, question: bytes, answer: bytes) -> None:
        start = len(self.shown)
        self._until(lambda: question in self.shown[start:])
        os.write(self._ours, answer)

    def end(self) -> int:
        self._until(lambda: False)
        os.close(self._ours)
        return self._process.wait(30)

    def _until(self, done: Any) -> None:
        deadline = time.monotonic() + 60
        while not done():
            ready, _, _ = select.select([self._ours], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, self.shown
            try:
                part = os.read(self._ours, 65536)
            except OSError:  # the other side has closed
                return
            self.shown += part


def test_typed_twice_and_never_shown(sds: Sds, secrets: FakeSecrets, token: str) -> None:
    at = Terminal(sds, "secret", "put", token)
    at.answer(b"Value (not shown): ", CANARY.encode() + b"\n")
    at.answer(b"Once more: ", CANARY.encode() + b"\n")
    assert at.end() == 0
    assert CANARY.encode() not in at.shown
    assert b"Wrote version 1" in at.shown
    assert last(secrets, token) == {"": CANARY.encode()}


def test_typed_differently_nothing_is_written(sds: Sds, secrets: FakeSecrets, token: str) -> None:
    at = Terminal(sds, "secret", "put", token)
    at.answer(b"Value (not shown): ", CANARY.encode() + b"\n")
    at.answer(b"Once more: ", b"another\n")
    assert at.end() == 1
    assert b"the two differ; nothing was written" in at.shown
    assert secrets.values == {}


def test_nothing_typed_nothing_is_written(sds: Sds, secrets: FakeSecrets, token: str) -> None:
    at = Terminal(sds, "secret", "put", token)
    at.answer(b"Value (not shown): ", b"\n")
    assert at.end() == 1
    assert secrets.values == {}


def test_a_field_is_asked_for_by_its_name(sds: Sds, secrets: FakeSecrets, tmp_path: Path) -> None:
    sds("secret", "create", "db", "--kind", "map")
    (tmp_path / "user").write_text("me")
    at = Terminal(sds, "secret", "put", "db", "--field", f"username=@{tmp_path / 'user'}", "--field", "password")
    at.answer(b"Field password (not shown): ", CANARY.encode() + b"\n")
    at.answer(b"Once more: ", CANARY.encode() + b"\n")
    assert at.end() == 0
    assert CANARY.encode() not in at.shown
    assert last(secrets, "db") == {"username": b"me", "password": CANARY.encode()}


def test_nobody_is_asked_without_a_terminal(sds: Sds, secrets: FakeSecrets, token: str) -> None:
    assert "there is no terminal" in sds("secret", "put", token, code=2, stdin=CANARY).stderr
    assert secrets.values == {}
