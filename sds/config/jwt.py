"""JWT-SVIDs: what the server puts into them, and what the agent keeps of them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, model_validator

from sds.config.common import cross_check
from sds.config.problems import Problem
from sds.config.types import Count, Duration, Number, Section, key
from sds.durations import format_duration

_SECOND = timedelta(seconds=1)
_MINUTE = timedelta(minutes=1)
_LONGEST_ISSUER = 255
_PLAIN = re.compile(r"[\x21-\x7e]+")


def _issuer(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("is not a text, e.g. https://oidc.example.org")  # noqa: TRY004  pydantic reports ValueError only
    try:
        url = urlsplit(value)
        sound = url.scheme == "https" and bool(url.hostname) and url.username is None and url.port != 0
    except ValueError:
        sound = False
    if not sound or not _PLAIN.fullmatch(value) or len(value) > _LONGEST_ISSUER or "?" in value or "#" in value:
        raise ValueError("is not an https URL without query and fragment, e.g. https://oidc.example.org")
    return value


IssuerUrl = Annotated[str, BeforeValidator(_issuer)]
JwtAlgorithmName = Literal["ES256", "ES384", "RS256", "PS256"]


class JwtSection(Section):
    """JWT-SVIDs that the server issues."""

    algorithm: JwtAlgorithmName = key(
        "What they are signed with: `ES256`, `ES384`, `RS256` or `PS256`. It sets the key type of new JWT authorities; "
        "the one in use signs on as before until it is rotated.",
        default="ES256",
    )
    default_ttl: Duration = key(
        "Lifetime of a token whose entry names none. Nobody can take a token back: keep it short.",
        default=5 * _MINUTE,
        ge=_SECOND,
        le=timedelta(days=1),
    )
    min_ttl: Duration = key(
        "Shortest lifetime that may be asked for.", default=5 * _SECOND, ge=_SECOND, le=timedelta(days=1)
    )
    max_ttl: Duration = key(
        "Longest lifetime of a token; longer wishes are cut.", default=60 * _MINUTE, ge=_SECOND, le=timedelta(days=1)
    )
    issuer: IssuerUrl | None = key(
        "The claim `iss`: the https URL under which OpenID Connect verifiers find the keys (`endpoints.oidc`). Without "
        "it tokens have no `iss`.",
        default=None,
        shown="none",
    )
    leeway: Duration = key(
        "How far clocks may differ where this server validates tokens (`sds jwt verify`).",
        default=30 * _SECOND,
        ge=timedelta(0),
        le=5 * _MINUTE,
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.min_ttl > self.max_ttl:
            cross_check([Problem("min_ttl", "is longer than jwt.max_ttl")])
        elif not self.min_ttl <= self.default_ttl <= self.max_ttl:
            span = f"{format_duration(self.min_ttl)} to {format_duration(self.max_ttl)}"
            cross_check([Problem("default_ttl", f"is outside jwt.min_ttl to jwt.max_ttl ({span})")])
        return self


class AgentJwtSection(Section):
    """JWT-SVIDs that the agent keeps for its workloads, and those that it validates for them."""

    max_tokens: Count = key(
        "Tokens kept, one for each entry and audience; of more the one used longest ago goes.",
        default=10_000,
        ge=1,
        le=1_000_000,
    )
    refresh_jitter: Number = key(
        "A token in use is replaced at half-life, moved by up to this share of the half to either side.",
        default=0.1,
        ge=0,
        le=0.5,
    )
    leeway: Duration = key(
        "How far clocks may differ where a token is validated.", default=30 * _SECOND, ge=timedelta(0), le=5 * _MINUTE
    )
