"""Certificate profiles, one table each: what the certificates are like, and what an entry may ask of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from types import MappingProxyType

from attestation.rules import PROFILE_NAME
from attestation.spiffe_id import TrustDomain
from attestation.subject import parse_subject
from ca.errors import IssuanceRefused
from ca.limits.names import MAX_NAMES, NameLimits
from ca.limits.subject import SubjectLimits
from ca.limits.usage import CLIENT_AUTH, MAX_ADDRESSES, SERVER_AUTH, Addresses, Usage
from ca.profile import LEAF_KEYS, Profile, ProfileName
from ca.trial import try_profile
from ca.upstreams.issuing import PROFILE as INTERMEDIATE
from sds.config.ca import profile_values as values
from sds.config.problems import Problem
from sds.config.types import Count, Duration, Section, key

MAX_PROFILES = 100
_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)
_LIFETIMES = {
    ProfileName.WORKLOAD: "set ca.default_x509_ttl, ca.min_x509_ttl and ca.max_x509_ttl",
    ProfileName.AGENT: "set ca.agent_ttl",
    ProfileName.SERVER: "set ca.server_ttl",
}
_OF_AGENTS_AND_SERVERS = frozenset({"key_types", "crl_distribution_points", "ocsp_responders", "ca_issuers"})
_TRIAL_TIME = datetime(2026, 1, 1, tzinfo=UTC)  # any will do: the keys are thrown away


class ProfileSection(Section):
    """A kind of certificate, which entries ask for by NAME. The profiles `workload`, `agent` and `server` are there in
    any case; a table of their name changes what can be changed of them. See [profiles.md](profiles.md).
    """

    default_ttl: Duration | None = key(
        "Lifetime of a certificate whose entry names none.",
        default=None,
        shown="`ca.default_x509_ttl`",
        ge=_SECOND,
        le=365 * _DAY,
    )
    min_ttl: Duration | None = key(
        "Shortest lifetime an entry may ask for.", default=None, shown="`ca.min_x509_ttl`", ge=_SECOND, le=365 * _DAY
    )
    max_ttl: Duration | None = key(
        "Longest lifetime an entry may ask for.", default=None, shown="`ca.max_x509_ttl`", ge=_SECOND, le=365 * _DAY
    )
    key_types: values.KeyTypes = key(
        "Keys it is issued for; an RSA size means at least that size.",
        default=tuple(sorted(LEAF_KEYS)),
        shown="all that can be issued",
    )
    dns_names: values.DnsPatterns = key(
        "DNS names an entry may ask for: `example.org` that name, `*.example.org` one label in front of it, "
        "`.example.org` any number of labels, `*` everything. An empty list: none.",
        default=("*",),
        shown="`*`",
    )
    dns_wildcards: bool = key("Whether a DNS name may be a wildcard, such as `*.web.example.org`.", default=True)
    max_dns_names: Count = key("DNS names in one certificate.", default=MAX_NAMES, ge=0, le=MAX_NAMES)
    ip_ranges: values.Networks = key("Networks of the IP addresses an entry may ask for.", default=(), shown="none")
    email_domains: values.MailDomains = key(
        "Domains of the mailboxes an entry may ask for: `example.org`, or `.example.org` for all below.",
        default=(),
        shown="none",
    )
    subject: values.FixedSubject | None = key(
        "Attributes that every subject has, RFC 4514, e.g. `O=Example,C=DE`.",
        default=None,
        shown="the trust domain as `O`",
    )
    subject_attributes: values.Settable = key(
        "Attributes that an entry may set, each with the characters it may have: `CN:40`, or `CN` for the standard's "
        "bound. `CN`, `OU`, `O`, `L`, `ST`, `C` and `UID` can be set.",
        default=(),
        shown="none",
    )
    key_usage: values.KeyUsages = key(
        "`digital_signature`, `key_encipherment` (set for RSA keys alone), `key_agreement` (for ECDSA keys alone).",
        default=("digital_signature", "key_encipherment"),
        shown="the first two",
    )
    extended_key_usage: values.Purposes = key(
        "Purposes, by name or object identifier; `server_auth` and `client_auth` must be among them.",
        default=("server_auth", "client_auth"),
        shown="`server_auth`, `client_auth`",
    )
    crl_distribution_points: values.Urls = key(
        "Where the issuer's revocation list is. In these URLs `{authority}` stands for the authority's ID.",
        default=(),
        shown="none",
        max_length=MAX_ADDRESSES,
    )
    ocsp_responders: values.Urls = key("Where OCSP is answered.", default=(), shown="none", max_length=MAX_ADDRESSES)
    ca_issuers: values.Urls = key(
        "Where the issuer's own certificate is.", default=(), shown="none", max_length=MAX_ADDRESSES
    )


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """A built-in profile's, and for workloads what others inherit."""

    default: timedelta
    shortest: timedelta
    longest: timedelta


