"""Where the company is written to: an empty server's data folder or database, opened by the server's own parts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from prometheus_client import CollectorRegistry

from sds.clock import Clock
from sds.config import ServerConfig, load_server_config
from sds.metrics import ServerMetrics
from sds.server.stages import unwatched
from sds.server.telemetry import Telemetry
from sds.server.transactions import Metered
from sds.server.wiring.core import Core, open_core, open_database


class SeedRefused(Exception):
    """The message says why nothing was written."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server has its data. `database` "": SQLite in that folder."""

    data_dir: Path
    database: str
    trust_domain: str

    def config(self) -> ServerConfig:
        flags = {"data_dir": str(self.data_dir), "trust_domain": self.trust_domain, "database.url": self.database}
        return load_server_config(None, {}, {key: value or None for key, value in flags.items()})


@asynccontextmanager
async def opened(config: ServerConfig, clock: Clock) -> AsyncIterator[Core]:
    """What a server has before it listens: its keys, authorities and log. They are made if there are none."""
    telemetry = Telemetry(ServerMetrics(CollectorRegistry()), clock)
    store = Metered(await asyncio.to_thread(open_database, config, clock), telemetry, clock)
    try:
        core = await open_core(config, clock, store, telemetry, unwatched)
        try:
            yield core
        finally:
            await core.close()
    finally:
        await store.close()


def analyze(url: str) -> None:
    """What autovacuum does within a minute: without it PostgreSQL plans for empty tables."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
