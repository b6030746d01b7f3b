"""Profiles: who may be issued what. The CA checks its own limits here, whatever the caller checked before."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType

from attestation.entry import RESERVED_DNS, RESERVED_PATH
from attestation.rules import PROFILE_NAME
from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.csr import LeafKey
from ca.errors import IssuanceRefused
from ca.limits.names import Misfit, NameLimits
from ca.limits.subject import SubjectLimits, host_misfit
from ca.limits.usage import Addresses, Usage

SERVER_PATH = f"{RESERVED_PATH}/server"
SERVER_DNS = f"server.{RESERVED_DNS}"
"""The DNS name that agents demand of the server; only the server's own profile puts it into a certificate."""
MAX_DNS_NAMES = 64
MAX_DNS_BYTES = 253  # RFC 1035 section 2.3.4, without the trailing dot

# RFC 5890 section 2.3.1: letters, digits, hyphen; a wildcard only as the whole leftmost label (RFC 6125 section 6.4.3).
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DNS_NAME = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*", re.IGNORECASE)

LEAF_KEYS = frozenset(LeafKey) - {LeafKey.OTHER}


class ProfileName(StrEnum):
    """Whom a leaf certificate is for, and the built-in profile of each."""

    WORKLOAD = "workload"
    AGENT = "agent"
    SERVER = "server"


@dataclass(frozen=True, slots=True)
class Profile:
    """What leaves of one kind are like, and what an entry may ask of them.

    Without further limits it makes the plain X.509-SVID: any DNS names, the trust domain as organisation, TLS.
    """

    name: str
    default_ttl: timedelta = timedelta(hours=1)
    min_ttl: timedelta = timedelta(seconds=2)
    max_ttl: timedelta = timedelta(days=30)
    names: NameLimits = field(default_factory=NameLimits)
    subject: SubjectLimits = field(default_factory=SubjectLimits)
    usage: Usage = field(default_factory=Usage)
    addresses: Addresses = field(default_factory=Addresses)
    keys: frozenset[LeafKey] = LEAF_KEYS

    def __post_init__(self) -> None:
        if not PROFILE_NAME.fullmatch(self.name):
            raise ValueError("a profile's name has small letters, digits, single dashes and underscores")
        if not timedelta(seconds=1) <= self.min_ttl <= self.default_ttl <= self.max_ttl:
            raise ValueError(f"{self.name} lifetimes: need 1s <= minimum <= default <= maximum")
        if not self.keys or not self.keys <= LEAF_KEYS:
            raise ValueError(f"{self.name} allows no key, or one that no leaf can have")
        for name, value in self.subject.fixed or ():
            if name == "CN" and (problem := host_misfit(value, self.names)):
                raise ValueError(f"the fixed common name {problem}")

    @property
    def holder(self) -> ProfileName:
        """Whom its leaves are for: a workload, unless it is the agents' or the server's own profile."""
        return _HOLDERS.get(self.name, ProfileName.WORKLOAD)

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

    def misfits(self, dns_names: tuple[str, ...], extra_sans: tuple[str, ...], subject: str) -> Iterator[Misfit]:
        """Everything that an entry asks for and this profile does not allow."""
        yield from self.names.misfits(dns_names, extra_sans)
        yield from self.subject.misfits(subject, self.names)

    def check(self, dns_names: tuple[str, ...], extra_sans: tuple[str, ...], subject: str, key: LeafKey) -> None:
        """Whether a leaf may have these names and a key of this kind. Raises IssuanceRefused."""
        check_dns_names(dns_names)
        for field_name, problem in self.misfits(dns_names, extra_sans, subject):
            raise IssuanceRefused(f"{field_name}: {problem} (profile {self.name})")
        if key not in self.keys:
            kinds = ", ".join(sorted(self.keys))
            raise IssuanceRefused(f"a key of kind {key} is not allowed; the profile {self.name} takes {kinds}")

    def dns_names(self, requested: tuple[str, ...]) -> tuple[str, ...]:
        """The DNS names of the certificate: the server's reserved one in its own profile, then the checked request."""
        check_dns_names(requested)
        return (SERVER_DNS, *requested) if self.holder is ProfileName.SERVER else requested


_HOLDERS: Mapping[str, ProfileName] = MappingProxyType({str(name): name for name in ProfileName})


def default_profiles() -> Mapping[str, Profile]:
    """Every built-in profile with its default limits."""
    return MappingProxyType({str(name): Profile(str(name)) for name in ProfileName})


@dataclass(frozen=True, slots=True)
class IssuancePolicy:
    """The CA's limits, from its configuration; `profiles` by their names.

    A leaf starts `backdate` before now and ends `issuer_margin` before its issuer at the latest; an issuer with less
    than `issuer_minimum` left signs only what ends by itself before that.
    """

    profiles: Mapping[str, Profile] = field(default_factory=default_profiles)
    backdate: timedelta = timedelta(seconds=10)
    issuer_margin: timedelta = timedelta(0)
    issuer_minimum: timedelta = timedelta(minutes=1)

    def __post_init__(self) -> None:
        if min(self.backdate, self.issuer_margin, self.issuer_minimum) < timedelta(0):
            raise ValueError("backdating, margin and minimum cannot be negative")

    def profile(self, name: str) -> Profile:
        """Raises IssuanceRefused if there is none of this name."""
        try:
            return self.profiles[name]
        except KeyError:
            raise IssuanceRefused(f"there is no certificate profile {name}") from None


def check_identity(holder: ProfileName, trust_domain: TrustDomain, spiffe_id: SpiffeId) -> None:
    """Whether a leaf for `holder` may name `spiffe_id` at all. Raises IssuanceRefused.

    X509-SVID 3.1: a leaf's SPIFFE ID has a path. Paths at or below /sds are for agents, and /sds/server for the server.
    """
    if not spiffe_id.member_of(trust_domain):
        raise IssuanceRefused(f"{spiffe_id} is outside the trust domain {trust_domain}")
    if not spiffe_id.path:
        raise IssuanceRefused(f"{spiffe_id} is a trust domain, which no leaf certificate may name")
    is_server = spiffe_id.below(SERVER_PATH)
    if holder is ProfileName.SERVER and spiffe_id.path != SERVER_PATH:
        raise IssuanceRefused(f"the server is {SERVER_PATH}, not {spiffe_id.path}")
    if holder is ProfileName.AGENT and is_server:
        raise IssuanceRefused(f"{spiffe_id} belongs to the server")
    if holder is ProfileName.WORKLOAD and spiffe_id.below(RESERVED_PATH):
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
        base = name.lower().removeprefix("*.")
        if base == RESERVED_DNS or base.endswith("." + RESERVED_DNS) or name.lower() == _WILDCARD_OVER_RESERVED:
            raise IssuanceRefused(f"DNS names at or below {RESERVED_DNS} belong to the server")


_WILDCARD_OVER_RESERVED = f"*.{RESERVED_DNS.partition('.')[2]}"