BuiltIn = Mapping[ProfileName, Lifetimes]


def make_profiles(sections: Mapping[str, ProfileSection], built_in: BuiltIn) -> Mapping[str, Profile]:
    """Every profile by its name, built-in ones included. Expects sections that `profile_problems` has passed."""
    made = {str(name): _plain(name, spans) for name, spans in built_in.items()}
    for name, section in sections.items():
        made[name] = _profile(name, section, made.get(name) or _plain(name, built_in[ProfileName.WORKLOAD]))
    return MappingProxyType(made)


def profile_problems(
    sections: Mapping[str, ProfileSection], built_in: BuiltIn, trust_domain: TrustDomain, longest: timedelta
) -> Iterator[Problem]:
    """All that is wrong with the tables, by dotted keys below that of the profiles; `longest` is an authority's
    lifetime. What is right by itself is tried: certificates are issued by it with throw-away keys.
    """
    if len(sections) > MAX_PROFILES:
        yield Problem("", f"has more than {MAX_PROFILES} profiles")
        return
    for name, section in sections.items():
        found = list(_problems(name, section, built_in, longest))
        yield from found or _trial(name, section, built_in, trust_domain)


def _problems(name: str, section: ProfileSection, built_in: BuiltIn, longest: timedelta) -> Iterator[Problem]:
    given = section.model_fields_set
    if not PROFILE_NAME.fullmatch(name):
        yield Problem(name, "is not a profile's name", "use small letters, digits, single dashes and underscores")
    if name == INTERMEDIATE:
        yield Problem(name, "is how signing certificates of servers below are recorded", "call it something else")
    holder = next((each for each in ProfileName if each == name), None)
    if holder is not None:
        for field in ("default_ttl", "min_ttl", "max_ttl"):
            if field in given:
                yield Problem(f"{name}.{field}", "has a key of its own for this profile", _LIFETIMES[holder])
    if holder in {ProfileName.AGENT, ProfileName.SERVER}:
        for field in sorted(given - _OF_AGENTS_AND_SERVERS - {"default_ttl", "min_ttl", "max_ttl"}):
            yield Problem(f"{name}.{field}", f"cannot be changed for the {name} profile")
    if "digital_signature" not in section.key_usage:
        yield Problem(f"{name}.key_usage", "lacks digital_signature, which every X.509-SVID has (X509-SVID 4.3)")
    if not {SERVER_AUTH, CLIENT_AUTH} <= set(map(values.purpose, section.extended_key_usage)):
        yield Problem(
            f"{name}.extended_key_usage", "lacks server_auth or client_auth, which an X.509-SVID has (X509-SVID 4.4)"
        )
    spans = built_in[ProfileName.WORKLOAD]
    default, shortest = section.default_ttl or spans.default, section.min_ttl or spans.shortest
    most = section.max_ttl or spans.longest
    if not shortest <= default <= most:
        yield Problem(name, "has lifetimes that are not min_ttl <= default_ttl <= max_ttl", "see ca.min_x509_ttl, too")
    if section.max_ttl is not None and section.max_ttl > longest:
        yield Problem(f"{name}.max_ttl", "is longer than the authority's own lifetime", "raise ca.ttl or lower this")


def _trial(name: str, section: ProfileSection, built_in: BuiltIn, trust_domain: TrustDomain) -> Iterator[Problem]:
    try:
        profile = make_profiles({name: section}, built_in)[name]
        try_profile(profile, trust_domain, _TRIAL_TIME, count(1).__next__)
    except (ValueError, IssuanceRefused) as error:
        yield Problem(name, f"cannot be used: {error}")


def _plain(name: str, spans: Lifetimes) -> Profile:
    return Profile(str(name), spans.default, spans.shortest, spans.longest)


def _profile(name: str, section: ProfileSection, base: Profile) -> Profile:
    """Raises ValueError for what only shows when all is put together."""
    usages = section.key_usage
    more = tuple(map(values.purpose, section.extended_key_usage))
    return replace(
        base,
        name=name,
        default_ttl=section.default_ttl or base.default_ttl,
        min_ttl=section.min_ttl or base.min_ttl,
        max_ttl=section.max_ttl or base.max_ttl,
        names=NameLimits(
            section.dns_names,
            section.dns_wildcards,
            section.max_dns_names,
            tuple(map(values.network, section.ip_ranges)),
            section.email_domains,
        ),
        subject=SubjectLimits(
            None if section.subject is None else parse_subject(section.subject),
            MappingProxyType(dict(map(values.settable, section.subject_attributes))),
        ),
        usage=Usage(
            "key_encipherment" in usages,
            "key_agreement" in usages,
            tuple(oid for oid in more if oid not in {SERVER_AUTH, CLIENT_AUTH}),
        ),
        addresses=Addresses(section.crl_distribution_points, section.ocsp_responders, section.ca_issuers),
        keys=values.leaf_keys(section.key_types),
    )
