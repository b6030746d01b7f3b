"""The checks of ``/ready`` as a metric, so that alerts see what they say."""

from __future__ import annotations

import asyncio

from prometheus_client import Gauge

from sds.http.ops import CHECK_SECONDS
from sds.server.health import Health


class HealthGauge:
    """Asks each check now and then. One that fails in an unexpected way, or not in time, is not well either."""

    def __init__(self, health: Health, gauge: Gauge) -> None:
        self._health = health
        self._gauge = gauge

    async def look(self) -> None:
        checks = {**self._health.live, **self._health.ready, **self._health.degraded}
        for name, check in checks.items():
            try:
                async with asyncio.timeout(CHECK_SECONDS):
                    well = await check() is None
            except Exception:  # noqa: BLE001 - whatever a check raises: it did not say that all is well
                well = False
            self._gauge.labels(name).set(well)
