from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from sds.demo.errors import DemoError
from sds.demo.ports import free_ports
from sds.demo.process import Child

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


async def start(program: str, folder: Path) -> Child:
    return await Child.start("child", [sys.executable, "-c", program], folder / "log")


async def test_the_log_is_kept_and_shown_when_it_ends(tmp_path: Path) -> None:
    child = await start("print('why it failed'); raise SystemExit(3)", tmp_path)
    assert await child.wait(10) == 3
    with pytest.raises(DemoError, match=r"(?s)child ended with status 3.*why it failed"):
        child.check()


async def test_it_ends_even_if_it_does_not_listen(tmp_path: Path) -> None:
    child = await start(STUBBORN, tmp_path)
    while "up" not in child.tail():
        await asyncio.sleep(0.01)
    await child.stop(within=0.2)
    assert child.returncode == -signal.SIGKILL
    await child.stop()  # twice is harmless


async def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    """A demo that is killed leaves no Envoy behind."""
    program = (
        "import asyncio, sys; from pathlib import Path; from sds.demo.process import Child\n"
        "sleep = 'import time; print(1, flush=True); time.sleep(60)'\n"
        "async def main():\n"
        f"    child = await Child.start('c', [sys.executable, '-c', sleep], Path({str(tmp_path / 'log')!r}))\n"
        "    while not child.tail(): await asyncio.sleep(0.01)\n"
        "    print(child.pid, flush=True); await asyncio.sleep(60)\n"
        "asyncio.run(main())"
    )
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    pid = int(await parent.stdout.readline())
    parent.kill()
    await parent.wait()
    for _ in range(200):
        if not _runs(pid):
            return
        await asyncio.sleep(0.05)
    said = Path(f"/proc/{pid}/status").read_text()
    os.kill(pid, signal.SIGKILL)
    pytest.fail(f"the child outlived its parent:\n{said}")


def _runs(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_ports_are_in_a_row_and_free() -> None:
    ports = free_ports(3)
    assert ports == list(range(ports[0], ports[0] + 3))
    assert ports[-1] < 32_768
