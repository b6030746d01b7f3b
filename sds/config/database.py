"""Where the server keeps what it knows."""

from __future__ import annotations

from datetime import timedelta

from sds.config.types import Count, DatabaseUrl, Duration, FilePath, Section, key


class DatabaseSection(Section):
    """Where entries, certificates, authorities and the audit log are kept."""

    url: DatabaseUrl = key(
        "`sqlite:///PATH` or `postgresql://USER@HOST/DATABASE`. A password in it is masked everywhere, but a "
        "`password_file` is better.",
        shown="sqlite:///DATA_DIR/sds.sqlite3",
    )
    password_file: FilePath | None = key("File with the database password, read at start.", default=None, shown="none")
    migrate: bool = key("Upgrade an older schema at start. If false, run `sds db upgrade` first.", default=True)
    pool_size: Count = key("Most connections at once.", default=10, ge=2, le=200)
    busy_timeout: Duration = key(
        "How long one transaction waits for a lock before it is refused.",
        default=timedelta(seconds=5),
        ge=timedelta(milliseconds=100),
        le=timedelta(minutes=5),
    )
    poll_interval: Duration = key(
        "PostgreSQL: how often the change feed is read when no notification came.",
        default=timedelta(seconds=5),
        ge=timedelta(milliseconds=100),
        le=timedelta(minutes=5),
    )
