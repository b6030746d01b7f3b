"""An agent remembers the log's checkpoints, and says when the log contradicts them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sds.agent.checkpoints.known import MAX_ROOTS, Known, Verdict, grown, judge
from sds.agent.checkpoints.witness import FILE, GRACE, Witness
from sds.agent.datadir import DataFolder
from sds.audit.checkpoint import Checkpoint
from sds.logs import get_logger
from tests.fakes.audit_tree import note
from tests.fakes.clock import FakeClock


class Kit:
    def __init__(self, folder: Path) -> None:
        self.folder = DataFolder(folder)
        self.events: list = []
        self.sizes: list[int] = []
        self.alarms = 0
        self.clock = FakeClock()
        self.witness = self.new()

    def new(self) -> Witness:
        return Witness(self.folder, self.events.append, self, self.clock, get_logger("test"))

    def checkpoint(self, size: int) -> None:
        self.sizes.append(size)

    def contradicted(self) -> None:
        self.alarms += 1


@pytest.fixture
def kit(tmp_path: Path):
    made = Kit(tmp_path / "data")
    yield made
    made.folder.close()


def checkpoint(size: int, root: bytes = b"r", origin: str = "o") -> Checkpoint:
    return Checkpoint(origin, size, root * 32)


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (checkpoint(11), Verdict.GROWN),
        (checkpoint(10), Verdict.SAME),
        (checkpoint(10, b"x"), Verdict.OTHER_ROOT),
        (checkpoint(7), Verdict.SMALLER),
        (checkpoint(5, b"a"), Verdict.SMALLER),
        (checkpoint(5, b"x"), Verdict.OTHER_ROOT),
        (checkpoint(0), Verdict.SMALLER),
        (checkpoint(11, origin="p"), Verdict.OTHER_LOG),
    ],
)
def test_what_a_checkpoint_is_to_what_is_known(found: Checkpoint, verdict: Verdict) -> None:
    known = grown(grown(None, checkpoint(5, b"a")), checkpoint(10))
    assert judge(known, found) is verdict
    assert judge(None, found) is Verdict.GROWN


def test_only_so_many_roots_are_remembered() -> None:
    known: Known | None = None
    for size in range(1, MAX_ROOTS + 50):
        known = grown(known, checkpoint(size))
    assert known is not None
    assert len(known.roots) == MAX_ROOTS
    assert max(known.roots) == known.newest.size


async def test_the_newest_is_remembered_over_a_restart(kit: Kit) -> None:
    for size in (3, 7):
        kit.witness.see(note(size))
    await kit.witness.save()
    again = kit.new()
    again.load()
    assert (again.newest.size, again.note, again.seen_at) == (7, note(7), kit.clock.now())
    assert kit.sizes == [3, 7, 7]
    again.see(note(3, b"x" * 32))
    assert kit.alarms == 1


def test_a_replica_that_is_behind_is_no_alarm(kit: Kit) -> None:
    kit.witness.see(note(10))
    kit.witness.see(note(9))
    kit.clock.advance(GRACE / 2)
    kit.witness.see(note(9))
    kit.witness.see(note(10))
    kit.clock.advance(GRACE * 2)
    kit.witness.see(note(9))
    kit.witness.see(note(11))
    assert kit.alarms == 0
    assert kit.witness.newest.size == 11


@pytest.mark.parametrize("cut_to", [4, 9])
async def test_a_log_that_goes_on_being_smaller_is_an_alarm_once(kit: Kit, cut_to: int) -> None:
    kit.witness.see(note(4))
    kit.witness.see(note(10))
    kit.witness.see(note(cut_to))
    kit.clock.advance(GRACE + 5)
    for size in (cut_to, cut_to + 1, 12):
        kit.witness.see(note(size))
    assert kit.alarms == 1
    (event,) = kit.events
    assert (event.action, event.outcome, event.resource) == ("audit.contradicted", "failure", "audit log")
    assert "fewer events" in event.reason
    assert "/audit 10 " in event.reason and f"/audit {cut_to} " in event.reason
    assert (kit.witness.contradiction.remembered, kit.witness.contradiction.told) == (note(10), note(cut_to))
    assert kit.witness.newest.size == 12
    await kit.witness.save()
    again = kit.new()
    again.load()
    assert again.contradiction == kit.witness.contradiction


@pytest.mark.parametrize(("told", "words"), [(note(10, b"x" * 32), "rewritten"), (note(10, origin="p"), "made anew")])
def test_a_log_with_other_events_or_another_name_is_an_alarm_at_once(kit: Kit, told: str, words: str) -> None:
    kit.witness.see(note(10))
    kit.witness.see(told)
    kit.witness.see(told)
    assert kit.alarms == 1
    assert words in kit.events[0].reason


@pytest.mark.parametrize(
    "told", ["", "nonsense", "o\n1\nAA==\n\n", "o\nx\nAA==\n\n— o AAAA\n", "\ud800", "x" * 100_000]
)
def test_what_is_no_checkpoint_changes_nothing(kit: Kit, told: str) -> None:
    kit.witness.see(note(10))
    kit.witness.see(told)
    assert (kit.witness.newest.size, kit.alarms) == (10, 0)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", json.dumps({"note": "x"}), '{"note": 5, "roots": {}}'])
def test_a_damaged_file_is_begun_anew(kit: Kit, content: str) -> None:
    path = kit.folder.path / FILE
    path.write_text(content)
    path.chmod(0o600)
    kit.witness.load()
    assert kit.witness.newest is None
    kit.witness.see(note(1))
    assert kit.witness.newest.size == 1
