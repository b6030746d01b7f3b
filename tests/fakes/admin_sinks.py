"""Sinks of the audit log, as the admin API shows them."""

from __future__ import annotations

from sds.admin.services.sinks import SinkInfo
from tests.fakes.clock import EPOCH


class FakeSinks:
    """Implements sds.admin.services.sinks.SinkAdmin."""

    def __init__(self) -> None:
        self.rows = [
            SinkInfo("archive", "file", 41, EPOCH, 0, 0, "", None, "host/1"),
            SinkInfo("siem", "webhook", None, None, 42, 7, "the receiver answered 500", EPOCH, ""),
        ]

    async def all(self) -> tuple[SinkInfo, ...]:
        return tuple(self.rows)
