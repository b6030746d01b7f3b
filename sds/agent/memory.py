"""Which names each local process asked for: no values, by PID and start time, kept across restarts of the agent.

A MOSN that reconnects never repeats its subscriptions, so its new stream is answered from here.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Protocol

from attestation.attestor import Process
from ca.masked import Masked
from sds.agent.datadir import SUBSCRIPTIONS
from sds.agent.errors import DataFolderUnusable
from sds.logs import Logger

FORMAT = 1
MAX_NAMES = 1024
MAX_NAME_BYTES = 8192

_Key = tuple[int, int]  # PID, start time in clock ticks since boot


class Folder(Protocol):
    """The part of a DataFolder that is used here."""

    def read(self, name: str) -> Masked[bytes] | None: ...

    def write(self, name: str, content: Masked[bytes]) -> None: ...


class Subscriptions:
    """Names by process. Changes are written `debounce` after the first of them, off the loop.

    `boot_id` tells whether start times still count from the same moment; `start_time_of` says which processes live.
    """

    def __init__(
        self,
        folder: Folder,
        *,
        boot_id: str,
        start_time_of: Callable[[int], int | None],
        max_processes: int,
        log: Logger,
        debounce: timedelta = timedelta(seconds=1),
    ) -> None:
        self._folder = folder
        self._boot_id = boot_id
        self._start_time_of = start_time_of
        self._max = max_processes
        self._log = log
        self._debounce = debounce.total_seconds()
        self._names: OrderedDict[_Key, tuple[str, ...]] = OrderedDict()
        self._dirty = asyncio.Event()

    def load(self) -> None:
        """Read what an earlier run kept, as far as its processes live. A damaged file is told of and left behind."""
        try:
            content = self._folder.read(SUBSCRIPTIONS)
            kept = [] if content is None else _decode(content.reveal(), self._boot_id)
        except (DataFolderUnusable, ValueError) as error:
            self._log.warning("the remembered subscriptions cannot be read and are forgotten", reason=str(error))
            return
        for key, names in kept:
            if self._start_time_of(key[0]) == key[1]:
                self._names[key] = names
        self._shorten()

    def recall(self, process: Process) -> tuple[str, ...]:
        """The names that `process` asked for before."""
        return self._names.get((process.pid, process.start_time), ())

    def remember(self, process: Process, names: Sequence[str]) -> None:
        """Add what one stream of `process` wants: a process may have several. The newest MAX_NAMES count."""
        key = (process.pid, process.start_time)
        known = self._names.get(key, ())
        new = [name for name in names if name not in known and len(name.encode()) <= MAX_NAME_BYTES]
        if not new:
            return
        self._names.pop(key, None)
        self._names[key] = (*known, *new)[-MAX_NAMES:]
        self._shorten()
        self._dirty.set()

    async def run(self) -> None:
        """Write changes as they come, until cancelled; what is unwritten then, `save` writes."""
        loop = asyncio.get_running_loop()
        pause = self._debounce
        while True:
            await self._dirty.wait()
            await asyncio.sleep(pause)
            started = loop.time()
            await self.save()
            pause = max(self._debounce, 20 * (loop.time() - started))  # a slow disk gets less to do

    async def save(self) -> None:
        """Write now if anything changed. A failure is logged: the names matter only to the next run."""
        if not self._dirty.is_set():
            return
        self._dirty.clear()
        try:
            ended = await asyncio.to_thread(self._write, tuple(self._names.items()))
        except DataFolderUnusable as error:
            self._log.warning("the subscriptions could not be written", reason=str(error))
            self._dirty.set()
            return
        for key in ended:
            self._names.pop(key, None)

    def _write(self, items: Sequence[tuple[_Key, tuple[str, ...]]]) -> list[_Key]:
        """Write what living processes asked for; the keys of the others. Runs in a thread."""
        living = [(key, names) for key, names in items if self._start_time_of(key[0]) == key[1]]
        self._folder.write(SUBSCRIPTIONS, Masked(_encode(self._boot_id, living)))
        kept = {key for key, _ in living}
        return [key for key, _ in items if key not in kept]

    def __len__(self) -> int:
        return len(self._names)

    def _shorten(self) -> None:
        while len(self._names) > self._max:
            self._names.popitem(last=False)


def _encode(boot_id: str, items: Sequence[tuple[_Key, tuple[str, ...]]]) -> bytes:
    processes = [{"pid": pid, "start_time": start, "names": names} for (pid, start), names in items]
    return json.dumps({"format": FORMAT, "boot_id": boot_id, "processes": processes}).encode()


def _decode(content: bytes, boot_id: str) -> list[tuple[_Key, tuple[str, ...]]]:
    """Raises ValueError. Another boot's file holds nothing: its PIDs and start times mean other processes."""
    try:
        document: Any = json.loads(content)
        if document["format"] != FORMAT:
            raise ValueError("it is of another version of this program")
        if document["boot_id"] != boot_id:
            return []
        return [((int(one["pid"]), int(one["start_time"])), _names(one["names"])) for one in document["processes"]]
    except (KeyError, TypeError, AttributeError, RecursionError, UnicodeDecodeError, json.JSONDecodeError):
        raise ValueError("it is not what the agent wrote") from None


def _names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > MAX_NAMES or not all(isinstance(name, str) for name in value):
        raise ValueError("it is not what the agent wrote")
    return tuple(value)
