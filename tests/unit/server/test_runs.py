"""A run that comes back after another took its place is a second process; a restart is not."""

from __future__ import annotations

from datetime import timedelta

from attestation.spiffe_id import SpiffeId
from sds.server.runs import MAX_RUNS, TOLD_AGAIN_AFTER, Runs
from tests.fakes.clock import EPOCH

AGENT = SpiffeId.parse("spiffe://example.org/sds/agent/a")
OTHER = SpiffeId.parse("spiffe://example.org/sds/agent/b")


def told(runs: Runs, *sequence: str, agent: SpiffeId = AGENT) -> list[bool]:
    return [runs.duplicate(agent, run, EPOCH) for run in sequence]


def test_restarts_are_no_duplicates() -> None:
    assert not any(told(Runs(), "a", "a", "b", "b", "b", "c", "d", "d"))


def test_a_run_that_comes_back_is_one_and_is_told_once() -> None:
    assert told(Runs(), "a", "b", "a", "b", "a", "b") == [False, False, True, False, False, False]


def test_agents_are_apart() -> None:
    runs = Runs()
    assert told(runs, "a") + told(runs, "b", agent=OTHER) + told(runs, "a") == [False] * 3


def test_it_is_told_again_after_an_hour() -> None:
    runs = Runs()
    told(runs, "a", "b", "a")
    assert not runs.duplicate(AGENT, "b", EPOCH + TOLD_AGAIN_AFTER - timedelta(seconds=1))
    assert runs.duplicate(AGENT, "a", EPOCH + TOLD_AGAIN_AFTER)


def test_memory_is_bounded() -> None:
    runs = Runs()
    told(runs, "first", *map(str, range(MAX_RUNS)))
    assert told(runs, "first") == [False]
    assert told(runs, str(MAX_RUNS - 1)) == [True]
