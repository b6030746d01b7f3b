"""What a report says, as audit events."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sds.audit.event import Actor, AuditEvent, Json, Outcome, Target
from sds.server.agent_reports.holes import Hole, named
from sds.server.agent_reports.report import Report, SeenEvent
from sds.server.events import Events, agent_actor, process_details, rfc3339
from sds.server.identity import AgentCaller


class ReportEvents:
    """Of what agents say. `seen_at` is by the agent's clock, the event's own time by the database's."""

    def __init__(self, events: Events) -> None:
        self._events = events

    def gap(self, caller: AgentCaller, run: str, missing: Sequence[Hole], now: datetime) -> AuditEvent:
        return self._lost(
            caller,
            "some of what the agent saw is lost: it had to drop events, or there were too many for the log",
            {
                "run": run,
                "first": str(missing[0].first),
                "last": str(missing[-1].last),
                "dropped": str(sum(hole.size for hole in missing)),
                "numbers": named(missing),
            },
            now,
        )

    def cut(self, caller: AgentCaller, run: str, first: int, now: datetime) -> AuditEvent:
        reason = "the agent was killed: what it saw last and had not written yet is lost, if there was anything"
        return self._lost(caller, reason, {"run": run, "first": str(first), "last": ""}, now)

    def _lost(self, caller: AgentCaller, reason: str, details: dict[str, Json], now: datetime) -> AuditEvent:
        actor = agent_actor(caller.agent_id, caller.address)
        target, request_id = Target("agent", actor.id), caller.request_id
        return self._events.make(
            now,
            "report.gap",
            actor,
            target,
            outcome=Outcome.FAILURE,
            reason=reason,
            request_id=request_id,
            details=details,
        )

    def duplicate(self, caller: AgentCaller, report: Report, now: datetime) -> AuditEvent:
        actor = agent_actor(caller.agent_id, caller.address)
        return self._events.make(
            now,
            "agent.duplicate",
            actor,
            Target("agent", actor.id),
            outcome=Outcome.FAILURE,
            reason="two processes report under one identity, so its data folder was copied: ban the agent, attest anew",
            request_id=caller.request_id,
            details={"run": report.run_id},
        )

    def audited(self, caller: AgentCaller, report: Report, now: datetime) -> list[AuditEvent]:
        actor = agent_actor(caller.agent_id, caller.address)
        made = [self._seen(report, event, actor, caller.request_id, now) for event in report.events]
        if report.events_dropped and not report.through:
            made.append(
                self._events.make(
                    now,
                    "report.gap",
                    actor,
                    Target("agent", actor.id),
                    outcome=Outcome.FAILURE,
                    reason="the agent had to drop events before it could report them",
                    request_id=caller.request_id,
                    details={"run": report.run_id, "dropped": str(report.events_dropped)},
                )
            )
        return made

    def _seen(self, report: Report, event: SeenEvent, actor: Actor, request_id: str, now: datetime) -> AuditEvent:
        target = Target("resource", event.resource) if event.resource else Target("process", event.process.path)
        details: dict[str, Json] = {
            "seen_at": rfc3339(event.seen_at),
            "run": report.run_of_events,
            "number": str(event.number),  # 64 bits, more than JSON's readers agree on
            "process": process_details(event.process),
            "stream": event.stream_id,
            "version": event.version,
            "selectors": event.selectors,
            "spiffe_ids": event.spiffe_ids,
        }
        return self._events.make(
            now,
            event.action,
            actor,
            target,
            outcome=event.outcome,
            reason=event.reason,
            request_id=request_id,
            details=details,
        )
