"""Writes certificates as issuance does, says on stdout what was acknowledged, and kills itself where it is told to."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from itertools import count

from sqlalchemy import Engine, event

from sds.audit.event import Target
from sds.logs import configure_logging
from sds.store import store as store_module
from sds.store.errors import StoreUnavailable
from sds.store.store import open_store
from sds.store.unit_of_work import UnitOfWork
from sds.store.wakeups import Wakeups
from tests.contract.conftest import QUICK
from tests.contract.ledger.conftest import Log
from tests.contract.store import samples
from tests.fakes.clock import FakeClock

WARM_UP = 12
"""Commits before the fatal one, so that there is something to lose."""


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class DeadlyWakeups(Wakeups):
    """Called by the backend after a commit that changed the feed, before the caller hears of it."""

    armed = False

    def wake(self) -> None:
        if self.armed:  # a listener that has connected wakes, too
            die()


def arm(phase: str) -> None:
    commits = count()

    @event.listens_for(Engine, "commit")
    def committing(_connection: object) -> None:
        if phase == "before_commit" and next(commits) >= WARM_UP:
            die()


async def main(url: str, phase: str) -> None:
    arm(phase)
    if phase == "after_commit":
        store_module.Wakeups = DeadlyWakeups  # type: ignore[misc]
    store = open_store(url, clock=FakeClock(), limits=QUICK)
    numbers = count()

    async def writer(name: str) -> None:
        for turn in count():
            batch = f"{phase}-{name}-{turn}"
            serials = [f"{batch}-{number}" for number in range(3)]
            fatal = next(numbers) >= WARM_UP

            def intend(unit: UnitOfWork, serials: list[str] = serials, fatal: bool = fatal) -> None:
                unit.certificates.add_intents([samples.certificate(serial) for serial in serials])
                unit.audit.append_all(samples.event(target=Target("certificate", serial)) for serial in serials)
                unit.audit.flush()
                if fatal and phase == "after_commit":
                    DeadlyWakeups.armed = True
                    unit.changes.append("entry", "wakes")  # type: ignore[arg-type]
                if fatal and phase == "in_work":
                    die()

            await store.write(intend)
            print(f"intent {batch}", flush=True)
            await store.write(lambda unit, s=serials: unit.certificates.mark_issued([(x, b"der") for x in s]))
            print(f"issued {batch}", flush=True)

    sequencer = asyncio.create_task(Log(store, FakeClock()).sequencer.run())
    try:
        await asyncio.gather(*(writer(f"w{number}") for number in range(3)))
    except StoreUnavailable:
        await asyncio.sleep(60)  # the server is gone; wait to be killed
        sequencer.cancel()


configure_logging(level="warning", style="json")  # to stderr: stdout has what was acknowledged, and nothing else
asyncio.run(main(*sys.argv[1:]))
