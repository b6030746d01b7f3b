"""Named secrets: how fast a change is pushed, what many of them cost, and how often Vault is asked.

`python -m benchmarks.secret push` has a secret that 200 sidecars of a real agent are subscribed to changed, in the
server's own store and in a real OpenBao (`--no-vault`: not there). `scale` fills a server with 10,000 secrets and 1,000
identities. `polling` has 250 and 10,000 secrets of a KV engine wanted. Each prints one JSON object; `all`, or nothing,
does all three.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.machine import facts
from benchmarks.secret import polling, push, scale
from benchmarks.secret.server import running_kv

PARTS = ("push", "scale", "polling")


@contextmanager
def room() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sdsb", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def run(part: str, given: argparse.Namespace) -> dict[str, object]:
    print(f"measuring: {part}", file=sys.stderr)
    with room() as folder:
        match part:
            case "push":
                sizes = (given.sidecars, given.changes)
                if given.no_vault:
                    return asyncio.run(push.measure(folder, *sizes, None, 0))
                with running_kv(folder) as kv:
                    return asyncio.run(push.measure(folder, *sizes, kv, given.kv_changes))
            case "scale":
                size = (given.secrets, given.identities, given.each, given.rounds)
                return asyncio.run(scale.measure(folder, *size))
            case _:
                return {"runs": [one for count in given.polled for one in polled(count, given)]}


def polled(count: int, given: argparse.Namespace) -> Iterator[dict[str, object]]:
    times = polling.Times(given.budget, given.fill, given.window)
    for layout in given.layouts:
        with room() as folder, running_kv(folder) as kv:
            print(f"measuring: {count} secrets {layout}", file=sys.stderr)
            yield asyncio.run(polling.measure(folder, kv, layout, count, times))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=(*PARTS, "all"), default="all")
    parser.add_argument("--sidecars", type=int, default=200)
    parser.add_argument("--changes", type=int, default=100)
    parser.add_argument("--kv-changes", type=int, default=20)
    parser.add_argument("--no-vault", action="store_true", help="push: leave out the secret in Vault")
    parser.add_argument("--secrets", type=int, default=10_000)
    parser.add_argument("--identities", type=int, default=1_000)
    parser.add_argument("--each", type=int, default=10, help="scale: secrets that each identity is granted and wants")
    parser.add_argument("--rounds", type=int, default=20, help="scale: changes of each kind")
    parser.add_argument("--polled", type=int, nargs="+", default=[250, 10_000])
    parser.add_argument("--layouts", nargs="+", choices=polling.LAYOUTS, default=list(polling.LAYOUTS))
    parser.add_argument("--window", type=float, default=15.0, help="polling: seconds of each measurement")
    parser.add_argument("--fill", type=float, default=15.0, help="polling: seconds to wait for all values before that")
    parser.add_argument("--budget", type=float, default=50.0, help="polling: vault.requests_per_second of the server")
    given = parser.parse_args()
    for part in PARTS if given.part == "all" else (given.part,):
        print(json.dumps({"benchmark": f"secret {part}", **run(part, given), "machine": facts()}, indent=2), flush=True)


if __name__ == "__main__":
    main()
