"""Whom the server tells of what ends, is silent or is not used, when, and how."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Self

from pydantic import BeforeValidator, PlainSerializer, model_validator

from sds.config.common import cross_check
from sds.config.noticing.channels import ADDRESS, HOST, NoticeWebhook, SmtpSection
from sds.config.problems import Problem
from sds.config.types import Count, Duration, FilePath, Section, TextList, key
from sds.durations import InvalidDuration, format_duration, parse_duration

_SECOND, _MINUTE, _HOUR, _DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
_MOST_LEADS = 8
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])", re.ASCII)
KINDS = (
    "certificate", "authority", "secret_expiry", "secret_rotation", "secret_problem", "token", "agent_silent",
    "sidecar_rejects", "sidecar_behind", "entry_unused", "entry_stale", "grant_unused", "grant_stale",
)  # fmt: skip
"""What notices tell of, as sds.notices.notice has them."""


def _durations(value: object) -> tuple[timedelta, ...]:
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, list | tuple) or not 0 < len(value) <= _MOST_LEADS:
        raise ValueError(f'is not a list of 1 to {_MOST_LEADS} durations, e.g. ["7d", "1d"]')
    try:
        found = tuple(map(parse_duration, value))
    except InvalidDuration as error:
        raise ValueError(f"has one that {error}") from None
    if len(set(found)) != len(found) or timedelta(0) in found:
        raise ValueError("has a duration twice, or one of nothing")
    return found


def _digest(value: object) -> str:
    if isinstance(value, str) and _CLOCK.fullmatch(value):
        return value
    try:
        interval = parse_duration(value)
    except InvalidDuration:
        raise ValueError('is neither a time of day (UTC), e.g. "08:00", nor an interval, e.g. "1h"') from None
    if not _SECOND <= interval <= 7 * _DAY:
        raise ValueError("is an interval that is not from 1s to 7d")
    return format_duration(interval)


def _texts_of(durations: tuple[timedelta, ...]) -> list[str]:
    return [format_duration(each) for each in durations]


Durations = Annotated[tuple[timedelta, ...], BeforeValidator(_durations), PlainSerializer(_texts_of)]
DigestTime = Annotated[str, BeforeValidator(_digest)]


class NoticeStages(Section):
    """When something is worth a notice. Of several lead times each makes a stage, of which its recipient is told once.

    A lead time that is longer than a quarter of the life of what ends (of an authority: an eighth) is passed over; if
    none is left, that part of its life is the lead time. The last stage is urgent.
    """

    certificates: Durations = key(
        "Before the newest certificate of an entry ends.",
        default=(_DAY, _HOUR, 10 * _MINUTE),
        shown='`["1d", "1h", "10m"]`',
        reload=True,
    )
    unheld: bool = key(
        "Also of certificates that no sidecar and no program holds now, as of a workload that was stopped; these are "
        "never urgent.",
        default=True,
        reload=True,
    )
    authorities: Durations = key(
        "Before the authority that signs ends.",
        default=(30 * _DAY, 7 * _DAY, _DAY),
        shown='`["30d", "7d", "1d"]`',
        reload=True,
    )
    secrets: Durations = key(
        "Before the value of a secret ends.",
        default=(30 * _DAY, 7 * _DAY, _DAY),
        shown='`["30d", "7d", "1d"]`',
        reload=True,
    )
    tokens: Durations = key("Before an API token ends.", default=(7 * _DAY, _DAY), shown='`["7d", "1d"]`', reload=True)
    silent: Durations = key(
        "Silence of an agent, shortest first.", default=(_HOUR, _DAY), shown='`["1h", "1d"]`', reload=True
    )
    behind: Duration = key(
        "How long a sidecar may leave a push without an answer.",
        default=15 * _MINUTE,
        ge=_SECOND,
        le=30 * _DAY,
        reload=True,
    )
    problem: Duration = key(
        "How long a secret may be in trouble at its source.",
        default=15 * _MINUTE,
        ge=timedelta(0),
        le=30 * _DAY,
        reload=True,
    )
    unused: Duration = key(
        "Age of entries and grants that were never used.", default=30 * _DAY, ge=_SECOND, le=3650 * _DAY, reload=True
    )
    stale: Duration = key(
        "Time without any use after which entries and grants are stale.",
        default=30 * _DAY,
        ge=_SECOND,
        le=3650 * _DAY,
        reload=True,
    )


class NoticesSection(Section):
    """Notices: [notices.md](notices.md). What is due is listed (`sds notice list`) even where nobody is told."""

    enabled: bool = key("Look for what is worth a notice. If false, nothing is listed and nobody told.", default=True)
    default: TextList = key(
        "Addresses that are told what has no owner who can be reached.",
        default=(),
        shown="none",
        max_length=20,
        reload=True,
    )
    owners: TextList = key(
        "Addresses of owners that are names, e.g. `payments=payments@example.org`; one may stand several times.",
        default=(),
        shown="none",
        max_length=10_000,
        reload=True,
    )
    owner_domains: TextList = key(
        "Domains of e-mail addresses to which notices may be sent because an entry or a secret has such an owner.",
        default=(),
        shown="those of `default`, `owners` and `smtp.sender`",
        max_length=100,
        reload=True,
    )
    everything: bool = key("Tell `default` also what owners are told.", default=False, reload=True)
    digest: DigestTime = key(
        "When what is not urgent is told: a time of day (UTC), e.g. `08:00`, or an interval, e.g. `1h`.",
        default="08:00",
        reload=True,
    )
    urgent: TextList = key(
        "Kinds of notices whose last stage does not wait for the digest.",
        default=("certificate", "authority", "secret_expiry", "agent_silent", "sidecar_rejects"),
        shown="`certificate`, `authority`, `secret_expiry`, `agent_silent`, `sidecar_rejects`",
        reload=True,
    )
    pause: Duration = key(
        "Shortest time between a message and an urgent one after it, to one recipient.",
        default=5 * _MINUTE,
        ge=timedelta(0),
        le=_DAY,
        reload=True,
    )
    interval: Duration = key(
        "How often the server looks, and sends what is due.", default=_MINUTE, ge=_SECOND, le=_HOUR
    )
    settle: Duration = key(
        "Time after its start in which a server looks at nothing yet: agents and sidecars come back first.",
        default=2 * _MINUTE,
        ge=timedelta(0),
        le=_HOUR,
    )
    attempts: Count = key(
        "Tries to send one message, with growing pauses (a minute to 6 hours), before it is given up.",
        default=16,
        ge=1,
        le=100,
        reload=True,
    )
    max_standing: Count = key(
        "Notices that stand at once; of more, only the number is known.",
        default=10_000,
        ge=100,
        le=1_000_000,
        reload=True,
    )
    keep: Duration = key(
        "How long a notice is listed after it is over.", default=30 * _DAY, ge=_MINUTE, le=3650 * _DAY, reload=True
    )
    templates: FilePath | None = key(
        "Folder with templates in place of the built-in ones: `subject.txt`, `body.txt`, `body.html`. Tried at start.",
        default=None,
        shown="none",
    )
    html: bool = key("Send an HTML part beside the plain text.", default=True)
    stages: NoticeStages = NoticeStages()
    smtp: SmtpSection = SmtpSection()
    webhook: NoticeWebhook = NoticeWebhook()

    @property
    def owner_addresses(self) -> Mapping[str, tuple[str, ...]]:
        """Addresses by the owner's name."""
        found: dict[str, tuple[str, ...]] = {}
        for text in self.owners:
            name, _, address = text.rpartition("=")
            found[name] = (*found.get(name, ()), address)
        return found

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = [Problem(f"smtp.{p.key}", p.problem, p.hint) for p in self.smtp.problems()]
        problems += [Problem(f"webhook.{p.key}", p.problem, p.hint) for p in self.webhook.problems()]
        if not all(map(ADDRESS.fullmatch, self.default)):
            problems.append(Problem("default", "has what is no plain e-mail address"))
        names = [text.rpartition("=") for text in self.owners]
        if not all(name and ADDRESS.fullmatch(address) for name, _, address in names):
            problems.append(Problem("owners", "has what is not NAME=ADDRESS"))
        if not all(HOST.fullmatch(each) for each in self.owner_domains):
            problems.append(Problem("owner_domains", "has what is no domain"))
        if unknown := sorted(set(self.urgent) - set(KINDS)):
            problems.append(Problem("urgent", f"has {len(unknown)} that are no kinds", f"there are {', '.join(KINDS)}"))
        if (self.default or self.owners) and self.smtp.host is None:
            problems.append(Problem("smtp.host", "is needed to write to anybody"))
        cross_check(problems)
        return self
