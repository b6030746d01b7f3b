"""The bulk statements of the hot path: few round trips, however large the batch, and parameters in the right places."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest
from sqlalchemy import create_engine, event, select
from sqlalchemy.dialects import postgresql, sqlite

import sds.store
from sds.store import audit, certificates, changes
from sds.store.tables import audit_events, metadata, settings
from sds.store.tx import Bulk, Tx
from sds.store.unit_of_work import UnitOfWork
from tests.contract.store import samples
from tests.fakes.clock import EPOCH

BULKS = {
    "certificates": certificates._INSERT,
    "issued": certificates._INSERT_DER,
    "audit": audit._INSERT,
    "changes": changes._INSERT,
}


@pytest.mark.parametrize("bulk", BULKS.values(), ids=BULKS)
def test_bulk_statements_compile_for_both_and_are_kept(bulk: Bulk) -> None:
    for dialect, mark in ((sqlite.dialect(), "?"), (postgresql.psycopg.dialect(paramstyle="format"), "%s")):
        sql = bulk.sql(dialect)
        assert sql.startswith("INSERT INTO")
        assert sql.count(mark) == len(bulk._parameters)
        assert "RETURNING" not in sql
        assert bulk.sql(dialect) is sql


def test_parameters_in_another_order_are_a_mistake() -> None:
    with pytest.raises(TypeError, match="order"):
        Bulk(settings.insert(), ["value", "key"]).sql(sqlite.dialect())


@pytest.mark.parametrize("size", [1, 100])
def test_issuance_takes_the_same_statements_for_one_and_for_a_hundred(size: int) -> None:
    engine = create_engine("sqlite://")
    statements: list[str] = []
    with engine.connect() as connection:
        metadata.create_all(connection)
        event.listen(engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
        unit = UnitOfWork(connection, EPOCH, writable=True)
        unit.certificates.add_intents([samples.certificate(str(n)) for n in range(size)])
        unit.audit.append_all(samples.event() for _ in range(size))
        unit.finish()
        assert len(statements) == 2
        statements.clear()
        unit.certificates.mark_issued([(str(n), b"der") for n in range(size)])
        assert len(statements) == 1
    engine.dispose()


def test_a_reading_transaction_refuses_to_write() -> None:
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        metadata.create_all(connection)
        tx = Tx(connection, EPOCH, writable=False)
        for write in (
            lambda: tx.note(settings.insert(), {"key": "a", "value": "b"}),
            lambda: tx.change(settings, settings.insert(), {"key": "a", "value": "b"}),
            lambda: tx.note_many(audit._INSERT, [(b"", 0, "", "", "", "")]),
            lambda: tx.change_many(audit_events, audit._INSERT, [(b"", 0, "", "", "", "")]),
        ):
            with pytest.raises(RuntimeError, match="cannot write"):
                write()
        assert tx.rows(select(settings)) == []
    engine.dispose()


def test_repositories_write_only_through_the_transactions_own_methods() -> None:
    """`_connection` is private to Tx: a repository that reached for it could change data without being noticed."""
    for path in Path(inspect.getfile(sds.store)).parent.glob("*.py"):
        if path.name == "tx.py":
            continue
        names = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        assert "_connection" not in names, path.name
