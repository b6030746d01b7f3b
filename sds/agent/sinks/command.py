"""What is run after a file has changed, such as a program's reload. No shell; bounded in time and in what it says."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import suppress

_KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "HOME", "USER")


class CommandFailed(Exception):
    """How it ended."""


async def run(command: Sequence[str], seconds: float) -> None:
    """Raises CommandFailed. Our own environment, which may hold secrets of ours, is not handed on."""
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        raise CommandFailed(f"{command[0]} cannot be run: {error.strerror}") from None
    try:
        async with asyncio.timeout(seconds):
            status = await process.wait()
    except TimeoutError:
        raise CommandFailed(f"{command[0]} took longer than {seconds:g} s and was killed") from None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what it left behind, too
        if process.returncode is None:
            await process.wait()
    if status:
        raise CommandFailed(f"{command[0]} ended with status {status}")
