"""How bundles of other trust domains are fetched."""

from __future__ import annotations

from datetime import timedelta
from typing import Self

from pydantic import model_validator

from sds.config.common import cross_check
from sds.config.problems import Problem
from sds.config.types import Count, Duration, FilePath, Section, key

_SECOND = timedelta(seconds=1)


class FederationSection(Section):
    """Fetching the bundles of other trust domains. Which ones those are is told with `sds federation add`."""

    min_interval: Duration = key(
        "Shortest time between two polls of one endpoint, whatever its bundle hints.",
        default=30 * _SECOND,
        ge=_SECOND,
        le=timedelta(days=1),
    )
    max_interval: Duration = key(
        "Longest time between two polls of one endpoint, whatever its bundle hints.",
        default=timedelta(hours=1),
        ge=_SECOND,
        le=timedelta(days=30),
    )
    retry: Duration = key(
        "Pause after a failed poll; it doubles with each, up to the usual interval.",
        default=5 * _SECOND,
        ge=_SECOND,
        le=timedelta(hours=1),
    )
    timeout: Duration = key(
        "Time for one poll, redirects included.", default=10 * _SECOND, ge=_SECOND, le=timedelta(minutes=5)
    )
    max_redirects: Count = key("Redirects followed in one poll; 0: none.", default=3, ge=0, le=10)
    web_ca_file: FilePath | None = key(
        "Authorities (PEM) that `https_web` endpoints must lead to, in place of those of the operating system.",
        default=None,
        shown="none",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.min_interval > self.max_interval:
            cross_check([Problem("min_interval", "is longer than federation.max_interval")])
        return self
