"""The spool's folder: append-only segments, those of former runs first. All methods block; used by one thread.

A run is one life of the agent. Its events are numbered from 1, and its segments are named by the run's place in the
order of runs, the run, and their first number. A file without content marks a run as alive: one that is found at a
start was left by an agent that was killed, so that what it had not written yet is lost.
"""

from __future__ import annotations

import os
import re
import stat
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from sds.agent.spool.record import MAGIC, MAX_PAYLOAD, Record, decode, encode

SEGMENT_BYTES = 1024 * 1024
_SEGMENT = re.compile(r"(?P<place>\d{8})-(?P<run>[0-9a-f]{1,32})-(?P<first>\d{20})\.events")
_MARK = re.compile(r"(?P<place>\d{8})-(?P<run>[0-9a-f]{1,32})\.alive")
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_WRITE = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class SpoolFull(Exception):
    """There is as much on disk as there may be."""


@dataclass(slots=True)
class _Segment:
    path: Path
    place: int
    run: str
    records: int
    size: int
    offset: int = len(MAGIC)  # of the first record that was not taken in
    fd: int = -1  # open for appending


@dataclass(slots=True)
class _Run:
    place: int
    run: str
    mark: Path | None  # of one that was killed
    last: int = 0
    segments: deque[_Segment] = field(default_factory=deque)


@dataclass(frozen=True, slots=True)
class Portion:
    """Events of one run, oldest first. `more`: there are others behind them. `cut`: its agent was killed behind them.

    `through`: the last number of the run that is known to have been given, where these are the last of a former run.
    """

    run: str
    records: tuple[Record, ...]
    more: bool
    cut: bool
    through: int = 0


