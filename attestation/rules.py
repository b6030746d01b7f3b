"""What a registration entry must obey, told all at once. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, timedelta
from types import MappingProxyType

from attestation.entry import RESERVED_DNS, RESERVED_PATH, EntrySpec
from attestation.errors import InvalidEntry
from attestation.spiffe_id import SpiffeId, TrustDomain

MAX_SELECTORS = 64
MAX_DNS_NAMES = 64
MAX_DNS_BYTES = 253  # RFC 1035 2.3.4, written without the root's dot
MAX_LABELS = 64
MAX_TEXT = 255
MAX_LABEL_KEY = 63
MIN_TTL = timedelta(seconds=5)
MAX_TTL = timedelta(days=365)

AGENT_PATH = f"{RESERVED_PATH}/agent"
"""Under the reserved path only what is below this may name an agent."""

_LDH = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")  # RFC 5890 2.3.1
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
        *_labels(spec.labels),
    ]


def check_agent_id(agent_id: SpiffeId, trust_domain: TrustDomain) -> None:
    """Whether an agent may be called this. Raises InvalidEntry.

    Any path of the trust domain will do, but under the reserved path only ``/sds/agent/...``.
    """
    for problem in _agent_id("spiffe_id", agent_id, trust_domain):
        raise problem


def normalise(spec: EntrySpec) -> EntrySpec:
    """The same meaning in its one spelling: DNS names lower case, without the root's dot and repeats; time in UTC."""
    expires_at = spec.expires_at
    if expires_at is not None and expires_at.tzinfo is not None:
        expires_at = expires_at.astimezone(UTC)
    return replace(
        spec,
        dns_names=tuple(dict.fromkeys(_spelling(name) for name in spec.dns_names)),
        hint=spec.hint.strip(),
        owner=spec.owner.strip(),
        labels=MappingProxyType(dict(sorted(spec.labels.items()))),
        expires_at=expires_at,
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


def reserved_dns(name: str) -> bool:
    """Whether a DNS name lies at or below the reserved suffix, or a wildcard covers it, in whatever spelling."""
    forms = {_spelling(name), _unicode_form(name)}
    return any(_covers_reserved(form) for form in forms)


def _covers_reserved(name: str) -> bool:
    base = name.removeprefix("*.")
    if base == RESERVED_DNS or base.endswith("." + RESERVED_DNS):
        return True
    return name == "*" or (name != base and RESERVED_DNS.partition(".")[2] == base)


def _spelling(name: str) -> str:
    """DNS compares without case (RFC 4343), and a certificate's name has no root dot (RFC 5280 4.2.1.6)."""
    return name.lower().removesuffix(".")


def _unicode_form(name: str) -> str:
    """How a careless reader might understand the name: IDNA undone, compatibility forms and odd dots folded."""
    folded = unicodedata.normalize("NFKC", name)
    folded = re.sub("[\u3002\uff0e\uff61\u2024]", ".", folded)  # IDNA 2003 (RFC 3490 3.1) takes these for dots
    labels = [_undo_punycode(label) for label in folded.casefold().split(".")]
    return unicodedata.normalize("NFKC", ".".join(labels)).casefold().strip(".")


def _undo_punycode(label: str) -> str:
    if not label.startswith("xn--"):
        return label
    try:
        return label[4:].encode("ascii").decode("punycode")
    except UnicodeError:
        return label


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
    if spec.expires_at is not None and spec.expires_at.utcoffset() is None:
        yield InvalidEntry("expires_at", "lacks its time zone; write e.g. 2030-01-31T12:00:00Z")


def _dns_names(names: tuple[str, ...]) -> Iterator[InvalidEntry]:
    if len(names) > MAX_DNS_NAMES:
        yield InvalidEntry("dns_names", f"at most {MAX_DNS_NAMES} are allowed")
        return
    for number, name in enumerate(names, start=1):
        problem = _dns_problem(name)
        if problem:
            yield InvalidEntry("dns_names", f"name {number} {problem}")


def _dns_problem(name: str) -> str:
    """What is wrong with one DNS name (RFC 5890 LDH labels, RFC 6125 6.4.3 wildcards); empty if nothing is."""
    if len(name) > 4 * MAX_DNS_BYTES:  # before any work that grows with its length
        return f"is longer than {MAX_DNS_BYTES} bytes"
    if reserved_dns(name):
        return f"is, or covers, {RESERVED_DNS}, which is reserved for servers"
    spelling = _spelling(name)
    if len(spelling.encode(errors="replace")) > MAX_DNS_BYTES:
        return f"is longer than {MAX_DNS_BYTES} bytes"
    labels = spelling.removeprefix("*.").split(".")
    if "*" in "".join(labels):
        return "may have a wildcard only as its whole first label, e.g. *.example.org"
    if not spelling.isascii():
        return "must be in ASCII; write international names in their xn-- form"
    if not all(_LDH.fullmatch(label) for label in labels):
        return "must consist of labels of 1 to 63 letters, digits and inner hyphens, with dots between them"
    if labels[-1].isdigit():
        return "looks like an IP address; a DNS name's last label is not a number"
    if any(not _valid_a_label(label) for label in labels):
        return "has an xn-- label that decodes to nothing international"
    return ""


def _valid_a_label(label: str) -> bool:
    """RFC 5890 2.3.2.1: an A-label stands for a U-label, which has at least one non-ASCII character."""
    return not label.startswith("xn--") or not _undo_punycode(label).isascii()


def _texts(spec: EntrySpec) -> Iterator[InvalidEntry]:
    for field, text in (("hint", spec.hint), ("owner", spec.owner)):
        if len(text) > MAX_TEXT or not text.isprintable():
            yield InvalidEntry(field, f"must be at most {MAX_TEXT} printable characters")


def _labels(labels: Mapping[str, str]) -> Iterator[InvalidEntry]:
    if len(labels) > MAX_LABELS:
        yield InvalidEntry("labels", f"at most {MAX_LABELS} are allowed")
        return
    yield from _label_problems(labels.items())


def _label_problems(labels: Iterable[tuple[str, str]]) -> Iterator[InvalidEntry]:
    for number, (key, value) in enumerate(labels, start=1):
        if len(key) > MAX_LABEL_KEY or not _LABEL_KEY.fullmatch(key):
            yield InvalidEntry(
                "labels",
                f"key {number} must be 1 to {MAX_LABEL_KEY} letters, digits, dots, dashes, underscores and slashes, "
                "and begin and end with a letter or digit",
            )
        if len(value) > MAX_TEXT or not value.isprintable():
            yield InvalidEntry("labels", f"value {number} must be at most {MAX_TEXT} printable characters")


def _seconds(ttl: timedelta | None) -> int | float | None:
    if ttl is None:
        return None
    seconds = ttl.total_seconds()
    return int(seconds) if seconds.is_integer() else seconds
