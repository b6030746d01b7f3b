"""A real PostgreSQL for tests: one cluster a session on a Unix socket in a temporary folder, no TCP, databases at will."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg

SERVER_USER = "postgres"  # PostgreSQL refuses to run as root
ADMIN = "sds"

_SETTINGS = {
    "listen_addresses": "''",
    "fsync": "off",
    "synchronous_commit": "on",
    "full_page_writes": "off",
    "max_connections": "60",
    "shared_buffers": "16MB",
    "logging_collector": "off",
    "log_min_messages": "warning",
}


class PostgresMissing(Exception):
    """Why no PostgreSQL can be started here."""


class Cluster:
    """A running server. `folder` holds everything; the socket lies in it."""

    def __init__(self, folder: Path, binaries: Path, settings: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.data = folder / "data"
        self._binaries = binaries
        self._settings = {**_SETTINGS, "unix_socket_directories": f"'{folder}'", **(settings or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = count(1)

    def create(self, *, wal_segment_mb: int = 16) -> None:
        """Make the data folder."""
        self._run(
            "initdb", "-D", str(self.data), "-U", ADMIN, "-A", "trust", "-N", "--locale=C", "-E", "UTF8",
            f"--wal-segsize={wal_segment_mb}",
        )  # fmt: skip
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in self._settings.items())

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*_as_server_user(), str(self._binaries / "postgres"), "-D", str(self.data)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )
        self._wait_ready()

    def stop(self, *, immediately: bool = False) -> None:
        """Shut down (fast), or with `immediately` as in a crash."""
        if self._process is not None:
            # Without a shell between: the process is the postmaster, even behind setpriv.
            self._process.send_signal(3 if immediately else 2)  # SIGQUIT, SIGINT
            self._process.wait(30)
            self._process = None

    def ensure_running(self) -> None:
        """Wait until it answers; start it again if it gave up, as a supervisor would."""
        deadline = time.monotonic() + 30
        while True:
            if self._process is None or self._process.poll() is not None:
                self._process = None
                self.start()
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=5).close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def url(self, database: str) -> str:
        return f"postgresql://{ADMIN}@/{database}?host={self.folder}"

    def new_database(self, options: str = "") -> str:
        """The URL of a fresh, empty database."""
        name = f"test_{next(self._numbers)}"
        self.execute(f'CREATE DATABASE "{name}" {options}')
        return self.url(name)

    def execute(self, *statements: str, database: str = "postgres") -> None:
        """Run statements as administrator, each on its own."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=5).close()
                return
            except psycopg.OperationalError as error:
                if self._process is None or self._process.poll() is not None or time.monotonic() > deadline:
                    raise PostgresMissing(f"PostgreSQL did not start:\n{self.log()[-2000:]}") from error
                time.sleep(0.02)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [*_as_server_user(), str(self._binaries / program), *arguments],
            capture_output=True,
            text=True,
            cwd=self.folder,
            check=False,
        )
        if done.returncode:
            raise PostgresMissing(f"{program} failed:\n{done.stderr[-2000:]}")


def find_binaries() -> Path:
    """The folder with initdb and postgres. Raises PostgresMissing."""
    if os.geteuid() == 0:
        try:
            pwd.getpwnam(SERVER_USER)
        except KeyError:
            raise PostgresMissing(
                f"running as root, and there is no user {SERVER_USER!r}: apt-get install postgresql"
            ) from None
        if not shutil.which("setpriv"):
            raise PostgresMissing("running as root, and there is no setpriv: apt-get install util-linux")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
    on_path = shutil.which("initdb")
    for folder in [*debian, *([Path(on_path).resolve().parent] if on_path else [])]:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise PostgresMissing("PostgreSQL is not installed: apt-get install postgresql")


@contextmanager
def running_cluster(
    *, folder: Path | None = None, settings: dict[str, str] | None = None, wal_segment_mb: int = 16
) -> Iterator[Cluster]:
    """A cluster for as long as the context lasts. Raises PostgresMissing."""
    binaries = find_binaries()
    # Not pytest's folder: the server's user must be able to reach it, and a socket's path is at most 107 bytes.
    home = Path(tempfile.mkdtemp(prefix="sds-pg-")) if folder is None else folder
    give_to_server_user(home)
    cluster = Cluster(home, binaries, settings)
    try:
        cluster.create(wal_segment_mb=wal_segment_mb)
        cluster.start()
        yield cluster
    finally:
        cluster.stop(immediately=True)
        if folder is None:
            shutil.rmtree(home, ignore_errors=True)


def give_to_server_user(folder: Path) -> None:
    """Let the server's user own `folder` where that is another one than ours."""
    if os.geteuid() == 0:
        shutil.chown(folder, SERVER_USER)
        folder.chmod(0o755)


def _as_server_user() -> Sequence[str]:
    if os.geteuid() != 0:
        return ()
    return ("setpriv", "--reuid", SERVER_USER, "--regid", SERVER_USER, "--clear-groups", "--")
