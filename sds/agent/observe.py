# ruff: noqa: ARG002  the hooks tell more than each observer needs
"""What happens in the agent, as metrics, log lines and events for the server. No caller's words become a label."""

from __future__ import annotations

from attestation.attestor import Process
from sds.agent.report import Reporter, SeenEvent
from sds.agent.workload import Workload
from sds.clock import Clock
from sds.delivery.messages import OTHER_TYPE
from sds.delivery.ports import CallerInfo, StreamInfo
from sds.logs import Logger
from sds.metrics import AgentMetrics
from sds.net.limits import Rate, TokenBuckets
from sds.net.process import LocalProcess

_LINES = Rate(per_second=5, burst=50)
"""How often one kind of line that callers can provoke is written."""


class QuietLog:
    """Writes what callers can provoke only so often, and then says how much it left out."""

    __slots__ = ("_buckets", "_clock", "_log", "_skipped")

    def __init__(self, log: Logger, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._buckets = TokenBuckets(_LINES)
        self._skipped: dict[str, int] = {}

    def warning(self, event: str, **facts: object) -> None:
        """`event` is a constant: it is what lines are counted by."""
        if not self._buckets.take(event, self._clock.monotonic()):
            self._skipped[event] = self._skipped.get(event, 0) + 1
            return
        skipped = self._skipped.pop(event, 0)
        if skipped:
            facts["lines_left_out"] = skipped
        self._log.warning(event, **facts)


class ConnectionObserver:
    """Implements RelayObserver."""

    def __init__(self, metrics: AgentMetrics, clock: Clock, log: Logger) -> None:
        self._metrics = metrics
        self._log = log
        self._quiet = QuietLog(log, clock)

    def opened(self, peer: LocalProcess) -> None:
        self._metrics.connections.inc()

    def refused(self, peer: LocalProcess | None, reason: str) -> None:
        self._metrics.connections_refused.inc(reason)
        known = {"pid": peer.identity.pid, "uid": peer.identity.uid} if peer else {}
        self._quiet.warning("a local connection was refused", reason=reason, **known)

    def closed(self, peer: LocalProcess, reason: str) -> None:
        self._metrics.connections.dec()

    def accept_failed(self, problem: str) -> None:
        self._log.error(
            "no connection can be accepted for now: raise the limit of open files (LimitNOFILE in systemd)",
            reason=problem,
        )


class WorkloadEvents:
    """Implements WorkloadObserver."""

    def __init__(self, metrics: AgentMetrics, reporter: Reporter, clock: Clock, log: Logger) -> None:
        self._metrics = metrics
        self._reporter = reporter
        self._clock = clock
        self._log = log
        self._quiet = QuietLog(log, clock)

    def attested(self, workload: Workload) -> None:
        self._metrics.attestations.inc("success")

    def matched(self, workload: Workload) -> None:
        self._event("workload.attested", "success", workload.description)

    def unmatched(self, workload: Workload) -> None:
        caller = workload.description
        self._quiet.warning(
            "no entry matches this process; `sds agent explain` on this node says what is missing",
            pid=caller.pid,
            uid=caller.uid,
            path=caller.path,
            selectors=caller.selectors,
        )
        self._event("workload.refused", "refused", caller, "no entry matches")

    def refused(self, process: Process, reason: str) -> None:
        self._metrics.attestations.inc("refused")
        self._quiet.warning("a process could not be attested", pid=process.pid, uid=process.uid, reason=reason)
        caller = CallerInfo(pid=process.pid, uid=process.uid, gid=process.gid, start_time=process.start_time)
        self._event("workload.refused", "refused", caller, reason)

    def limited(self, process: Process) -> None:
        self._quiet.warning("a user has too many streams open", pid=process.pid, uid=process.uid)

    def broke(self, process: Process, error: Exception) -> None:
        self._metrics.attestations.inc("failure")
        self._log.error("attestation broke", pid=process.pid, uid=process.uid, exc_info=error)

    def _event(self, action: str, outcome: str, caller: CallerInfo, reason: str = "") -> None:
        self._reporter.add(SeenEvent(self._clock.now(), action, outcome, reason, caller))


class StreamObserver:
    """Implements delivery's Observer."""

    def __init__(self, metrics: AgentMetrics, reporter: Reporter, clock: Clock, log: Logger) -> None:
        self._metrics = metrics
        self._reporter = reporter
        self._clock = clock
        self._log = log
        self._quiet = QuietLog(log, clock)

    def opened(self, stream: StreamInfo) -> None:
        self._metrics.streams[stream.protocol].inc()
        self._reporter.touch()

    def closed(self, stream: StreamInfo, reason: str) -> None:
        self._metrics.streams[stream.protocol].dec()
        self._reporter.touch()
        if reason:
            self._quiet.warning("a stream was ended", stream=stream.id, pid=stream.caller.pid, reason=reason)

    def sent(self, stream: StreamInfo, name: str, version: str) -> None:
        if version:
            self._metrics.pushes()
        self._reporter.touch()

    def acked(self, stream: StreamInfo, name: str, version: str, seconds: float) -> None:
        if version:
            self._metrics.acks()
            self._metrics.push_to_ack(seconds)
        self._reporter.touch()

    def nacked(self, stream: StreamInfo, name: str, version: str, detail: str) -> None:
        self._metrics.nacks()
        self._quiet.warning(
            "a sidecar rejected a secret and keeps what it had",
            stream=stream.id,
            pid=stream.caller.pid,
            resource=name,
            version=version,
            detail=detail,
        )
        self._event("secret.nacked", "failure", detail, stream, name, version)

    def reaffirmed(self, stream: StreamInfo, name: str, version: str, sequence: int) -> None:
        self._reporter.touch()

    def ignored(self, stream: StreamInfo, reason: str) -> None:
        self._metrics.ignored.inc("unknown_type" if reason == OTHER_TYPE else "other")

    def refused(self, stream: StreamInfo, name: str, reason: str) -> None:
        self._metrics.ignored.inc("not_granted")
        self._quiet.warning(
            "a sidecar asks for what it may not have", stream=stream.id, pid=stream.caller.pid, name=name, reason=reason
        )
        self._event("secret.refused", "refused", reason, stream, name)

    def resumed(self, stream: StreamInfo, names: int) -> None:
        self._log.info("a silent stream gets what its process asked for before", stream=stream.id, names=names)

    def rejected(self, peer: str, protocol: str, reason: str) -> None:
        self._quiet.warning("a call was refused", protocol=protocol, reason=reason)

    def crashed(self, protocol: str, error: Exception) -> None:
        self._log.error("a call broke", protocol=protocol, exc_info=error)

    def _event(
        self, action: str, outcome: str, reason: str, stream: StreamInfo, resource: str, version: str = ""
    ) -> None:
        self._reporter.add(
            SeenEvent(self._clock.now(), action, outcome, reason, stream.caller, stream.id, resource, version)
        )


class ServerObserver:
    """Implements the observers of Upstream, OwnSvid, Issuer, JwtSvids and Reporter."""

    def __init__(self, metrics: AgentMetrics) -> None:
        self._metrics = metrics

    def connected(self, connected: bool) -> None:
        self._metrics.upstream_connected.set(1 if connected else 0)

    def skew(self, seconds: float) -> None:
        self._metrics.clock_skew.set(seconds)

    def token_requested(self, outcome: str) -> None:
        self._metrics.tokens_requested.inc(outcome)

    def token_validated(self, outcome: str) -> None:
        self._metrics.tokens_validated.inc(outcome)

    def renewed(self, outcome: str) -> None:
        self._metrics.renewals.inc("agent", outcome)

    def issued(self, outcome: str, count: int) -> None:
        self._metrics.renewals.inc("workload", outcome, by=count)

    def dropped(self, count: int) -> None:
        self._metrics.reports_dropped.inc(count)

    def spool(self, events: int, size: int, failing: bool) -> None:
        self._metrics.spool_events.set(events)
        self._metrics.spool_bytes.set(size)
        self._metrics.spool_failing.set(failing)

    def checkpoint(self, size: int) -> None:
        self._metrics.checkpoint_size.set(size)

    def contradicted(self) -> None:
        self._metrics.checkpoint_alarms.inc()
