"""Named secrets: what one value may be, how often sources are asked, and what else the server does with them."""

from __future__ import annotations

from datetime import timedelta
from typing import Self

from pydantic import model_validator

from sds.config.common import cross_check
from sds.config.named_secrets.leases import LeasesSection
from sds.config.named_secrets.tickets import TicketsSection
from sds.config.named_secrets.webhook import WebhookSection
from sds.config.problems import Problem
from sds.config.types import Count, Duration, Section, key

_SECOND = timedelta(seconds=1)


class SecretsSection(Section):
    """Named secrets. Which there are is told with `sds secret create`, who may have them with `sds grant create`."""

    max_value_bytes: Count = key("Size of one field of a value.", default=65_536, ge=1, le=1_048_576)
    max_total_bytes: Count = key("Size of all fields of a value together.", default=262_144, ge=1, le=2_097_152)
    max_fields: Count = key("Fields of one value.", default=64, ge=1, le=1_024)
    max_secrets: Count = key("Secrets that may be defined.", default=20_000, ge=1, le=1_000_000)
    max_grants: Count = key("Grants that may be made.", default=100_000, ge=1, le=10_000_000)
    max_versions: Count = key(
        "Versions that are kept of a secret whose values lie here; the pinned one always is.",
        default=20,
        ge=1,
        le=1_000,
    )
    max_streams: Count = key("WatchSecrets streams at once.", default=10_000, ge=1)
    max_streams_per_agent: Count = key("WatchSecrets streams of one agent at once.", default=4, ge=1)
    max_wanted: Count = key(
        "What one stream may want at once: secrets times entries that want them.", default=20_000, ge=1, le=1_000_000
    )
    min_interval: Duration = key(
        "Shortest time between two looks at a source that has to be asked whether a secret has changed. With many "
        "secrets it becomes longer, so that all looks stay within `vault.requests_per_second`: 250 secrets are looked "
        "at every 5 seconds where each takes a request of its own.",
        default=_SECOND,
        ge=timedelta(milliseconds=100),
        le=timedelta(hours=1),
    )
    max_interval: Duration = key(
        "Longest time between two looks, however many secrets there are.",
        default=timedelta(minutes=5),
        ge=_SECOND,
        le=timedelta(days=1),
    )
    retry: Duration = key(
        "Pause after a look that got no answer; it doubles with each, up to `retry_max`.",
        default=_SECOND,
        ge=timedelta(milliseconds=100),
        le=timedelta(hours=1),
    )
    retry_max: Duration = key(
        "Longest such pause. After an outage all looks come back spread over it.",
        default=timedelta(minutes=1),
        ge=_SECOND,
        le=timedelta(hours=1),
    )
    linger: Duration = key(
        "How long credentials that were made for one identity are kept after its last user left, in case it comes "
        "back. Who is not granted them any more loses them at once.",
        default=timedelta(minutes=1),
        le=timedelta(hours=1),
    )
    tickets: TicketsSection = TicketsSection()
    webhook: WebhookSection = WebhookSection()
    leases: LeasesSection = LeasesSection()

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems: list[Problem] = []
        if self.min_interval > self.max_interval:
            problems.append(Problem("min_interval", "is longer than secrets.max_interval"))
        if self.retry > self.retry_max:
            problems.append(Problem("retry", "is longer than secrets.retry_max"))
        if self.max_value_bytes > self.max_total_bytes:
            problems.append(Problem("max_value_bytes", "is more than secrets.max_total_bytes"))
        cross_check(problems)
        return self
