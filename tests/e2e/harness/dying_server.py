"""A server that is killed at chosen moments of issuing, again and again, on one data folder.

python -m tests.e2e.harness.dying_server FOLDER PORT ATTEST_PORT

Takes lines "STAGE HITS" on stdin; for each it forks a server that ends itself with SIGKILL at the HITSth time that an
issuance passes STAGE ("serve 0": none; it is ended by the next line). Prints a line of JSON when the server is ready,
and one when it has ended: how, and how often each stage was passed in all. Forking saves the second of imports.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import os
import signal
import struct
import sys
from pathlib import Path

from sds.clock import SystemClock
from sds.config import ServerConfig, load_server_config
from sds.logs import configure_logging
from sds.server.datadir import DataDir
from sds.server.stages import Stage
from sds.server.wiring.build import build

STAGES = list(Stage)
SERVE = "serve"


class Fate:
    """Counts passages in memory that outlives the process, and ends it when its hour has come."""

    def __init__(self, shared: mmap.mmap, stage: str, hits: int) -> None:
        self._shared = shared
        self._stage = stage
        self._left = hits

    def __call__(self, stage: Stage) -> None:
        at = 8 * STAGES.index(stage)
        (count,) = struct.unpack_from("q", self._shared, at)
        struct.pack_into("q", self._shared, at, count + 1)
        if stage == self._stage:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


async def serve(config: ServerConfig, fate: Fate) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = await build(config, SystemClock(), DataDir(config.data_dir), passing=fate)
    await server.start()
    say({"ready": os.getpid()})
    await server.serve(stop)
    await server.stop()


def say(what: object) -> None:
    print(json.dumps(what), flush=True)


def main(folder: Path, port: str, attest_port: str) -> None:
    flags = {
        "trust_domain": "example.org", "data_dir": str(folder / "server"),
        "listen": f"127.0.0.1:{port}", "attest_listen": f"127.0.0.1:{attest_port}",
    }  # fmt: skip
    config = load_server_config(None, {}, flags)
    shared = mmap.mmap(-1, 8 * len(STAGES))
    for line in sys.stdin:
        stage, hits = line.split()
        child = os.fork()
        if not child:
            configure_logging(level="warning", style="json")
            asyncio.run(serve(config, Fate(shared, stage, int(hits))))
            os._exit(0)
        if stage == SERVE:
            sys.stdin.readline()
            os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)
        counts = struct.unpack_from(f"{len(STAGES)}q", shared)
        say({"ended": os.waitstatus_to_exitcode(status), "passed": dict(zip(STAGES, counts, strict=True))})


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
