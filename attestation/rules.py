"""What a registration entry must obey, told all at once. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, timedelta
from types import MappingProxyType

from attestation.dns_name import dns_problem, reserved_dns, spelling
from attestation.entry import RESERVED_PATH, EntrySpec
from attestation.errors import InvalidEntry, InvalidSan, InvalidSubject
from attestation.extra_san import ExtraSan
from attestation.spiffe_id import SpiffeId, TrustDomain
from attestation.subject import format_subject, parse_subject

__all__ = [
    "AGENT_PATH",
    "DEFAULT_PROFILE",
    "PROFILE_NAME",
    "as_json",
    "check_agent_id",
    "diff",
    "label_problems",
    "normalise",
    "reserved_dns",
    "validate",
]

MAX_SELECTORS = 64
MAX_DNS_NAMES = 64
MAX_EXTRA_SANS = 64
MAX_FEDERATED = 64
MAX_LABELS = 64
MAX_TEXT = 255
MAX_LABEL_KEY = 63
MIN_TTL = timedelta(seconds=5)
MAX_TTL = timedelta(days=365)
MAX_JWT_TTL = timedelta(days=1)
"""A token cannot be called back, so it has to end by itself (JWT-SVID 7.1)."""

AGENT_PATH = f"{RESERVED_PATH}/agent"
"""Under the reserved path only what is below this may name an agent."""

PROFILE_NAME = re.compile(r"(?=.{1,40}\Z)[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")
"""A certificate profile's name; its form lets it be part of an environment variable's."""
DEFAULT_PROFILE = "workload"
"""The profile that an entry has which names none."""
_RESERVED_PROFILES = ("agent", "server")

_LABEL_KEY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]*[A-Za-z0-9])?")


def validate(spec: EntrySpec, trust_domain: TrustDomain) -> list[InvalidEntry]:
    """Everything that is wrong with `spec` in this trust domain; an empty list means that it may be stored.

    The server's policy (lifetimes) may be narrower still.
    """
    return [
        *_identity(spec.spiffe_id, trust_domain),
        *_parent(spec, trust_domain),
        *_selectors(spec),
        *_lifetime(spec),
        *_dns_names(spec.dns_names),
        *_texts(spec),
        *(InvalidEntry("labels", problem) for problem in label_problems(spec.labels)),
        *_federation(spec.federates_with, trust_domain),
        *_profile(spec.profile),
        *_extra_sans(spec.extra_sans),
        *_subject(spec.subject),
    ]


def check_agent_id(agent_id: SpiffeId, trust_domain: TrustDomain) -> None:
    """Whether an agent may be called this. Raises InvalidEntry.

    Any path of the trust domain will do, but under the reserved path only ``/sds/agent/...``.
    """
    for problem in _agent_id("spiffe_id", agent_id, trust_domain):
        raise problem


def normalise(spec: EntrySpec) -> EntrySpec:
    """The same meaning in its one spelling: names in lower case, without the root's dot and repeats, time in UTC.

    Expects what `validate` has passed.
    """
    expires_at = spec.expires_at
    if expires_at is not None and expires_at.tzinfo is not None:
        expires_at = expires_at.astimezone(UTC)
    return replace(
        spec,
        dns_names=tuple(dict.fromkeys(spelling(name) for name in spec.dns_names)),
        hint=spec.hint.strip(),
        owner=spec.owner.strip(),
        labels=MappingProxyType(dict(sorted(spec.labels.items()))),
        expires_at=expires_at,
        federates_with=tuple(sorted(set(spec.federates_with))),
        profile="" if spec.profile == DEFAULT_PROFILE else spec.profile,
        extra_sans=tuple(dict.fromkeys(str(ExtraSan.parse(text)) for text in spec.extra_sans)),
        subject=format_subject(parse_subject(spec.subject)),
    )


def as_json(spec: EntrySpec) -> dict[str, object]:
    """The fields as the API and the audit log write them."""
    return {
        "spiffe_id": str(spec.spiffe_id),
        "parent_id": str(spec.parent_id),
        "selectors": sorted(str(s) for s in spec.selectors),
        "x509_ttl": _seconds(spec.x509_svid_ttl),
        "dns_names": list(spec.dns_names),
        "hint": spec.hint,
        "owner": spec.owner,
        "labels": dict(sorted(spec.labels.items())),
        "expires_at": None if spec.expires_at is None else spec.expires_at.astimezone(UTC).isoformat(),
        "jwt_ttl": _seconds(spec.jwt_svid_ttl),
        "federates_with": [domain.name for domain in spec.federates_with],
        "profile": spec.profile,
        "extra_sans": list(spec.extra_sans),
        "subject": spec.subject,
    }


def diff(old: EntrySpec, new: EntrySpec) -> dict[str, tuple[object, object]]:
    """The fields that differ, each with its value before and after, as JSON would have them."""
    before, after = as_json(old), as_json(new)
    return {name: (before[name], after[name]) for name in before if before[name] != after[name]}


def _identity(spiffe_id: SpiffeId, trust_domain: TrustDomain) -> Iterator[InvalidEntry]:
    yield from _member("spiffe_id", spiffe_id, trust_domain)
    if _reserved_path(spiffe_id):
        yield InvalidEntry("spiffe_id", f"{RESERVED_PATH} and paths below it belong to servers and agents")


def _parent(spec: EntrySpec, trust_domain: TrustDomain) -> Iterator[InvalidEntry]:
    yield from _agent_id("parent_id", spec.parent_id, trust_domain)
    if spec.parent_id == spec.spiffe_id:
        yield InvalidEntry("parent_id", "an identity cannot be its own parent")


def _agent_id(field: str, agent_id: SpiffeId, trust_domain: TrustDomain) -> Iterator[InvalidEntry]:
    yield from _member(field, agent_id, trust_domain)
    if _reserved_path(agent_id) and not agent_id.path.startswith(AGENT_PATH + "/"):
        yield InvalidEntry(field, f"of the paths under {RESERVED_PATH}, only those below {AGENT_PATH} name agents")


def _member(field: str, spiffe_id: SpiffeId, trust_domain: TrustDomain) -> Iterator[InvalidEntry]:
    if not spiffe_id.member_of(trust_domain):
        yield InvalidEntry(field, f"is not in this server's trust domain {trust_domain}")
    if not spiffe_id.path:
        yield InvalidEntry(field, "lacks a path; a trust domain's own ID names no workload and no agent")


def _reserved_path(spiffe_id: SpiffeId) -> bool:
    """Paths are case-sensitive (SPIFFE-ID 2.2), but people are not: /SDS is as reserved as /sds."""
    path = spiffe_id.path.lower()
    return path == RESERVED_PATH or path.startswith(RESERVED_PATH + "/")


def _selectors(spec: EntrySpec) -> Iterator[InvalidEntry]:
    if not spec.selectors:
        yield InvalidEntry("selectors", "at least one is needed; an entry without selectors matches nobody")
    if len(spec.selectors) > MAX_SELECTORS:
        yield InvalidEntry("selectors", f"at most {MAX_SELECTORS} are allowed")


def _lifetime(spec: EntrySpec) -> Iterator[InvalidEntry]:
    ttl = spec.x509_svid_ttl
    if ttl is not None and not MIN_TTL <= ttl <= MAX_TTL:
        yield InvalidEntry("x509_ttl", f"must be from {MIN_TTL.seconds}s to {MAX_TTL.days}d")
    jwt = spec.jwt_svid_ttl
    if jwt is not None and not MIN_TTL <= jwt <= MAX_JWT_TTL:
        yield InvalidEntry("jwt_ttl", f"must be from {MIN_TTL.seconds}s to {MAX_JWT_TTL.days}d")
    if spec.expires_at is not None and spec.expires_at.utcoffset() is None:
        yield InvalidEntry("expires_at", "lacks its time zone; write e.g. 2030-01-31T12:00:00Z")


def _dns_names(names: tuple[str, ...]) -> Iterator[InvalidEntry]:
    if len(names) > MAX_DNS_NAMES:
        yield InvalidEntry("dns_names", f"at most {MAX_DNS_NAMES} are allowed")
        return
    for number, name in enumerate(names, start=1):
        problem = dns_problem(name)
        if problem:
            yield InvalidEntry("dns_names", f"name {number} {problem}")


def _texts(spec: EntrySpec) -> Iterator[InvalidEntry]:
    for field, text in (("hint", spec.hint), ("owner", spec.owner)):
        if len(text) > MAX_TEXT or not text.isprintable():
            yield InvalidEntry(field, f"must be at most {MAX_TEXT} printable characters")


def label_problems(labels: Mapping[str, str]) -> Iterator[str]:
    """Everything that is wrong with labels, of an entry or of anything else that has some."""
    if len(labels) > MAX_LABELS:
        yield f"at most {MAX_LABELS} are allowed"
        return
    for number, (key, value) in enumerate(labels.items(), start=1):
        if len(key) > MAX_LABEL_KEY or not _LABEL_KEY.fullmatch(key):
            yield (
                f"key {number} must be 1 to {MAX_LABEL_KEY} letters, digits, dots, dashes, underscores and slashes, "
                "and begin and end with a letter or digit"
            )
        if len(value) > MAX_TEXT or not value.isprintable():
            yield f"value {number} must be at most {MAX_TEXT} printable characters"


def _federation(names: tuple[TrustDomain, ...], trust_domain: TrustDomain) -> Iterator[InvalidEntry]:
    if len(names) > MAX_FEDERATED:
        yield InvalidEntry("federates_with", f"at most {MAX_FEDERATED} are allowed")
    if trust_domain in names:
        yield InvalidEntry("federates_with", "has this server's own trust domain, whose bundle every workload gets")


def _profile(name: str) -> Iterator[InvalidEntry]:
    if name in _RESERVED_PROFILES:
        yield InvalidEntry("profile", f"{name} is not for workloads")
    elif name and not PROFILE_NAME.fullmatch(name):
        yield InvalidEntry("profile", "is not a profile's name: small letters, digits, single dashes and underscores")


def _extra_sans(texts: tuple[str, ...]) -> Iterator[InvalidEntry]:
    if len(texts) > MAX_EXTRA_SANS:
        yield InvalidEntry("extra_sans", f"at most {MAX_EXTRA_SANS} are allowed")
        return
    for number, text in enumerate(texts, start=1):
        try:
            ExtraSan.parse(text)
        except InvalidSan as problem:
            yield InvalidEntry("extra_sans", f"name {number} {problem}")


def _subject(text: str) -> Iterator[InvalidEntry]:
    try:
        parse_subject(text)
    except InvalidSubject as problem:
        yield InvalidEntry("subject", str(problem))


def _seconds(ttl: timedelta | None) -> int | float | None:
    if ttl is None:
        return None
    seconds = ttl.total_seconds()
    return int(seconds) if seconds.is_integer() else seconds
