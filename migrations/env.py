"""How alembic runs here: always on the connection, and in the transaction, that sds.store.schema.migrate hands in.

A new version is a new file in versions/: expand in one release, contract in a later one, so that replicas of both can
share the database meanwhile. A test holds the migrated schema equal to sds/store/tables/ on SQLite and PostgreSQL.
"""

from __future__ import annotations

from alembic import context

from sds.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
