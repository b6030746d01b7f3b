"""Whoever can write to the database cannot write the past anew unseen: each hand-made change is named."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sds.audit.judge import ProblemKind
from sds.audit.verify import Verdict
from sds.server.audit.verifier import DatabaseVerifier
from sds.store.store import Store
from tests.contract.ledger.conftest import Log
from tests.fakes.clock import FakeClock

EVENTS = 300
K = ProblemKind
Run = Callable[..., None]


def raw(url: str) -> Run:
    """Runs statements by hand, as somebody with the database's password would; ``?`` stands for a value."""

    def run(*statements: str) -> None:
        if url.startswith("sqlite"):
            with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
                for each in statements:
                    assert connection.execute(each).rowcount != 0, f"nothing was tampered with: {each}"
        else:
            with psycopg.connect(url) as connection:
                for each in statements:
                    assert connection.execute(each).rowcount != 0, f"nothing was tampered with: {each}"

    return run


def blob(url: str, text: str) -> str:
    return f"x'{text.encode().hex()}'" if url.startswith("sqlite") else f"'\\x{text.encode().hex()}'::bytea"


async def verdict(log: Log, *remembered: str) -> Verdict:
    return await DatabaseVerifier(log.store, log.keys).verify(remembered)


def named(found: Verdict) -> list[tuple[ProblemKind, int | None, int | None]]:
    return [(one.kind, one.leaf, one.sequence) for one in found.findings.problems]


async def grown(log: Log) -> None:
    for _ in range(3):
        await log.grow(EVENTS // 3)


async def test_a_log_that_nobody_touched(log: Log) -> None:
    await grown(log)
    found = await verdict(log)
    assert found.ok, found.findings.problems
    assert (found.size, found.events) == (EVENTS + 2, EVENTS + 2)
    assert found.checkpoint is not None
    assert found.checkpoint.size == EVENTS + 2


async def test_an_empty_log(log: Log) -> None:
    assert (await verdict(log)).ok


@pytest.mark.parametrize("seq", [1, 2, 150, 256, 257, EVENTS + 2])
async def test_an_event_that_was_deleted(log: Log, database_url: str, seq: int) -> None:
    await grown(log)
    raw(database_url)(f"DELETE FROM audit_events WHERE seq = {seq}")
    assert named(await verdict(log)) == [(K.MISSING, seq - 1, seq)]


@pytest.mark.parametrize("seq", [1, 150, 257])
async def test_an_event_and_its_leaf_that_were_deleted(log: Log, database_url: str, seq: int) -> None:
    await grown(log)
    raw(database_url)(f"DELETE FROM audit_events WHERE seq = {seq}", f"DELETE FROM audit_leaves WHERE seq = {seq}")
    assert named(await verdict(log)) == [(K.MISSING, seq - 1, None)]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("time", "time + 1"),
        ("action", "'test.other'"),
        ("outcome", "'refused'"),
        ("actor", "'uid:666'"),
        ("target", "'another'"),
        ("request_id", "''"),
    ],
)
async def test_a_column_that_was_altered(log: Log, database_url: str, column: str, value: str) -> None:
    await grown(log)
    raw(database_url)(f"UPDATE audit_events SET {column} = {value} WHERE seq = 77")
    found = await verdict(log)
    assert named(found) == [(K.COLUMN, 76, 77)]
    assert column in found.findings.problems[0].what


async def test_an_event_whose_bytes_were_altered(log: Log, database_url: str) -> None:
    await grown(log)
    raw(database_url)(f"UPDATE audit_events SET canonical = {blob(database_url, '{}')} WHERE seq = 77")
    assert {(K.ALTERED, 76, 77)} <= set(named(await verdict(log)))


async def test_an_event_that_was_altered_with_all_that_stands_beside_it(log: Log, database_url: str) -> None:
    """Bytes and columns that agree with each other: the tree still knows better."""
    await grown(log)
    run = raw(database_url)
    run(
        "UPDATE audit_events SET canonical = (SELECT canonical FROM audit_events WHERE seq = 78), "
        "request_id = (SELECT request_id FROM audit_events WHERE seq = 78) WHERE seq = 77"
    )
    assert named(await verdict(log)) == [(K.ALTERED, 76, 77)]


