"""`sds ca rotate`: looks at the slots, does the next step, and looks again, until the next authority signs.

Nothing is remembered between runs: what is prepared is gone on with, and what the schedule or somebody else has done
meanwhile is done. So it may be interrupted at any moment.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sds.cli.admin import Admin
from sds.cli.ca import asking
from sds.cli.ca.events import Activated, Away, Done, Event, Lost, Prepared, Started, Stopped, Waiting
from sds.cli.ca.progress import Progress, progress_for
from sds.cli.errors import CliError, ExitCode
from sds.cli.options import Format
from sds.client import Client, ClientError
from sds.client.authorities import Authority, Overview
from sds.client.errors import AlreadyExists, Conflict, GateClosed, NotNow, Unreachable
from sds.clock import Clock, SystemClock

_LOOK_EVERY = 0.5  # seconds
_OVERTAKEN = (AlreadyExists, NotNow, Conflict)
"""What the server says where somebody else was faster."""
_SHARE = 10
"""Looking rests this many times as long as it took: with a large fleet a look is work for the server."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """`timeout` in seconds; None: for ever. `force`: activate at its end whatever the gate says."""

    kind: str
    timeout: float | None
    force: bool
    cross_sign: bool
    yes: bool


def target(overview: Overview, kind: str, now: datetime) -> Authority | None:
    """The prepared authority that is next: the newest that may sign one day."""
    found = [
        one
        for one in overview.authorities
        if one.kind == kind and one.state == "prepared" and one.sound and now <= one.not_after
    ]
    return max(found, key=lambda one: (one.not_after, one.created_at), default=None)


def active(overview: Overview, kind: str) -> Authority | None:
    return next((one for one in overview.authorities if one.kind == kind and one.state == "active"), None)


class Rotation:
    """One run. `progress` hears everything; what ends it early is a CliError."""

    def __init__(
        self,
        client: Client,
        wishes: Wishes,
        progress: Progress,
        clock: Clock,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._wishes = wishes
        self._progress = progress
        self._clock = clock
        self._sleep = sleep
        self._started_at = clock.monotonic()
        self._target: str | None = None
        self._before: Authority | None = None
        self._looked_for = 0.0

    @property
    def target(self) -> str | None:
        """The authority that is to sign, once it is known."""
        return self._target

    def run(self) -> None:
        """Until the next authority signs. Raises ClientError, CliError: GATE_CLOSED at the end of the time."""
        first = self._look()
        self._before = active(first, self._wishes.kind)
        self._tell(Started(self._wishes.kind, self._before.id if self._before else None))
        while not self._try():
            self._sleep(max(_LOOK_EVERY, _SHARE * self._looked_for))

    def _try(self) -> bool:
        """A step; a server that is away is waited for, as long as the fleet would be."""
        try:
            return self._step()
        except Unreachable as error:
            if self._wishes.timeout is not None and self._waited >= self._wishes.timeout:
                raise
            self._tell(Away(error.message))
            return False

    def _step(self) -> bool:
        """Look, and do what is next; whether all is done."""
        overview = self._look()
        signs = active(overview, self._wishes.kind)
        if self._target is not None and signs is not None and signs.id == self._target:
            self._finish(Activated(signs, by_us=False))
            return True
        waiting = target(overview, self._wishes.kind, self._clock.now())
        if self._target is not None and (waiting is None or waiting.id != self._target):
            self._tell(Lost(self._target))
            self._target = None
        if waiting is None:
            self._prepare()
            return False
        if self._target is None:
            self._aim(waiting, resumed=True)
        gate = waiting.gate
        if gate is None:
            raise CliError(ExitCode.FAILED, "the server says nothing of the gate; is it of this version?")
        if gate.open:
            return self._activate(waiting, force=False)
        self._tell(Waiting(waiting.id, gate, gate.document, self._waited))
        if self._wishes.timeout is None or self._waited < self._wishes.timeout:
            return False
        if not self._wishes.force:
            raise CliError(
                ExitCode.GATE_CLOSED,
                f"authority {waiting.id} is prepared, and its gate is still closed: {'; '.join(gate.reasons)}",
                advice="Run it again to go on waiting, or with --force to cut off who is late.",
            )
        self._progress.pause()
        asking.confirm_force(waiting, yes=self._wishes.yes)
        return self._activate(waiting, force=True)

    def _prepare(self) -> None:
        try:
            prepared = self._client.authorities.prepare(self._wishes.kind)
        except _OVERTAKEN:
            return  # somebody was faster: the next look shows it
        self._aim(prepared, resumed=False)

    def _aim(self, authority: Authority, *, resumed: bool) -> None:
        self._target = authority.id
        self._tell(Prepared(authority, resumed))

    def _activate(self, authority: Authority, *, force: bool) -> bool:
        try:
            activated = self._client.authorities.activate(authority.id, force=force, cross_sign=self._wishes.cross_sign)
        except (GateClosed, *_OVERTAKEN):
            return False  # it closed again, or somebody was faster
        self._finish(Activated(activated, by_us=True, forced=force))
        return True

    def _finish(self, activated: Activated) -> None:
        self._tell(activated)
        before = self._before.id if self._before is not None else None
        self._tell(Done(activated.authority.id, before, self._kept_until(before), self._waited))

    def _kept_until(self, authority_id: str | None) -> datetime | None:
        """None, too, where it cannot be asked any more: what was to be done is done."""
        try:
            overview = self._look()
        except ClientError:
            return None
        return next((one.kept_until for one in overview.authorities if one.id == authority_id), None)

    @property
    def _waited(self) -> float:
        return self._clock.monotonic() - self._started_at

    def _look(self) -> Overview:
        """What stands."""
        started = self._clock.monotonic()
        found = self._client.authorities.overview(self._wishes.kind)
        self._looked_for = self._clock.monotonic() - started
        return found

    def _tell(self, event: Event) -> None:
        self._progress.tell(event)


def run(admin: Admin, wishes: Wishes, output: Format) -> None:
    """Raises CliError, KeyboardInterrupt."""
    if wishes.force:
        asking.can_confirm(yes=wishes.yes)  # before anything is prepared or waited for
    with admin.client() as client, progress_for(output) as progress:
        rotation = Rotation(client, wishes, progress, SystemClock())
        try:
            rotation.run()
        except KeyboardInterrupt:
            progress.tell(Stopped("interrupted", rotation.target))
            raise
        except (CliError, ClientError) as error:
            closed = isinstance(error, CliError) and error.code is ExitCode.GATE_CLOSED
            progress.tell(Stopped("timeout" if closed else "failed", rotation.target))
            raise
