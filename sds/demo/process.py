"""Child processes with a log each; they end when they are told to, and when their parent dies."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from sds.demo.errors import DemoError

_STOP_TIMEOUT = 15.0  # seconds that SIGTERM gets before SIGKILL


class Child:
    """A running process; its standard output and error go to `log`, appended."""

    def __init__(self, name: str, argv: Sequence[str], log: Path, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.argv = tuple(argv)
        self.log = log
        self._process = process

    @classmethod
    async def start(cls, name: str, argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> Self:
        """Start `argv` in a session of its own, so that a Ctrl-C at the terminal reaches only the parent."""
        # The pid stays the same: setpriv executes the program in its own place.
        bound = [setpriv, "--pdeathsig", "TERM", "--", *argv] if (setpriv := shutil.which("setpriv")) else argv
        with log.open("ab") as out:
            process = await asyncio.create_subprocess_exec(
                *bound, stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=out, env=env, start_new_session=True
            )
        return cls(name, argv, log, process)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative: ended by that signal."""
        return self._process.returncode

    def check(self) -> None:
        """Raise DemoError with the end of the log if the process has ended."""
        if not self.running:
            raise DemoError(f"{self.name} ended with status {self.returncode}; {self.log} ends with:\n{self.tail()}")

    def tail(self, lines: int = 15) -> str:
        """The end of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    async def wait(self, within: float | None = None) -> int:
        """The exit status; raises TimeoutError."""
        return await asyncio.wait_for(self._process.wait(), within)

    async def stop(self, within: float = _STOP_TIMEOUT) -> None:
        """SIGTERM, then SIGKILL for one that does not listen."""
        self.send(signal.SIGTERM)
        try:
            await self.wait(within)
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        """SIGKILL, as a crash would be."""
        self.send(signal.SIGKILL)
        await self.wait()

    def send(self, number: signal.Signals) -> None:
        if self.running:
            self._process.send_signal(number)
