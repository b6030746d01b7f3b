"""Two replicas of rotation race over one real database: their clocks jump, they crash, and administrators interfere.

The authorities are made without keys, which are not what races here; everything else is the real thing.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.contract.conftest import empty
from tests.contract.rotation.life import Life


def live(fresh: Callable[[], str], examples: int) -> None:
    machine = type("Living", (Life,), {"fresh": staticmethod(fresh)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=20,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.timeout(600)
def test_two_replicas_over_sqlite(sqlite_template: Path, tmp_path: Path) -> None:
    numbers = itertools.count()

    def fresh() -> str:
        folder = tmp_path / str(next(numbers))
        folder.mkdir(mode=0o700)
        shutil.copy(sqlite_template, folder)
        return f"sqlite:///{folder}/{sqlite_template.name}"

    live(fresh, 25)


@pytest.mark.timeout(600)
def test_two_replicas_over_postgresql(postgres_shared_url: str) -> None:
    def fresh() -> str:
        empty(postgres_shared_url)
        return postgres_shared_url

    live(fresh, 10)
