"""A helper process that is driven by lines on its standard input and answers on its standard output."""

from __future__ import annotations

import asyncio
import sys

_LIMIT = 64 * 1024 * 1024  # one line may hold the receipt times of every stream


class LineProcess:
    """`python -m MODULE ARGUMENTS`."""

    def __init__(self, module: str, *arguments: str) -> None:
        self._argv = (sys.executable, "-m", module, *arguments)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def process(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise RuntimeError("start it first")
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    async def start(self) -> None:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(*self._argv, stdin=pipe, stdout=pipe, limit=_LIMIT)

    async def send(self, line: str) -> None:
        stdin = self.process.stdin
        assert stdin is not None
        stdin.write(line.encode() + b"\n")
        await stdin.drain()

    async def line(self, timeout: float) -> str:
        """The next line of output. Raises RuntimeError if the process ended, TimeoutError after `timeout` seconds."""
        stdout = self.process.stdout
        assert stdout is not None
        async with asyncio.timeout(timeout):
            line = await stdout.readline()
        if not line:
            raise RuntimeError(f"{self._argv} ended with status {await self.process.wait()}")
        return line.decode()

    async def stop(self) -> None:
        """End of input is the sign to end; a process that does not take it is killed."""
        if self._process is None or self._process.returncode is not None:
            return
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), 10)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
