"""The certificate authority: what signs, and how long what it issues lives."""

from __future__ import annotations

from datetime import timedelta
from typing import Self

from pydantic import model_validator

from ca.profile import ProfileName
from sds.config.ca.key_manager import TOKEN_KEY_TYPES, KeyManagerSection
from sds.config.ca.profiles import BuiltIn, Lifetimes, ProfileSection
from sds.config.ca.upstream import UpstreamAuthoritySection
from sds.config.common import cross_check
from sds.config.problems import Problem
from sds.config.types import AuthorityKeyTypeName, Duration, Section, key
from sds.config.vault_uses import TRANSIT_KEY_TYPES, VAULT_TRANSIT
from sds.durations import format_duration

_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)


class CaSection(Section):
    """The certificate authority and the lifetimes of what it issues."""

    key_type: AuthorityKeyTypeName = key("Key type of new authorities; see key-types.md.", default="ecdsa-p256")
    post_quantum: bool = key(
        "Allow ML-DSA in `key_type`. Envoy verifies such certificates, few others do; see key-types.md.",
        default=False,
    )
    ttl: Duration = key(
        "Lifetime of a new authority.", default=365 * _DAY, ge=timedelta(minutes=1), le=timedelta(days=7300)
    )
    default_x509_ttl: Duration = key(
        "Lifetime of a workload's X.509-SVID whose entry names none.",
        default=timedelta(hours=1),
        ge=_SECOND,
        le=365 * _DAY,
    )
    min_x509_ttl: Duration = key(
        "Shortest lifetime an entry may ask for.", default=timedelta(seconds=5), ge=_SECOND, le=365 * _DAY
    )
    max_x509_ttl: Duration = key("Longest lifetime an entry may ask for.", default=_DAY, ge=_SECOND, le=365 * _DAY)
    agent_ttl: Duration = key(
        "Lifetime of an agent's own SVID, and so the longest time an agent may be away without a new join token.",
        default=_DAY,
        ge=5 * _SECOND,
        le=365 * _DAY,
    )
    server_ttl: Duration = key(
        "Lifetime of the server's own SVID.", default=timedelta(hours=1), ge=5 * _SECOND, le=365 * _DAY
    )
    backdate: Duration = key(
        "How far `not before` lies in the past, for hosts whose clocks lag.",
        default=timedelta(seconds=10),
        le=timedelta(hours=1),
    )
    refresh_hint: Duration = key(
        "How often users of the published bundle should fetch it again.",
        default=timedelta(minutes=5),
        ge=_SECOND,
        le=7 * _DAY,
    )
    key_manager: KeyManagerSection = KeyManagerSection()
    upstream: UpstreamAuthoritySection = UpstreamAuthoritySection()
    profiles: dict[str, ProfileSection] = key(
        "Certificate profiles.", default_factory=dict, shown="none beside the built-in ones", reload=True
    )

    @property
    def profile_lifetimes(self) -> BuiltIn:
        """Those of the built-in profiles."""
        second = _SECOND
        return {
            ProfileName.WORKLOAD: Lifetimes(self.default_x509_ttl, self.min_x509_ttl, self.max_x509_ttl),
            ProfileName.AGENT: Lifetimes(self.agent_ttl, second, self.agent_ttl),
            ProfileName.SERVER: Lifetimes(self.server_ttl, second, self.server_ttl),
        }

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems: list[Problem] = []
        if self.key_type.startswith("mldsa-") and not self.post_quantum:
            problems.append(
                Problem("key_type", "is one that few programs verify", "set ca.post_quantum to use it all the same")
            )
        elif self.key_manager.plugin == "pkcs11" and self.key_type not in TOKEN_KEY_TYPES:
            kinds = ", ".join(sorted(TOKEN_KEY_TYPES))
            problems.append(Problem("key_type", "is not made in PKCS #11 tokens", f"use one of {kinds}"))
        elif self.key_manager.plugin == VAULT_TRANSIT and self.key_type not in TRANSIT_KEY_TYPES:
            kinds = ", ".join(sorted(TRANSIT_KEY_TYPES))
            problems.append(Problem("key_type", "is not made in Vault's Transit engine", f"use one of {kinds}"))
        if self.min_x509_ttl > self.max_x509_ttl:
            problems.append(Problem("min_x509_ttl", "is longer than ca.max_x509_ttl"))
        elif not self.min_x509_ttl <= self.default_x509_ttl <= self.max_x509_ttl:
            span = f"{format_duration(self.min_x509_ttl)} to {format_duration(self.max_x509_ttl)}"
            problems.append(Problem("default_x509_ttl", f"is outside ca.min_x509_ttl to ca.max_x509_ttl ({span})"))
        problems.extend(
            Problem(name, "is longer than the authority's own lifetime", "raise ca.ttl or lower this")
            for name in ("max_x509_ttl", "agent_ttl", "server_ttl")
            if getattr(self, name) > self.ttl
        )
        cross_check(problems)
        return self
