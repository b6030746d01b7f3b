"""Databases for contract suites: each test gets a fresh one, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest

from sds.store.engines import Limits
from sds.store.schema import migrate
from sds.store.settings import EPOCH
from sds.store.store import Store, open_store
from sds.store.tables import metadata
from tests.fakes.clock import FakeClock
from tests.fakes.postgres import Cluster, PostgresMissing, running_cluster

BACKENDS = ("sqlite", "postgresql")
QUICK = Limits(lock_timeout=2.0, poll_interval=0.2)
"""For tests: gives up sooner than production does."""


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[Cluster]:
    """One server a session."""
    try:
        with running_cluster() as cluster:
            yield cluster
    except PostgresMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def postgres_shared_url(postgres_cluster: Cluster) -> str:
    """The migrated database that tests use in turn: making one for each would take longer than the tests."""
    url = postgres_cluster.new_database()
    migrate(url)
    return url


@pytest.fixture
def postgresql_url(postgres_shared_url: str) -> str:
    """A migrated PostgreSQL database, as empty as a fresh one, that no one else is connected to."""
    empty(postgres_shared_url)
    return postgres_shared_url


def empty(url: str) -> None:
    """Make a migrated PostgreSQL database as empty as a fresh one, and end all other connections to it."""
    undo = "-c default_transaction_read_only=off"  # should the last test have left it on
    with psycopg.connect(url, autocommit=True, options=undo) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid != pg_backend_pid()"
        )
        for table in reversed(metadata.sorted_tables):
            keep = f" WHERE key != '{EPOCH}'" if table.name == "settings" else ""
            admin.execute(f"DELETE FROM {table.name}{keep}")
        admin.execute("SELECT setval(format('%I', sequencename)::regclass, 1, false) FROM pg_sequences")
        admin.execute(f'ALTER DATABASE "{admin.info.dbname}" RESET ALL')


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database file to copy: quicker than migrating one for each test."""
    file = tmp_path_factory.mktemp("template") / "sds.db"
    migrate(f"sqlite:///{file}")
    return file


@pytest.fixture
def sqlite_url(tmp_path: Path, sqlite_template: Path) -> str:
    """A fresh, migrated SQLite database."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    shutil.copy(sqlite_template, folder)
    return f"sqlite:///{folder}/sds.db"


@pytest.fixture(params=BACKENDS)
def database_url(request: pytest.FixtureRequest) -> str:
    """A fresh, migrated database, once on each backend."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def postgresql_store(postgresql_url: str, clock: FakeClock) -> AsyncIterator[Store]:
    """An open store on PostgreSQL, for what only it can do."""
    opened = open_store(postgresql_url, clock=clock, limits=QUICK)
    yield opened
    await opened.close()


@pytest.fixture
async def sqlite_store(sqlite_url: str, clock: FakeClock) -> AsyncIterator[Store]:
    """An open store on SQLite, for what only it can do."""
    opened = open_store(sqlite_url, clock=clock, limits=QUICK)
    yield opened
    await opened.close()


@pytest.fixture
async def store(database_url: str, clock: FakeClock) -> AsyncIterator[Store]:
    """An open store on a fresh database, once on each backend."""
    opened = open_store(database_url, clock=clock, limits=QUICK)
    yield opened
    await opened.close()
