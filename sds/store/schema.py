"""The schema's version: made and upgraded by alembic, refused when newer than this program."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL, Connection, func, insert, select
from sqlalchemy.exc import SQLAlchemyError

from sds.store.engines import DEFAULT_LIMITS, Limits, is_sqlite, parse_url, postgres_engine, sqlite_engine
from sds.store.errors import SchemaOutdated, SchemaTooNew
from sds.store.faults import diagnose
from sds.store.settings import EPOCH
from sds.store.tables import settings

MIGRATION_LOCK = 0x5D5_A1E3  # PostgreSQL advisory lock: one replica upgrades, the others wait and find it done

_one_at_a_time = threading.Lock()  # alembic works through module-level proxies


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """`found` None: an empty database. `known`: this program has that version."""

    found: str | None
    newest: str
    known: bool

    @property
    def current(self) -> bool:
        return self.found == self.newest

    def check(self) -> None:
        """Raises SchemaTooNew, or SchemaOutdated."""
        if not self.known:
            raise SchemaTooNew(str(self.found), self.newest)
        if not self.current:
            raise SchemaOutdated(self.found, self.newest)


def schema_status(url: str, limits: Limits = DEFAULT_LIMITS) -> SchemaStatus:
    """Where the database stands; changes nothing. Blocks. Raises InvalidDatabaseUrl, StoreUnavailable."""
    parsed = parse_url(url)
    if is_sqlite(parsed) and not Path(str(parsed.database)).exists():
        return SchemaStatus(None, _newest(), known=True)
    with _connected(parsed, limits, writing=False) as connection:
        return _status(connection)


def migrate(url: str, limits: Limits = DEFAULT_LIMITS) -> SchemaStatus:
    """Bring the database to this program's schema, all or nothing; returns where it stood before. Blocks.

    Any number of processes may do this at once. Raises SchemaTooNew, InvalidDatabaseUrl, StoreUnavailable.
    """
    with _one_at_a_time, _connected(parse_url(url), limits, writing=True) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(select(func.set_config("lock_timeout", "0", True)))
            connection.execute(select(func.set_config("statement_timeout", "0", True)))
            connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
        before = _status(connection)
        if not before.known:
            before.check()
        if not before.current:
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        if connection.scalar(select(settings.c.value).where(settings.c.key == EPOCH)) is None:
            connection.execute(insert(settings).values(key=EPOCH, value=secrets.token_hex(16)))
        return before


def migrations_folder() -> Path:
    """Inside the installed package, or beside it in a source tree."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "_migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _newest() -> str:
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:
        raise RuntimeError("this installation has no migrations; install sds again")
    return head


def _status(connection: Connection) -> SchemaStatus:
    found = MigrationContext.configure(connection).get_current_revision()
    scripts = ScriptDirectory.from_config(_config())
    try:
        known = found is None or scripts.get_revision(found) is not None
    except CommandError:
        known = False
    return SchemaStatus(found, _newest(), known)


@contextmanager
def _connected(url: URL, limits: Limits, *, writing: bool) -> Iterator[Connection]:
    """One connection in one transaction, committed at the end. Raises StoreUnavailable and its kin."""
    readers = 0 if writing else 1
    engine = sqlite_engine(url, limits, readers=readers) if is_sqlite(url) else postgres_engine(url, limits)
    try:
        with engine.connect() as connection, connection.begin():
            yield connection
            return
    except SQLAlchemyError as error:
        fault = diagnose(error)
    finally:
        engine.dispose()
    raise fault.error
