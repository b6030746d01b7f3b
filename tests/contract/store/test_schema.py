"""Making, upgrading and refusing schemas."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from alembic import command
from sqlalchemy import Connection, create_engine, inspect

from attestation.entry import RegistrationEntry
from ca.authority import Authority
from sds.audit.canonical import canonical_bytes
from sds.store import schema
from sds.store.engines import parse_url
from sds.store.errors import InvalidDatabaseUrl, SchemaOutdated, SchemaTooNew
from sds.store.records import AgentRecord, AuditFilter
from sds.store.schema import SchemaStatus, migrate, schema_status
from sds.store.store import Store, open_store
from sds.store.tables import metadata
from tests.contract.conftest import BACKENDS
from tests.contract.store.samples import event
from tests.fakes.clock import FakeClock


@pytest.fixture(params=BACKENDS)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/data/sds.db"
    return str(request.getfixturevalue("postgres_cluster").new_database())


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    engine = create_engine(parse_url(url))
    try:
        with engine.connect() as connection, connection.begin():
            yield connection
    finally:
        engine.dispose()


NEWEST = "0004"

_CATALOG = """
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
       pg_get_expr(d.adbin, d.adrelid), (SELECT collname FROM pg_collation WHERE oid = a.attcollation)
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0
UNION ALL SELECT conname, pg_get_constraintdef(oid), '', false, '', '', '' FROM pg_constraint
 WHERE connamespace = 'public'::regnamespace
UNION ALL SELECT indexname, indexdef, '', false, '', '', '' FROM pg_indexes WHERE schemaname = 'public'
"""


def shape(connection: Connection) -> set[object]:
    """Everything the database itself says of its tables, columns, constraints and indexes."""
    if connection.dialect.name == "postgresql":
        return {row for row in map(tuple, connection.exec_driver_sql(_CATALOG)) if "alembic_version" not in str(row)}
    ours = "name NOT LIKE 'alembic%' AND name NOT LIKE 'sqlite%'"
    found: set[object] = set()
    for name, kind, sql in connection.exec_driver_sql(f"SELECT name, type, sql FROM sqlite_master WHERE {ours}").all():
        if kind == "index":
            found.add(sql)
            continue
        found.add((name, "AUTOINCREMENT" in sql))
        for pragma in ("table_info", "foreign_key_list", "index_list"):  # the columns' order may differ
            found |= {(name, *row[1:]) for row in connection.exec_driver_sql(f"PRAGMA {pragma}({name})")}
        for _, index, *_ in connection.exec_driver_sql(f"PRAGMA index_list({name})").all():
            found |= {(index, *row) for row in connection.exec_driver_sql(f"PRAGMA index_info({index})")}
    return found


def test_the_migrated_schema_is_the_one_in_tables(
    empty_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    migrate(empty_url)
    with connected(empty_url) as connection:
        migrated = shape(connection)
        sqlite = connection.dialect.name == "sqlite"
    scratch = (
        f"sqlite:///{tmp_path}/scratch.db" if sqlite else request.getfixturevalue("postgres_cluster").new_database()
    )
    with connected(scratch) as connection:
        metadata.create_all(connection)
        assert shape(connection) == migrated
        assert len(migrated) > len(metadata.tables)
        connection.exec_driver_sql("CREATE INDEX planted ON agents (serial)")
        assert shape(connection) != migrated


def test_an_empty_database_is_prepared_once(empty_url: str, clock: FakeClock) -> None:
    assert schema_status(empty_url) == SchemaStatus(None, NEWEST, known=True)
    with pytest.raises(SchemaOutdated, match="sds db upgrade"):
        open_store(empty_url, clock=clock)
    assert migrate(empty_url).found is None
    assert schema_status(empty_url).current
    with connected(empty_url) as connection:
        epoch = connection.exec_driver_sql("SELECT value FROM settings WHERE key = 'epoch'").scalar()
    assert migrate(empty_url).current
    with connected(empty_url) as connection:
        assert connection.exec_driver_sql("SELECT value FROM settings WHERE key = 'epoch'").scalar() == epoch


def test_rows_of_an_older_schema_live_on(empty_url: str, clock: FakeClock) -> None:
    config = schema._config()
    with connected(empty_url) if "postgresql" in empty_url else _folder_for(empty_url) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.exec_driver_sql(
            "INSERT INTO entries VALUES ('e1', 1, 'spiffe://example.org/web', 'spiffe://example.org/node', "
            "'[\"unix:uid:1\"]', 'hash', NULL, '[]', '', '', '{}', NULL, 0, 0)"
        )
        connection.exec_driver_sql(
            "INSERT INTO authorities VALUES ('aa', 'example.org', 'x509', 'active', 0, 0, '', '[]', '', 'wrapped:1', "
            "'ecdsa-p256', 0, 1, 0, 0)"
        )
        connection.exec_driver_sql(
            "INSERT INTO agents VALUES ('spiffe://example.org/node', 't', '[]', '', 0, '', 0, 0, 0, NULL, '', '', '')"
        )
    assert not schema_status(empty_url).current
    migrate(empty_url)
    store = open_store(empty_url, clock=clock)
    entry, agent, authority = asyncio.run(_first_rows(store))
    assert (entry.spec.federates_with, entry.spec.profile, entry.spec.extra_sans) == ((), "", ())
    assert (agent.downstream, agent.bundle_sequence) == (False, 0)
    assert (authority.roots, authority.upstream, authority.retired_at) == ((), "self_signed", None)


def test_events_of_an_older_schema_are_found_by_their_request(empty_url: str, clock: FakeClock) -> None:
    config = schema._config()
    events = [event(request_id="r-1"), event(request_id=""), event(request_id="r-3", reason="\0 \\u0000")]
    marks = "%s, 0, 'a', 'success', 'b', 'c'" if "postgresql" in empty_url else "?, 0, 'a', 'success', 'b', 'c'"
    with connected(empty_url) if "postgresql" in empty_url else _folder_for(empty_url) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
        for each in events:
            statement = f"INSERT INTO audit_events (canonical, time, action, outcome, actor, target) VALUES ({marks})"
            connection.exec_driver_sql(statement, (canonical_bytes(each),))
    migrate(empty_url)

    async def found() -> list[list[int]]:
        store = open_store(empty_url, clock=clock)
        try:
            queries = [AuditFilter(request_id=each.request_id) for each in events]
            return [[one.seq for one in await store.read(lambda uow, q=q: uow.audit.tail(None, 9, q))] for q in queries]
        finally:
            await store.close()

    assert asyncio.run(found()) == [[1], [], [3]]


@contextmanager
def _folder_for(url: str) -> Iterator[Connection]:
    Path(url.removeprefix("sqlite:///")).parent.mkdir()
    with connected(url) as connection:
        yield connection


async def _first_rows(store: Store) -> tuple[RegistrationEntry, AgentRecord, Authority]:
    try:
        return await store.read(lambda uow: (uow.entries.all()[0], uow.agents.all()[0], uow.authorities.all()[0]))
    finally:
        await store.close()


def test_asking_changes_nothing(tmp_path: Path) -> None:
    assert schema_status(f"sqlite:///{tmp_path}/data/sds.db").found is None
    assert list(tmp_path.iterdir()) == []


def test_a_newer_database_is_refused(empty_url: str, clock: FakeClock) -> None:
    migrate(empty_url)
    with connected(empty_url) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    assert not schema_status(empty_url).known
    for attempt in (migrate, lambda url: open_store(url, clock=clock)):
        with pytest.raises(SchemaTooNew) as caught:
            attempt(empty_url)
        assert (caught.value.found, caught.value.newest) == ("9999", NEWEST)
        assert "newer sds" in str(caught.value)


def test_a_migration_that_fails_leaves_nothing(empty_url: str, tmp_path: Path) -> None:
    """All or nothing: the schema's statements share one transaction, on SQLite too."""
    migrate(empty_url)
    with connected(empty_url) as connection:
        for table in reversed(metadata.sorted_tables):
            if table.name != "audit_events":  # the last one made: all others are made again before it fails
                connection.exec_driver_sql(f"DROP TABLE {table.name}")
        connection.exec_driver_sql("DELETE FROM alembic_version")
    with pytest.raises(Exception, match="failed"):
        migrate(empty_url)
    with connected(empty_url) as connection:
        assert set(inspect(connection).get_table_names()) == {"alembic_version", "audit_events"}


