"""Remembers the newest checkpoint in the data folder, and raises an alarm when the log contradicts it.

The server's replicas may be a moment behind one another, so that one alone that says less is waited for; one that goes
on saying less has lost events, or somebody has taken them.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from ca.masked import Masked
from sds.agent.checkpoints.known import Known, Verdict, grown, judge
from sds.agent.datadir import DataFolder
from sds.agent.errors import DataFolderUnusable
from sds.agent.report import SeenEvent
from sds.audit.checkpoint import Checkpoint, unverified_checkpoint
from sds.audit.note import InvalidNote
from sds.clock import Clock
from sds.logs import Logger

FILE = "audit-checkpoint.json"
GRACE = 10.0
"""Seconds that a smaller tree may be that of a replica which is behind."""
_SAVED_EVERY = 5.0
_WORDS = {
    Verdict.SMALLER: "the audit log has fewer events than it had: its end was cut off, or an older copy was restored",
    Verdict.OTHER_ROOT: "the audit log has other events than it had: it was rewritten",
    Verdict.OTHER_LOG: "the audit log is another one than before: it was made anew",
}


@dataclass(frozen=True, slots=True)
class Contradiction:
    """`remembered` and `told` are notes as they were; keep both, they are the evidence."""

    at: str
    what: str
    remembered: str
    told: str


class WitnessObserver(Protocol):
    def checkpoint(self, size: int) -> None: ...

    def contradicted(self) -> None: ...


class Witness:
    """`tell` puts an event into the delivery reports. All but `load` is used on the event loop."""

    def __init__(
        self,
        folder: DataFolder,
        tell: Callable[[SeenEvent], None],
        observer: WitnessObserver,
        clock: Clock,
        log: Logger,
    ) -> None:
        self._folder = folder
        self._tell = tell
        self._observer = observer
        self._clock = clock
        self._log = log
        self._known: Known | None = None
        self._smaller_since: float | None = None
        self._dirty = asyncio.Event()
        self.note = ""
        """The newest checkpoint, as it was told; empty for none."""
        self.seen_at: datetime | None = None
        self.contradiction: Contradiction | None = None
        """The last one; it stays until the file in the data folder is removed."""

    @property
    def newest(self) -> Checkpoint | None:
        return None if self._known is None else self._known.newest

    def load(self) -> None:
        """Read what an earlier run remembered. Blocks. A damaged file is told of, and begun anew."""
        try:
            content = self._folder.read(FILE)
            if content is not None:
                self._read(json.loads(content.reveal()))
        except (DataFolderUnusable, InvalidNote, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = str(error) if isinstance(error, DataFolderUnusable) else "it is damaged"
            self._log.error("the audit log's checkpoint cannot be read and is begun anew", file=FILE, reason=reason)

    def see(self, unverified_note: str) -> None:
        """What the server says its log is now."""
        if not unverified_note:
            return
        if unverified_note == self.note:
            self._smaller_since = None
            return
        try:
            found = unverified_checkpoint(unverified_note)
        except InvalidNote as error:
            self._log.warning("the server's checkpoint of the audit log is none", reason=str(error))
            return
        verdict = judge(self._known, found)
        if verdict is Verdict.SMALLER and self._only_behind():
            return
        if verdict in _WORDS:
            self._alarm(verdict, found, unverified_note)
        self._smaller_since = None
        if verdict is not Verdict.SAME:
            self._known = grown(None if verdict in _WORDS else self._known, found)
            self.note, self.seen_at = unverified_note, self._clock.now()
            self._observer.checkpoint(found.size)
            self._dirty.set()

    async def run(self) -> None:
        """Write changes as they come, until cancelled."""
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            await self.save()
            await asyncio.sleep(_SAVED_EVERY)

    async def save(self) -> None:
        """A failure is logged: what is known is in memory still."""
        content = Masked(json.dumps(self._document()).encode())
        try:
            await asyncio.to_thread(self._folder.write, FILE, content)
        except DataFolderUnusable as error:
            self._dirty.set()
            self._log.warning("the audit log's checkpoint could not be written", reason=str(error))

    def _only_behind(self) -> bool:
        """Whether a replica may only be behind, as far as one can know by now."""
        now = self._clock.monotonic()
        if self._smaller_since is None:
            self._smaller_since = now
        return now - self._smaller_since < GRACE

    def _alarm(self, verdict: Verdict, found: Checkpoint, told: str) -> None:
        remembered = self._known.newest if self._known is not None else found
        now = self._clock.now()
        self.contradiction = Contradiction(now.isoformat(), _WORDS[verdict], self.note, told)
        self._observer.contradicted()
        facts = {"remembered": _short(remembered), "told": _short(found)}
        self._log.error(f"{_WORDS[verdict]}; keep {FILE} of the data folder", **facts)
        reason = f"{_WORDS[verdict]} (remembered: {facts['remembered']}; told: {facts['told']})"
        self._tell(SeenEvent(now, "audit.contradicted", "failure", reason, resource="audit log"))

    def _document(self) -> dict[str, Any]:
        known = self._known
        roots = {} if known is None else {str(size): _text(root) for size, root in known.roots.items()}
        last = self.contradiction
        return {
            "note": self.note,
            "seen_at": None if self.seen_at is None else self.seen_at.isoformat(),
            "roots": roots,
            "contradiction": None
            if last is None
            else {"at": last.at, "what": last.what, "remembered": last.remembered, "told": last.told},
        }

    def _read(self, document: dict[str, Any]) -> None:
        """Raises what a damaged document makes it."""
        newest = unverified_checkpoint(document["note"])
        roots = {int(size): base64.b64decode(root, validate=True) for size, root in document["roots"].items()}
        last = document["contradiction"]
        seen_at = datetime.fromisoformat(document["seen_at"])
        if last is not None:
            self.contradiction = Contradiction(last["at"], last["what"], last["remembered"], last["told"])
        self._known, self.note, self.seen_at = Known(newest, roots), document["note"], seen_at
        self._observer.checkpoint(newest.size)


def _short(checkpoint: Checkpoint) -> str:
    return f"{checkpoint.origin} {checkpoint.size} {_text(checkpoint.root)}"


def _text(root: bytes) -> str:
    return base64.b64encode(root).decode()
