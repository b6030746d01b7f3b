"""`python -m benchmarks.admin [--certificates N] [--events N] [--rounds N] [--backends sqlite,postgresql]`

For each database: fills it (`python -m benchmarks.seed`), starts a real server on it, and measures over the admin
socket each list, search and page (p50, p99 and the longest, in milliseconds), each export (its start and rows a
second) and the verification of the whole audit log. Prints one JSON object. PostgreSQL is one of its own, on a Unix
socket, with `fsync` on.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.admin.measure import answers, client, exports, known, verification
from benchmarks.machine import facts
from benchmarks.seed.company import Sizes
from benchmarks.seed.fill import fill
from benchmarks.seed.place import Place
from sds.demo.stack import Stack
from sds.logs import configure_logging
from tests.fakes.postgres import running_cluster

BACKENDS = ("sqlite", "postgresql")
DURABLE = {"fsync": "on", "full_page_writes": "on", "shared_buffers": "128MB"}


async def run(backend: str, sizes: Sizes, rounds: int) -> dict[str, object]:
    """All of it on one database."""
    with ExitStack() as undo:
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="sdsb", dir="/tmp")))
        url = ""
        if backend == "postgresql":
            url = undo.enter_context(running_cluster(settings=DURABLE)).new_database()
        seeded = await fill(Place(folder / "server", url, "example.org"), sizes)
        limits = {f"SDS_SERVER_ADMIN__LIMITS__{name}": "1000000" for name in ("CALLER_RATE", "CALLER_BURST")}
        stack = Stack(folder, server_env=limits | ({"SDS_SERVER_DATABASE__URL": url} if url else {}))
        await stack.start_server()
        try:
            async with client(stack) as http:
                found = await known(http)
                return {
                    "seeded": seeded,
                    "answers_ms": await answers(http, found, rounds),
                    "exports": await exports(http),
                    "verification": await verification(http, stack),
                }
        finally:
            await stack.stop()


async def everything(given: argparse.Namespace) -> dict[str, object]:
    sizes = Sizes(given.certificates, given.events)
    measured = {backend: await run(backend, sizes, given.rounds) for backend in given.backends.split(",")}
    return {"benchmark": "admin", "rounds": given.rounds, **measured, "machine": facts()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--certificates", type=int, default=100_000)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=200, help="of each call")
    parser.add_argument("--backends", default=",".join(BACKENDS))
    configure_logging(level="warning", style="console")
    print(json.dumps(asyncio.run(everything(parser.parse_args())), indent=2))


if __name__ == "__main__":
    main()
