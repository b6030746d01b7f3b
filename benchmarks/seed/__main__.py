"""`python -m benchmarks.seed --certificates 100000 --events 1000000 [--database URL] [--data-dir DIR]`

Fills the database of a server that does not run; one that was never used is made, with keys, authorities and all. What
is issued is issued by the server's own code and its active authority; every event gets its place in the signed log.
Start the server afterwards with the same folder and URL. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path

from benchmarks.seed.company import Sizes
from benchmarks.seed.fill import fill
from benchmarks.seed.place import Place, SeedRefused
from sds.logs import configure_logging


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--certificates", type=int, default=100_000)
    parser.add_argument("--events", type=int, default=1_000_000, help="all of them, those of certificates included")
    parser.add_argument("--database", default="", help="default: SQLite in the data folder", metavar="URL")
    parser.add_argument("--data-dir", type=Path, default=Path("seeded"), help="default: ./seeded", metavar="DIR")
    parser.add_argument("--trust-domain", default="example.org")
    given = parser.parse_args()
    configure_logging(level="warning", style="console")
    place = Place(given.data_dir.absolute(), given.database, given.trust_domain)
    try:
        done = asyncio.run(fill(place, Sizes(given.certificates, given.events)))
    except SeedRefused as refusal:
        raise SystemExit(str(refusal)) from None
    print(json.dumps(done, indent=2))


if __name__ == "__main__":
    main()
