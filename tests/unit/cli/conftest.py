"""The commands against the admin API over fake services: in this process through typer's runner, or as a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner, Result

from sds.cli.main import program
from sds.clock import SystemClock
from tests.fakes.admin_server import Running, admin_server

SDS = Path(sys.executable).with_name("sds")
CLEAN = {key: value for key, value in os.environ.items() if not key.startswith(("SDS_", "PYTEST", "FORCE_", "NO_"))}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """The server is a thread of this process: its log would be in what a test captures."""
    with capture_logs():
        yield


@pytest.fixture(scope="session")
def _served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with admin_server(tmp_path_factory.mktemp("cli") / "admin.sock") as server:
        yield server


@pytest.fixture
def running(_served: Running) -> Running:
    """The server with empty services, at the real time."""
    _served.reset(clock=SystemClock())
    return _served


class Sds:
    """Runs `sds` in this process, or as a process of its own."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket

    def __call__(self, *arguments: str, code: int | None = 0, stdin: str | None = None, **env: str) -> Result:
        """`code` None: whatever it ends with."""
        result = CliRunner().invoke(
            program(next(iter(arguments), None)),
            list(arguments),
            env={"SDS_ADMIN_SOCKET": str(self.socket), **env},
            input=stdin,
        )
        assert code is None or result.exit_code == code, (
            result.exit_code,
            result.stdout,
            result.stderr,
            result.exception,
        )
        return result

    def json(self, *arguments: str, **more: Any) -> Any:
        return json.loads(self(*arguments, "--output", "json", **more).stdout)

    def process(
        self, *arguments: str, env: Mapping[str, str] | None = None, **more: Any
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [SDS, *arguments],
            env={**CLEAN, "SDS_ADMIN_SOCKET": str(self.socket), **(env or {})},
            capture_output=True,
            check=False,
            timeout=30,
            **more,
        )

    def start(self, *arguments: str, **more: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [SDS, *arguments],
            env={**CLEAN, "SDS_ADMIN_SOCKET": str(self.socket)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **more,
        )


@pytest.fixture
def sds(running: Running) -> Sds:
    return Sds(running.socket)


@pytest.fixture
def make(sds: Sds) -> Callable[..., Any]:
    """Creates an entry by command."""

    def make_entry(name: str = "web", *more: str) -> Any:
        return sds.json(
            "entry", "create", "--spiffe-id", f"spiffe://example.org/{name}",
            "--parent-id", "spiffe://example.org/sds/agent/one", "--selector", "unix:uid:1000", *more,
        )  # fmt: skip

    return make_entry


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a short name: that of a socket in it is bounded."""
    return tmp_path_factory.mktemp("s")