async def test_events_that_changed_places(log: Log, database_url: str) -> None:
    await grown(log)
    raw(database_url)(
        "UPDATE audit_events SET seq = 100001 WHERE seq = 50",
        "UPDATE audit_events SET seq = 50 WHERE seq = 60",
        "UPDATE audit_events SET seq = 60 WHERE seq = 100001",
    )
    assert named(await verdict(log)) == [(K.ALTERED, 49, 50), (K.ALTERED, 59, 60)]


async def test_leaves_that_changed_places(log: Log, database_url: str) -> None:
    await grown(log)
    raw(database_url)(
        "UPDATE audit_leaves SET leaf = 100001 WHERE leaf = 49",
        "UPDATE audit_leaves SET leaf = 49 WHERE leaf = 59",
        "UPDATE audit_leaves SET leaf = 59 WHERE leaf = 100001",
    )
    found = named(await verdict(log))
    assert {(K.ALTERED, 49, 60), (K.ALTERED, 59, 50)} <= set(found)


async def test_an_event_that_was_put_in(log: Log, database_url: str) -> None:
    await grown(log)
    raw(database_url)(
        "DELETE FROM audit_events WHERE seq = 40",
        "INSERT INTO audit_events (seq, canonical, time, action, outcome, actor, target, request_id) SELECT "
        "0, canonical, time, action, outcome, actor, target, request_id FROM audit_events WHERE seq = 41",
    )
    assert named(await verdict(log)) == [(K.MISSING, 39, 40), (K.EXTRA, None, 0)]


@pytest.mark.parametrize("what", ["leaf", "hash", "above", "gone"])
async def test_hashes_that_were_altered(log: Log, database_url: str, what: str) -> None:
    await grown(log)
    run = raw(database_url)
    if what == "leaf":
        run("UPDATE audit_leaves SET seq = -5 WHERE leaf = 12")
        assert {(K.MISSING, 12, -5), (K.EXTRA, None, 13)} <= set(named(await verdict(log)))
        return
    level = 1 if what == "above" else 0
    zero = "zeroblob(32)" if database_url.startswith("sqlite") else "decode(repeat('00', 32), 'hex')"
    if what == "gone":
        run("DELETE FROM audit_tiles WHERE level = 0 AND tile = 1")
    else:
        other = f"substr(hashes, 33, 8192) || {zero}" if level == 0 else zero
        run(
            f"UPDATE audit_tiles SET hashes = {'CAST(' if 'sqlite' in database_url else '('}{other}{' AS BLOB)' if 'sqlite' in database_url else ')'} WHERE level = {level} AND tile = 0"
        )
    found = await verdict(log)
    assert not found.ok
    kinds = {kind for kind, _, _ in named(found)}
    assert kinds & ({K.TREE} if what in {"above", "gone"} else {K.ALTERED})


@pytest.mark.parametrize("what", ["note", "root", "size", "signature"])
async def test_checkpoints_that_were_altered(log: Log, database_url: str, what: str) -> None:
    await grown(log)
    newest = await log.store.read(lambda uow: uow.audit_tree.checkpoint())
    assert newest is not None
    change = {
        "note": f"note = replace(note, '{newest.size}', '{newest.size + 1}')",
        "root": f"root = {blob(database_url, 'x' * 32)}",
        "size": f"size = {newest.size - 1}",
        "signature": "note = replace(note, '— ', '— x')",
    }[what]
    raw(database_url)(f"UPDATE audit_checkpoints SET {change} WHERE size = {newest.size}")
    assert K.CHECKPOINT in {kind for kind, _, _ in named(await verdict(log))}


async def test_a_checkpoint_that_is_gone(log: Log, database_url: str) -> None:
    await grown(log)
    raw(database_url)(f"DELETE FROM audit_checkpoints WHERE size = {EVENTS + 2}")
    assert named(await verdict(log)) == [(K.EXTRA, 200, None)] or K.EXTRA in {
        kind for kind, _, _ in named(await verdict(log))
    }


async def cut(log: Log, run: Run) -> None:
    """Take the end away, and all that speaks of it."""
    run(
        "DELETE FROM audit_events WHERE seq > 200",
        "DELETE FROM audit_leaves WHERE seq > 200",
        "DELETE FROM audit_checkpoints WHERE size > 200",
        "DELETE FROM audit_tiles WHERE level = 0 AND tile > 0",
    )


