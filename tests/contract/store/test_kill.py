"""A process killed with -9 at the worst moments loses nothing that it acknowledged, and leaves nothing half done."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sds.server.audit.verifier import DatabaseVerifier
from sds.store.records import CertificateStatus
from sds.store.schema import migrate
from sds.store.store import Store, open_store
from sds.store.unit_of_work import UnitOfWork
from tests.contract.conftest import QUICK
from tests.contract.ledger.conftest import Log
from tests.fakes.clock import FakeClock
from tests.fakes.postgres import Cluster, PostgresMissing, running_cluster

WRITER = [sys.executable, "-m", "tests.contract.store.kill_writer"]
ROOT = Path(__file__).parents[3]

PHASES = ["in_work", "before_commit", "after_commit"]
"""Where the writer kills itself: inside a unit of work, just before COMMIT is sent, after it and before anyone heard."""


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[Cluster]:
    try:
        with running_cluster() as cluster:
            yield cluster
    except PostgresMissing as missing:
        pytest.skip(str(missing))


def run_writer(url: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*WRITER, url, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


async def check(url: str, acknowledged: set[str]) -> int:
    """What stands after the kill: all that was acknowledged, and each batch whole; returns how many certificates."""
    store = open_store(url, clock=FakeClock(), limits=QUICK)

    def look(unit: UnitOfWork) -> dict[str, CertificateStatus]:
        found: dict[str, CertificateStatus] = {}
        cursor = None
        while True:
            page = unit.certificates.search(cursor=cursor, limit=1000)
            found.update((record.serial, record.status) for record in page.items)
            if (cursor := page.next_cursor) is None:
                return found

    found = await store.read(look)
    events = {
        serial
        for stored in await store.read(lambda unit: unit.audit.tail(0, 1_000_000))
        for serial in [stored.event.target.id]
        if stored.event.target.kind == "certificate"
    }
    assert set(found) == events, "an intent without its event, or the other way round"
    for line in acknowledged:
        kind, batch = line.split()
        for number in range(3):
            serial = f"{batch}-{number}"
            assert serial in found, f"{serial} was acknowledged and is gone"
            assert kind == "intent" or found[serial] is CertificateStatus.ISSUED
    whole = {serial.rpartition("-")[0] for serial in found}
    assert len(found) == 3 * len(whole), "half a batch"
    await store.write(lambda unit: unit.settings.put("after", "it goes on"))
    await check_tree(store)
    await store.close()
    return len(found)


async def check_tree(store: Store) -> None:
    """The tree is whole as it was left; then every event comes under a checkpoint, each once."""
    log = Log(store, FakeClock())
    verifier = DatabaseVerifier(store, log.keys)
    left = await verifier.verify()
    assert left.ok, left.findings.problems
    await log.sequencer.drain()
    whole = await verifier.verify()
    assert whole.ok, whole.findings.problems
    assert whole.events == await store.read(lambda unit: unit.audit.count())


@pytest.mark.parametrize("phase", PHASES)
async def test_killed_at_a_point_of_the_commit(database_url: str, phase: str) -> None:
    writer = run_writer(database_url, phase)
    assert writer.stdout is not None
    acknowledged = {line.strip() for line in writer.stdout}
    writer.stdout.close()
    assert writer.wait(30) == -signal.SIGKILL
    assert acknowledged, "it was killed before it did anything"
    await check(database_url, acknowledged)


async def test_killed_at_any_moment(database_url: str) -> None:
    for turn in range(3):
        writer = run_writer(database_url, f"turn{turn}")
        assert writer.stdout is not None
        acknowledged = {writer.stdout.readline().strip() for _ in range(3)}
        threading.Timer(random.uniform(0.05, 0.3), lambda it=writer: os.kill(it.pid, signal.SIGKILL)).start()
        acknowledged |= {line.strip() for line in writer.stdout if line.endswith("\n")}
        writer.stdout.close()
        assert writer.wait(30) == -signal.SIGKILL
        assert await check(database_url, acknowledged) >= 3


async def test_the_server_crashes(own_cluster: Cluster) -> None:
    url = own_cluster.new_database()
    migrate(url)
    writer = run_writer(url, "endless")
    assert writer.stdout is not None
    acknowledged = {writer.stdout.readline().strip() for _ in range(10)}
    own_cluster.stop(immediately=True)  # as in a crash: recovery replays the log
    time.sleep(0.1)
    writer.kill()
    acknowledged |= {line.strip() for line in writer.stdout if line.endswith("\n")}
    writer.stdout.close()
    writer.wait(30)
    own_cluster.start()
    await check(url, acknowledged)
