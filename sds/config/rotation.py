"""When authorities are replaced, and for whom that waits."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Self

from pydantic import model_validator

from sds.config.common import cross_check
from sds.config.problems import Problem
from sds.config.types import Duration, Number, Section, key
from sds.durations import format_duration

_SECOND = timedelta(seconds=1)
_MINUTE = timedelta(minutes=1)
_DAY = timedelta(days=1)


class RotationSection(Section):
    """How authorities rotate, of both kinds: [rotation.md](rotation.md). Shares are of the active authority's life."""

    enabled: bool = key(
        "Rotate by schedule. If false, only what can sign no more is replaced; the rest is done by `sds ca`.",
        default=True,
    )
    prepare_at: Number = key("Share after which the next authority is made and published.", default=0.5, gt=0, lt=1)
    activate_at: Number = key(
        "Share after which the next authority signs, once everybody has it.", default=5 / 6, shown="5/6", gt=0, lt=1
    )
    deadline: Duration | None = key(
        "How long before the active authority's end the next one signs at the latest, whoever does not have it then.",
        default=None,
        shown="the longest lifetime of what it issues",
        ge=_SECOND,
    )
    patience: Duration = key(
        "How long the next authority waits at most where the active one can sign no more, or where it was prepared too "
        "late for the deadline.",
        default=10 * _MINUTE,
        ge=timedelta(0),
        le=7 * _DAY,
    )
    settle: Duration = key(
        "When a client that acknowledges nothing (Workload API) is taken to use a bundle that it was sent.",
        default=5 * _SECOND,
        ge=timedelta(0),
        le=timedelta(hours=1),
    )
    x509_wait: Duration | None = key(
        "How long a new X.509 authority is published at least before it signs, for those who fetch the bundle and "
        "cannot acknowledge it.",
        default=None,
        shown="`ca.refresh_hint` if `endpoints.bundle` is served, else 0s",
        ge=timedelta(0),
        le=30 * _DAY,
    )
    jwt_wait: Duration | None = key(
        "The same for a new JWT authority; its verifiers never acknowledge.",
        default=None,
        shown="`ca.refresh_hint` + `endpoints.oidc.max_age`",
        ge=timedelta(0),
        le=30 * _DAY,
    )
    jwt_ttl: Duration = key("Lifetime of a new JWT authority.", default=30 * _DAY, ge=_MINUTE, le=timedelta(days=7300))
    leeway: Duration = key(
        "How long an old authority stays in the bundle after the last certificate or token below it has expired, for "
        "clocks that lag.",
        default=_MINUTE,
        ge=timedelta(0),
        le=_DAY,
    )
    interval: Duration = key(
        "How often the server looks whether something is due.",
        default=10 * _SECOND,
        ge=timedelta(milliseconds=100),
        le=timedelta(hours=1),
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.prepare_at >= self.activate_at:
            cross_check([Problem("prepare_at", "is not before rotation.activate_at")])
        return self

    def wait_x509(self, ttl: timedelta, refresh_hint: timedelta, *, served: bool) -> timedelta:
        """What holds for authorities that live for `ttl`; `served`: others may fetch the bundle."""
        if self.x509_wait is not None:
            return self.x509_wait
        return min(refresh_hint, self._longest_wait(ttl)) if served else timedelta(0)

    def wait_jwt(self, refresh_hint: timedelta, max_age: timedelta) -> timedelta:
        """What holds for JWT authorities."""
        if self.jwt_wait is not None:
            return self.jwt_wait
        return min(refresh_hint + max_age, self._longest_wait(self.jwt_ttl))

    def problems(self, ttl: timedelta, longest_token: timedelta) -> Iterator[Problem]:
        """What contradicts the lifetimes of X.509 authorities and of tokens."""
        if longest_token > self.jwt_ttl:
            yield Problem("jwt_ttl", "is shorter than jwt.max_ttl")
        for name, wait, life in (("x509_wait", self.x509_wait, ttl), ("jwt_wait", self.jwt_wait, self.jwt_ttl)):
            if wait is not None and wait > self._longest_wait(life):
                longest = format_duration(self._longest_wait(life))
                yield Problem(name, f"is longer than half of the time between preparation and end ({longest})")

    def _longest_wait(self, ttl: timedelta) -> timedelta:
        return ttl * (1 - self.prepare_at) / 2