def _migrate(url: str, results: multiprocessing.Queue[str]) -> None:
    results.put(str(migrate(url).found))


def test_replicas_that_start_together_migrate_once(empty_url: str) -> None:
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[str] = context.Queue()
    processes = [context.Process(target=_migrate, args=(empty_url, results)) for _ in range(4)]
    for process in processes:
        process.start()
    found = sorted(results.get(timeout=60) for _ in processes)
    for process in processes:
        process.join()
    results.close()
    results.join_thread()
    assert found == [NEWEST, NEWEST, NEWEST, "None"]
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "mysql://u:secret-pw@h/d",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:x?mode=memory&uri=true",
        "postgresql://u:secret-pw@h:port/d",
    ],
)
def test_urls_that_cannot_be_used(url: str) -> None:
    for attempt in (schema_status, migrate):
        with pytest.raises(InvalidDatabaseUrl) as caught:
            attempt(url)
        assert "secret-pw" not in f"{caught.value!r}{caught.value.__cause__!r}{caught.value.__context__!r}"


def test_the_installed_package_brings_its_migrations(tmp_path: Path) -> None:
    """In a source tree they lie beside the package; the wheel carries them inside (pyproject.toml, force-include)."""
    assert (schema.migrations_folder() / "env.py").is_file()
    assert (schema.migrations_folder() / "versions").is_dir()


def test_a_password_in_the_url_is_used_and_not_shown(postgres_cluster) -> None:
    postgres_cluster.execute("CREATE ROLE app LOGIN PASSWORD 'secret-pw'")
    url = postgres_cluster.new_database("OWNER app").replace("sds@", "app:secret-pw@")
    migrate(url)
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        assert connection.execute("SELECT tableowner FROM pg_tables WHERE tablename = 'entries'").fetchone() == ("app",)
