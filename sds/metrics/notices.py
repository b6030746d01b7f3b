"""Metrics of notices."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Gauge

from sds.metrics.kinds import Counters, gauge

NOTICE_KINDS = (
    "certificate", "authority", "secret_expiry", "secret_rotation", "secret_problem", "token", "agent_silent",
    "sidecar_rejects", "sidecar_behind", "entry_unused", "entry_stale", "grant_unused", "grant_stale",
)  # fmt: skip
"""What notices tell of (sds.notices.notice.Kind)."""


class NoticeMetrics:
    """What stands, and what became of messages. Each is of the replica that looks."""

    def __init__(self, registry: CollectorRegistry) -> None:
        standing = Gauge(
            "sds_server_notices", "Things that notices tell of and that are not over.", ("kind",), registry=registry
        )
        self._standing = {kind: standing.labels(kind) for kind in NOTICE_KINDS}
        self.messages = Counters(
            "sds_server_notice_messages",
            "Messages with notices, by channel and what became of them.",
            registry,
            channel=("mail", "webhook"),
            outcome=("success", "failure", "given_up"),
        )
        self.failing = gauge(
            "sds_server_notice_recipients_failing", "Recipients whose last message could not be sent yet.", registry
        )
        self.left_out = gauge(
            "sds_server_notices_left_out", "Notices beyond `notices.max_standing`, of which nobody is told.", registry
        )
        self.looked = gauge(
            "sds_server_notice_look_timestamp_seconds",
            "When this replica last looked for what is worth a notice; 0: it never did.",
            registry,
        )

    def of_another(self) -> None:
        """Another replica looks: what this one knew is its to tell."""
        self.standing({})
        for each in (self.failing, self.left_out, self.looked):
            each.set(0)

    def standing(self, counts: Mapping[str, int]) -> None:
        """All that stands, by kind."""
        for kind, child in self._standing.items():
            child.set(counts.get(kind, 0))
