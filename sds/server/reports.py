"""What agents tell of their sidecars: the fleet view, and audit events for what was refused or rejected.

At least once and in order: an agent repeats a report until it is acknowledged; (run, sequence) drops the repeats, in
the transaction that takes a report in. Events have numbers of their own, by which those that come again after a restart
are dropped, and those that are missing are found.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from attestation.spiffe_id import SpiffeId
from sds.logs import get_logger
from sds.net.limits import Rate, TokenBuckets
from sds.server.agent_reports.events import ReportEvents
from sds.server.agent_reports.holes import holes, new_numbers
from sds.server.agent_reports.report import Report
from sds.server.events import Events
from sds.server.identity import AgentCaller
from sds.server.runs import Runs
from sds.server.transactions import Transactions
from sds.store.records import ReportPosition
from sds.store.unit_of_work import UnitOfWork

SHARE = Rate(per_second=20.0, burst=20_000)
"""Events of one agent that are audited one by one; of more than that only the number is. Honest agents stay below."""
ENDED = 2**63 - 1
"""The position of a run that was killed, and of which all has come that ever will."""


class ReportObserver(Protocol):
    def reported(self, lags: Iterable[float], dropped: int) -> None:
        """Seconds from what was seen to its being stored, and how many events the agent had to drop."""
        ...


class Reports:
    """Takes reports in."""

    def __init__(self, store: Transactions, events: Events, observer: ReportObserver, share: Rate = SHARE) -> None:
        self._store = store
        self._told = ReportEvents(events)
        self._observer = observer
        self._shares = TokenBuckets(share)
        self._runs = Runs()
        self._log = get_logger(__name__)

    def within_share(self, agent_id: SpiffeId, report: Report, now: datetime) -> Report:
        """`report` without the events that are too many for its agent; they are counted as dropped."""
        told = tuple(event for event in report.events if self._shares.take(agent_id, now.timestamp()))
        return replace(report, events=told, events_dropped=report.events_dropped + len(report.events) - len(told))

    async def take_in(self, caller: AgentCaller, report: Report, now: datetime) -> bool:
        """Whether the agent must send a snapshot next. Raises StoreError: nothing was taken in."""
        report = self.within_share(caller.agent_id, report, now)
        duplicate = self._runs.duplicate(caller.agent_id, report.run_id, now)
        if duplicate:
            self._log.error(
                "an agent's identity is in use twice", agent_id=str(caller.agent_id), address=caller.address
            )

        def work(uow: UnitOfWork) -> tuple[bool, bool, datetime]:
            if duplicate:
                uow.audit.append(self._told.duplicate(caller, report, uow.now))
            known = uow.streams.position(caller.agent_id)
            same_run = known is not None and known.run_id == report.run_id
            if known is not None and same_run and report.sequence <= known.sequence:
                return True, False, uow.now
            told = self._accounted(uow, caller, report)
            gap = not (known is not None and same_run and report.sequence == known.sequence + 1)
            if report.snapshot:
                uow.streams.replace(caller.agent_id, report.streams)
            else:
                uow.streams.upsert(report.streams)
                uow.streams.delete(caller.agent_id, report.closed)
            uow.audit.append_all(self._told.audited(caller, told, uow.now))
            uow.agents.verifies_by(caller.agent_id, report.bundle_sequence)
            uow.streams.set_position(caller.agent_id, ReportPosition(report.run_id, report.sequence))
            return False, gap and not report.snapshot, uow.now

        repeated, resync, stored_at = await self._store.write(work)
        if not repeated:
            lags = [max(0.0, (stored_at - event.seen_at).total_seconds()) for event in report.events]
            self._observer.reported(lags, report.events_dropped)
        return resync

    def _accounted(self, uow: UnitOfWork, caller: AgentCaller, report: Report) -> Report:
        """`report` without the events that were taken in before; what is missing between them is written down."""
        if not report.through and not report.cut:
            return report  # of an agent that does not say
        run = report.run_of_events
        position = uow.agent_events.position(caller.agent_id, run)
        missing = holes(position, (event.number for event in report.events), report.through)
        fresh = new_numbers(position, (event.number for event in report.events))
        if missing:
            uow.audit.append(self._told.gap(caller, run, missing, uow.now))
        if report.cut and position != ENDED:
            uow.audit.append(self._told.cut(caller, run, max(position, report.through) + 1, uow.now))
        uow.agent_events.set_position(
            caller.agent_id, run, ENDED if report.cut else max(position, report.through, *fresh)
        )
        return replace(report, events=tuple(event for event in report.events if event.number in fresh))
