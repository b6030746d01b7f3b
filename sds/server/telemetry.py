"""What the server's parts tell, as metrics. Implements the observers that they declare."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

import grpc

from sds.clock import Clock
from sds.logs import get_logger
from sds.metrics import ServerMetrics
from sds.net.tcp import TcpPeer
from sds.server.transactions import Mode
from sds.server.watch import Update


class Telemetry:
    """One for the process."""

    def __init__(self, metrics: ServerMetrics, clock: Clock) -> None:
        self.metrics = metrics
        self._clock = clock

    def call_finished(self, method: str, status: grpc.StatusCode, seconds: float) -> None:
        self.metrics.calls.inc(method, status.name)
        self.metrics.call_seconds(method, seconds)

    def signed(self, profile: str, batch: int, issued: int, refused: int, failed: int, seconds: float) -> None:
        for outcome, count in (("success", issued), ("refused", refused), ("failure", failed)):
            if count:
                self.metrics.issued.inc(profile, outcome, by=count)
        self.metrics.signing_batch(batch)
        self.metrics.signing_seconds(seconds)

    def signing_workers(self, running: int) -> None:
        self.metrics.signing_workers.set(running)

    def signing_worker_lost(self) -> None:
        self.metrics.signing_workers_lost.inc()

    def issued(self, profile: str, outcome: str) -> None:
        self.metrics.issued.inc(profile, outcome)

    def attested(self, type_: str, outcome: str) -> None:
        self.metrics.attestations.inc(type_, outcome)

    def watches(self, streams: int, agents: int) -> None:
        self.metrics.watch_streams.set(streams)
        self.metrics.agents_connected.set(agents)

    def pushed(self, update: Update) -> None:
        now = self._clock.now()
        for entry in update.upserted:
            self.metrics.change_to_watch(max(0.0, (now - entry.updated_at).total_seconds()))

    def reported(self, lags: Iterable[float], dropped: int) -> None:
        for lag in lags:
            self.metrics.report_lag(lag)
        self.metrics.reported_events_dropped.inc(dropped)

    def refused(self, action: str) -> None:
        self.metrics.refusals.inc(action)

    def transaction(self, mode: Mode, outcome: str, seconds: float, events: Sequence[str]) -> None:
        self.metrics.transactions.inc(mode, outcome)
        (self.metrics.read_seconds if mode == "read" else self.metrics.write_seconds)(seconds)
        for event in events:
            self.metrics.audit_events.inc(event)

    def rotation_step(self, kind: str, step: str, outcome: str) -> None:
        self.metrics.rotation_steps.inc(kind, step, outcome)

    def rotation_gate(self, kind: str, total: int, acked: int) -> None:
        all_of_them, ready = self.metrics.rotation_gate[kind]
        all_of_them.set(total)
        ready.set(acked)

    def rotation_problem(self, kind: str, present: bool) -> None:
        self.metrics.rotation_problem[kind].set(present)

    def upstream_up(self, name: str, up: bool) -> None:
        self.metrics.upstream_up(name, up)

    def upstream_expires(self, name: str, not_after: datetime) -> None:
        self.metrics.upstream_expires(name, not_after)

    def lists(self, revoked: int, problem: bool) -> None:
        if not problem:
            self.metrics.revoked.set(revoked)
        self.metrics.revocation_problem.set(problem)

    def listed(self, seconds: float) -> None:
        self.metrics.crls.inc()
        self.metrics.crl_seconds(seconds)

    def revoked(self, kind: str, certificates: int, seconds: float) -> None:
        self.metrics.revocations.inc(kind)
        self.metrics.revocation_seconds(seconds)
        del certificates  # the gauge of `lists` has them

    def public_request(self, endpoint: str, status: int) -> None:
        self.metrics.public_requests.inc(endpoint, f"{status // 100}xx")

    def federation_polled(self, outcome: str) -> None:
        self.metrics.federation_polls.inc(outcome)

    def federation_ages(self, ages: Iterable[tuple[str, float]]) -> None:
        self.metrics.federations(ages)

    def admin_request(self, *, method: str, route: str, status: int, seconds: float) -> None:
        del route, seconds
        self.metrics.admin_requests.inc(method, f"{status // 100}xx")

    def admin_turned_away(self, reason: str) -> None:
        self.metrics.admin_turned_away.inc(reason)

    def admin_read_unnoted(self) -> None:
        self.metrics.admin_reads_unnoted.inc()


class ConnectionTelemetry:
    """Implements sds.net.seams.RelayObserver for one listener."""

    def __init__(self, metrics: ServerMetrics, listener: str) -> None:
        self._open = metrics.connections[listener]
        self._refused: Callable[[str], None] = lambda reason: metrics.connections_refused.inc(listener, reason)
        self._log = get_logger(__name__, listener=listener)

    def opened(self, peer: TcpPeer) -> None:
        del peer
        self._open.inc()

    def refused(self, peer: TcpPeer | None, reason: str) -> None:
        self._refused(reason)
        self._log.debug("connection refused", peer=str(peer), reason=reason)

    def closed(self, peer: TcpPeer, reason: str) -> None:
        self._open.dec()
        self._log.debug("connection closed", peer=str(peer), reason=reason)

    def accept_failed(self, problem: str) -> None:
        self._log.warning("cannot accept connections now; pausing", reason=problem)
