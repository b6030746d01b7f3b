"""Profiles: who may be issued what. The CA checks its own limits here, whatever the caller checked before."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType

from attestation.entry import RESERVED_DNS, RESERVED_PATH
from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.errors import IssuanceRefused

SERVER_PATH = f"{RESERVED_PATH}/server"
SERVER_DNS = f"server.{RESERVED_DNS}"
"""The DNS name that agents demand of the server; only the server's own profile puts it into a certificate."""
MAX_DNS_NAMES = 64
MAX_DNS_BYTES = 253  # RFC 1035 section 2.3.4, without the trailing dot

# RFC 5890 section 2.3.1: letters, digits, hyphen; a wildcard only as the whole leftmost label (RFC 6125 section 6.4.3).
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DNS_NAME = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*", re.IGNORECASE)


class ProfileName(StrEnum):
    """Whom a leaf certificate is for."""

    WORKLOAD = "workload"
    AGENT = "agent"
    SERVER = "server"


@dataclass(frozen=True, slots=True)
class Profile:
    """The lifetime limits of one kind of leaf."""

    name: ProfileName
    default_ttl: timedelta = timedelta(hours=1)
    min_ttl: timedelta = timedelta(seconds=2)
    max_ttl: timedelta = timedelta(days=30)

    def __post_init__(self) -> None:
        if not timedelta(seconds=1) <= self.min_ttl <= self.default_ttl <= self.max_ttl:
            raise ValueError(f"{self.name} lifetimes: need 1s <= minimum <= default <= maximum")

    def lifetime(self, wanted: timedelta | None) -> timedelta:
        """The lifetime to issue for: `wanted` or the default, cut to the maximum. Raises IssuanceRefused below the
        minimum; a longer wish is cut, because an entry made under a wider limit must not stop being served.
        """
        ttl = self.default_ttl if wanted is None else wanted
        if ttl < self.min_ttl:
            raise IssuanceRefused(
                f"a lifetime of {ttl.total_seconds():g}s is below the {self.name} minimum of "
                f"{self.min_ttl.total_seconds():g}s"
            )
        return min(ttl, self.max_ttl)

    def dns_names(self, requested: tuple[str, ...]) -> tuple[str, ...]:
        """The DNS names of the certificate: the server's reserved one in its own profile, then the checked request."""
        check_dns_names(requested)
        return (SERVER_DNS, *requested) if self.name is ProfileName.SERVER else requested


def default_profiles() -> Mapping[ProfileName, Profile]:
    """Every profile with its default limits."""
    return MappingProxyType({name: Profile(name) for name in ProfileName})


@dataclass(frozen=True, slots=True)
class IssuancePolicy:
    """The CA's limits, from its configuration.

    A leaf starts `backdate` before now and ends `issuer_margin` before its issuer at the latest; an issuer with less
    than `issuer_minimum` left signs only what ends by itself before that.
    """

    profiles: Mapping[ProfileName, Profile] = field(default_factory=default_profiles)
    backdate: timedelta = timedelta(seconds=10)
    issuer_margin: timedelta = timedelta(0)
    issuer_minimum: timedelta = timedelta(minutes=1)

    def __post_init__(self) -> None:
        if min(self.backdate, self.issuer_margin, self.issuer_minimum) < timedelta(0):
            raise ValueError("backdating, margin and minimum cannot be negative")


def check_identity(profile: ProfileName, trust_domain: TrustDomain, spiffe_id: SpiffeId) -> None:
    """Whether `profile` may name `spiffe_id` at all. Raises IssuanceRefused.

    X509-SVID 3.1: a leaf's SPIFFE ID has a path. Paths at or below /sds are for agents, and /sds/server for the server.
    """
    if not spiffe_id.member_of(trust_domain):
        raise IssuanceRefused(f"{spiffe_id} is outside the trust domain {trust_domain}")
    if not spiffe_id.path:
        raise IssuanceRefused(f"{spiffe_id} is a trust domain, which no leaf certificate may name")
    is_server = spiffe_id.below(SERVER_PATH)
    if profile is ProfileName.SERVER and spiffe_id.path != SERVER_PATH:
        raise IssuanceRefused(f"the server is {SERVER_PATH}, not {spiffe_id.path}")
    if profile is ProfileName.AGENT and is_server:
        raise IssuanceRefused(f"{spiffe_id} belongs to the server")
    if profile is ProfileName.WORKLOAD and spiffe_id.below(RESERVED_PATH):
        raise IssuanceRefused(f"paths below {RESERVED_PATH} belong to servers and agents")


def check_dns_names(names: tuple[str, ...]) -> None:
    """Bounds and form of requested DNS names, and that none is the server's in any disguise. Raises IssuanceRefused."""
    if len(names) > MAX_DNS_NAMES:
        raise IssuanceRefused(f"{len(names)} DNS names; at most {MAX_DNS_NAMES} are allowed")
    if len({name.lower() for name in names}) != len(names):
        raise IssuanceRefused("a DNS name is given twice")
    for name in names:
        # Only ASCII letters pass, so no other script and no trailing dot can disguise the reserved name.
        if len(name) > MAX_DNS_BYTES or not name.isascii() or not _DNS_NAME.fullmatch(name):
            raise IssuanceRefused("a DNS name is not letters, digits and hyphens in labels of at most 63")
        if name.lower() == RESERVED_DNS or name.lower().endswith("." + RESERVED_DNS):
            raise IssuanceRefused(f"DNS names at or below {RESERVED_DNS} belong to the server")
