"""Many sidecars, each a process with a uid of its own, so that each can have an entry of its own. Needs root.

Writes a line `INDEX SECONDS VERSION` to standard output whenever a sidecar receives its secret (monotonic clock), and
`INDEX failed REASON` when its stream ends. Ends when standard input closes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time

from benchmarks.h2light import Sidecar

NOBODY_GROUP = 65534


async def _sidecar(index: int, socket: str) -> None:
    ended = asyncio.Event()

    def received(_name: bytes, version: bytes) -> None:
        # One write below PIPE_BUF is atomic, so lines of many processes do not mix.
        os.write(1, b"%d %.6f %s\n" % (index, time.monotonic(), version))

    def failed(reason: str) -> None:
        os.write(1, f"{index} failed {reason}\n".encode())
        ended.set()

    loop = asyncio.get_running_loop()
    await loop.create_unix_connection(lambda: Sidecar((b"default",), received, failed), socket)
    await ended.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket", required=True)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--uid-base", type=int, default=50_000)
    given = parser.parse_args()
    if os.getuid() != 0:
        raise SystemExit("benchmarks.fleet needs root: every sidecar runs under a uid of its own")
    children = []
    for index in range(given.count):
        pid = os.fork()
        if pid == 0:
            os.setgroups([])
            os.setgid(NOBODY_GROUP)
            os.setuid(given.uid_base + index)
            asyncio.run(_sidecar(index, given.socket))
            os._exit(0)
        children.append(pid)
    sys.stdin.read()
    for pid in children:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
