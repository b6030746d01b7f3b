"""Join tokens, by which an agent proves itself the first time."""

from __future__ import annotations

from datetime import timedelta
from typing import Self

from pydantic import model_validator

from sds.config.common import cross_check
from sds.config.problems import Problem
from sds.config.types import Duration, Section, key

_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)


class TokenSection(Section):
    """One-time join tokens for agents."""

    default_ttl: Duration = key(
        "Lifetime of a token that names none.", default=timedelta(minutes=10), ge=_SECOND, le=30 * _DAY
    )
    max_ttl: Duration = key("Longest lifetime that can be asked for.", default=_DAY, ge=_SECOND, le=30 * _DAY)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.default_ttl > self.max_ttl:
            cross_check([Problem("default_ttl", "is longer than join_token.max_ttl")])
        return self