class SpoolDisk:
    """Made once a run. Everything that touches the disk raises OSError."""

    def __init__(self, folder: Path, run_id: str, max_bytes: int, segment_bytes: int = SEGMENT_BYTES) -> None:
        """Make the folder, look at what former runs have left, and mark this one as alive."""
        self._folder = folder
        self._max_bytes = max_bytes
        self._segment_bytes = segment_bytes
        folder.mkdir(mode=0o700, exist_ok=True)
        _check(folder)
        self._runs = _left_over(folder)
        place = max((run.place for run in self._runs), default=0) + 1
        self._mine = _Run(place, run_id, None)
        self._runs.append(self._mine)
        self._mark = folder / f"{place:08}-{run_id}.alive"
        os.close(os.open(self._mark, _WRITE, 0o600))
        _sync(folder)

    @property
    def records(self) -> int:
        """That were not taken in."""
        return sum(segment.records for run in self._runs for segment in run.segments)

    @property
    def size(self) -> int:
        """Bytes of all segments."""
        return sum(segment.size for run in self._runs for segment in run.segments)

    def append(self, events: Sequence[tuple[int, bytes]]) -> None:
        """Make (number, payload) durable, all or none. Raises SpoolFull."""
        content = encode((number, payload) for number, payload in events if len(payload) <= MAX_PAYLOAD)
        if self.size + len(content) > self._max_bytes:
            raise SpoolFull
        segment = self._writable(events[0][0])
        try:
            _write(segment.fd, content)
            os.fdatasync(segment.fd)
        except OSError:
            with suppress(OSError):
                os.ftruncate(segment.fd, segment.size)  # what cannot be taken back ends this segment, as it is torn
            self._finish(segment)
            raise
        segment.size += len(content)
        segment.records += len(events)
        self._mine.last = events[-1][0]

    def read(self, limit: int) -> Portion | None:
        """The oldest that were not taken in, at most `limit`; None for none at all."""
        for run in self._runs:
            if run.segments:
                return self._from(run, limit)
            if run.mark is not None:
                return Portion(run.run, (), self._behind(run), cut=True, through=run.last)
        return None

    def taken(self, portion: Portion) -> None:
        """The server has these: forget them."""
        run = next(run for run in self._runs if run.run == portion.run)
        if portion.records:
            segment = run.segments[0]
            segment.offset = portion.records[-1].end
            segment.records -= len(portion.records)
            if segment.offset >= segment.size:
                self._finish(segment)
                run.segments.popleft()
                segment.path.unlink(missing_ok=True)
        if portion.cut and run.mark is not None:
            run.mark.unlink(missing_ok=True)
            run.mark = None
        if run is not self._mine and not run.segments and run.mark is None:
            self._runs.remove(run)

    def end(self) -> None:
        """The run ends by itself, with everything written."""
        for segment in self._mine.segments:
            self._finish(segment)
        self._mark.unlink(missing_ok=True)

    def _from(self, run: _Run, limit: int) -> Portion:
        segment = run.segments[0]
        records: list[Record] = []
        for record in decode(_content(segment.path, segment.size), segment.offset):
            records.append(record)
            if len(records) == limit:
                break
        if not records:  # somebody has changed the file; what it had is a hole in the numbers
            self._finish(segment)
            run.segments.popleft()
            segment.path.unlink(missing_ok=True)
            return Portion(run.run, (), more=True, cut=False)
        last = records[-1].end >= segment.size and len(run.segments) == 1
        cut = last and run.mark is not None
        through = run.last if last and run is not self._mine else 0
        return Portion(run.run, tuple(records), not last or self._behind(run), cut, through)

    def _behind(self, run: _Run) -> bool:
        """Whether a later run has something."""
        later = self._runs[self._runs.index(run) + 1 :]
        return any(each.segments or each.mark is not None for each in later)

    def _writable(self, first: int) -> _Segment:
        """The newest segment, or another one where it is full, or was ended by a failure."""
        if self._mine.segments and self._mine.segments[-1].fd >= 0:
            newest = self._mine.segments[-1]
            if newest.size < self._segment_bytes:
                return newest
            self._finish(newest)
        path = self._folder / f"{self._mine.place:08}-{self._mine.run}-{first:020}.events"
        path.unlink(missing_ok=True)  # of a try that failed
        fd = os.open(path, _WRITE, 0o600)
        try:
            _write(fd, MAGIC)
            _sync(self._folder)
        except OSError:
            os.close(fd)
            with suppress(OSError):
                path.unlink()
            raise
        segment = _Segment(path, self._mine.place, self._mine.run, 0, len(MAGIC), fd=fd)
        self._mine.segments.append(segment)
        return segment

    def _finish(self, segment: _Segment) -> None:
        fd, segment.fd = segment.fd, -1
        if fd >= 0:
            os.close(fd)
        if not segment.records and segment.size == len(MAGIC) and segment in self._mine.segments:
            self._mine.segments.remove(segment)
            with suppress(OSError):
                segment.path.unlink()


def _left_over(folder: Path) -> list[_Run]:
    """What former runs have left, in their order. What is none of the spool's files is let alone."""
    runs: dict[tuple[int, str], _Run] = {}
    for path in sorted(folder.iterdir()):
        found = _SEGMENT.fullmatch(path.name) or _MARK.fullmatch(path.name)
        if found is None:
            continue
        key = (int(found["place"]), found["run"])
        run = runs.setdefault(key, _Run(*key, None))
        if path.suffix == ".alive":
            run.mark = path
        else:
            _add(run, path)
    return [runs[key] for key in sorted(runs)]


def _add(run: _Run, path: Path) -> None:
    """A segment as far as it is whole."""
    try:
        records = list(decode(_content(path, None)))
    except OSError:
        records = []
    if not records:
        with suppress(OSError):
            path.unlink()
        return
    run.last = max(run.last, records[-1].number)
    run.segments.append(_Segment(path, run.place, run.run, len(records), records[-1].end))


def _content(path: Path, size: int | None) -> bytes:
    """The first `size` bytes of a file, all for None; nothing of one that is not a segment."""
    fd = os.open(path, _READ)
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return b""
        content = file.read() if size is None else file.read(size)
    return content if content.startswith(MAGIC) else b""


def _check(folder: Path) -> None:
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise PermissionError(1, "the folder of the spool is not the agent's alone")


def _write(fd: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