async def test_the_end_cut_off_is_seen_by_who_remembers(store: Store, clock: FakeClock, database_url: str) -> None:
    log = Log(store, clock)
    await log.grow(198)
    kept = await store.read(lambda uow: uow.audit_tree.checkpoint())
    await log.grow(2)
    await log.grow(100)
    newest = await store.read(lambda uow: uow.audit_tree.checkpoint())
    assert kept is not None
    assert newest is not None
    await cut(log, raw(database_url))
    alone = await verdict(log)
    assert K.CUT not in {kind for kind, _, _ in named(alone)}, "by itself it cannot know"
    found = named(await verdict(log, newest.note))
    assert (K.CUT, None, None) in found
    # What grew since then in its place does not help.
    await Log(store, clock).grow(150)
    found = named(await verdict(log, newest.note))
    assert K.CHECKPOINT in {kind for kind, _, _ in found}
    assert (await verdict(log, kept.note)).findings.problems == alone.findings.problems


async def test_keys_that_were_altered(log: Log, database_url: str) -> None:
    await grown(log)
    other = Log(log.store, log.clock)
    await other.grow(1)
    raw(database_url)("UPDATE audit_keys SET verifier = replace(verifier, 'example.org', 'example.com')")
    found = named(await DatabaseVerifier(log.store, Log(log.store, log.clock).keys).verify())
    assert {kind for kind, _, _ in found} >= {K.KEY, K.CHECKPOINT}


async def test_a_key_that_was_put_in(log: Log, database_url: str) -> None:
    await grown(log)
    raw(database_url)(
        "INSERT INTO audit_keys SELECT 2, verifier, key_ref, endorsement, created_at FROM audit_keys WHERE number = 1"
    )
    assert K.KEY in {kind for kind, _, _ in named(await verdict(log))}


async def test_a_statement_of_pruning_that_was_put_in(log: Log, database_url: str) -> None:
    await grown(log)
    raw(database_url)(
        "INSERT INTO audit_prunings SELECT size, note, signed_at FROM audit_checkpoints WHERE size = 102",
        "DELETE FROM audit_events WHERE seq <= 102",
        "DELETE FROM audit_leaves WHERE seq <= 102",
    )
    found = named(await verdict(log))
    assert (K.PRUNING, None, None) in found
    assert found.count((K.MISSING, 0, None)) == 1
    assert sum(kind is K.MISSING for kind, _, _ in found) == 102


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.integers(1, EVENTS + 2),
    st.sampled_from(["delete", "canonical", "action", "outcome", "actor", "target", "time", "swap", "request_id"]),
)
async def test_any_row_in_any_way(log: Log, database_url: str, seq: int, how: str) -> None:
    """On one log: what an example does is undone before the next, which is a proof that verification says both."""
    if not await log.store.read(lambda uow: uow.audit_tree.head().size):
        await grown(log)
    run = raw(database_url)
    run("CREATE TABLE kept AS SELECT * FROM audit_events")
    other = seq % (EVENTS + 2) + 1
    statements = {
        "delete": [f"DELETE FROM audit_events WHERE seq = {seq}"],
        "canonical": [f"UPDATE audit_events SET canonical = {blob(database_url, '[]')} WHERE seq = {seq}"],
        "time": [f"UPDATE audit_events SET time = time - 1 WHERE seq = {seq}"],
        "swap": [
            f"UPDATE audit_events SET seq = -1 WHERE seq = {seq}",
            f"UPDATE audit_events SET seq = {seq} WHERE seq = {other}",
            f"UPDATE audit_events SET seq = {other} WHERE seq = -1",
        ],
    }.get(how, [f"UPDATE audit_events SET {how} = {how} || 'x' WHERE seq = {seq}"])
    run(*statements)
    found = named(await verdict(log))
    run("DELETE FROM audit_events WHERE seq > 0", "INSERT INTO audit_events SELECT * FROM kept", "DROP TABLE kept")
    assert found
    assert {(leaf, number) for _, leaf, number in found} <= {(seq - 1, seq), (other - 1, other)}
    assert (seq - 1, seq) in {(leaf, number) for _, leaf, number in found}
    assert (await verdict(log)).ok
