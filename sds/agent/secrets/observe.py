"""What becomes of secrets on this node, as metrics, log lines and events for the server. Names, never values."""

from __future__ import annotations

from collections.abc import Callable

from sds.agent.observe import QuietLog
from sds.agent.report import Reporter, SeenEvent
from sds.agent.secrets.shelf import Wanted
from sds.clock import Clock
from sds.delivery.messages import EXPIRED
from sds.delivery.ports import CallerInfo
from sds.delivery.text import clean_name
from sds.logs import Logger
from sds.metrics import AgentMetrics


class SecretEvents:
    """Implements SecretsObserver."""

    def __init__(self, metrics: AgentMetrics, reporter: Reporter, clock: Clock, log: Logger) -> None:
        self._metrics = metrics
        self._reporter = reporter
        self._clock = clock
        self._quiet = QuietLog(log, clock)

    def received(self, count: int) -> None:
        self._metrics.secret_values(count)

    def refused(self, problem: str) -> None:
        self._metrics.secrets_rejected()
        self._quiet.warning(
            "the server sent a secret that cannot be used; what was there before stays", problem=clean_name(problem)
        )

    def expired(self, secret: Wanted, spiffe_id: str) -> None:
        self._metrics.secrets_expired()
        self._quiet.warning(
            "a secret has expired before there was another value: who has it keeps it, nobody else gets it",
            name=secret.name,
            version=secret.version,
            spiffe_id=spiffe_id,
        )
        caller = CallerInfo(spiffe_ids=(spiffe_id,) if spiffe_id else ())
        self._reporter.add(
            SeenEvent(
                self._clock.now(),
                "secret.expired",
                "failure",
                EXPIRED,
                caller,
                resource=secret.name,
                version=secret.version,
            )
        )

    def connected(self, connected: bool) -> None:
        self._metrics.secrets_connected.set(1 if connected else 0)


def watch_secrets(metrics: AgentMetrics, secrets: Callable[[], list[Wanted]]) -> None:
    """Let the gauges be computed when they are read."""

    def counting(state: str) -> Callable[[], float]:
        return lambda: sum(one.standing == state for one in secrets())

    for state, gauge in metrics.secrets.items():
        gauge.set_function(counting(state))
    metrics.secrets_stale.set_function(lambda: sum(one.stale for one in secrets()))
