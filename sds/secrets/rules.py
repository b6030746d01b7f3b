"""What definitions of secrets and grants must obey, told all at once. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType

from attestation.dns_name import dns_problem, reserved_dns, spelling
from attestation.entry import RESERVED_PATH
from attestation.rules import MAX_TEXT, label_problems
from attestation.spiffe_id import SpiffeId, TrustDomain
from sds.secrets.errors import InvalidSecret
from sds.secrets.grant import Below, Exactly, Labelled, Subject
from sds.secrets.judge import FIELD_NAME, MAX_TICKET_KEYS
from sds.secrets.secret import (
    TICKETS,
    DatabaseSource,
    EmbeddedSource,
    KvSource,
    PkiSource,
    RotationPolicy,
    SecretKind,
    SecretSpec,
    Source,
)

MAX_NAME = 128
MAX_PATH = 512
MAX_KV_FIELDS = 64
MAX_DNS_NAMES = 64
MAX_SUBJECT_BYTES = 2048
"""Of a grant's labels in their stored form, which the database indexes."""
MIN_REFRESH, MAX_REFRESH = timedelta(seconds=1), timedelta(days=1)
MIN_EVERY, MAX_EVERY = timedelta(minutes=1), timedelta(days=3650)
MIN_TTL, MAX_TTL = timedelta(minutes=1), timedelta(days=3650)
MIN_GENERATE, MAX_GENERATE = 16, 1024
"""Bytes of randomness; fewer can be guessed."""

RESERVED_NAMES = frozenset({"default", "rootca", "all", TICKETS})
"""What SDS clients ask for that is no secret, in small letters."""

_NAME = re.compile(r"[A-Za-z0-9][-._/A-Za-z0-9]*", re.ASCII)
_ROLE = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,127})", re.ASCII)
_SEGMENT = re.compile(r"[A-Za-z0-9_~@=,+ .-]+", re.ASCII)
_VAULTS_OWN = frozenset({"sys", "auth", "identity", "cubbyhole"})

_FIELDS = {
    SecretKind.GENERIC: frozenset({""}),
    SecretKind.CERTIFICATE: frozenset({"chain", "private_key"}),
    SecretKind.CA_BUNDLE: frozenset({"ca"}),
}


def validate(spec: SecretSpec, delivery_names: Collection[str] = ()) -> list[InvalidSecret]:
    """Everything that is wrong with a definition; an empty list means that it may be stored.

    `delivery_names`: what this installation calls certificates and bundles in SDS, beside the usual names.
    """
    return [
        *_name(spec.name, delivery_names),
        *_source(spec.source, spec.kind),
        *_owner(spec.owner),
        *(InvalidSecret("labels", problem) for problem in label_problems(spec.labels)),
        *_between("refresh", spec.refresh, MIN_REFRESH, MAX_REFRESH),
        *_rotation(spec.rotation, spec),
    ]


def validate_subject(subject: Subject, trust_domain: TrustDomain) -> list[InvalidSecret]:
    """Everything that is wrong with whom a grant names; an empty list means that it may be stored."""
    match subject:
        case Exactly(spiffe_id):
            return list(_member("spiffe_id", spiffe_id, trust_domain))
        case Below(prefix):
            return list(_member("spiffe_id_prefix", prefix, trust_domain))
        case Labelled(labels):
            return list(_subject_labels(labels))


def normalise(spec: SecretSpec) -> SecretSpec:
    """The same meaning in its one spelling. Expects what `validate` has passed."""
    source = spec.source
    if isinstance(source, PkiSource):
        source = replace(source, dns_names=tuple(dict.fromkeys(spelling(name) for name in source.dns_names)))
    elif isinstance(source, KvSource):
        source = replace(source, fields=MappingProxyType(dict(sorted(source.fields.items()))))
    labels = MappingProxyType(dict(sorted(spec.labels.items())))
    return replace(spec, source=source, owner=spec.owner.strip(), labels=labels)


def _name(name: str, delivery_names: Collection[str]) -> Iterator[InvalidSecret]:
    if not 0 < len(name) <= MAX_NAME or not _NAME.fullmatch(name):
        yield InvalidSecret(
            "name",
            f"must be 1 to {MAX_NAME} letters, digits, dots, dashes, underscores and slashes, and begin with a letter "
            "or digit",
        )
    elif any(segment in ("", ".", "..") for segment in name.split("/")):
        yield InvalidSecret("name", "cannot have empty or dot segments, for it is part of a URL")
    elif name.lower() in RESERVED_NAMES:
        yield InvalidSecret("name", "is reserved: SDS clients ask under it for something else")
    elif name in delivery_names:
        yield InvalidSecret("name", "is that of certificates or bundles in this server's configuration")


def _source(source: Source, kind: SecretKind) -> Iterator[InvalidSecret]:
    match source:
        case EmbeddedSource():
            return
        case KvSource(mount, path, fields):
            yield from _mount(mount)
            yield from _path("source.path", path)
            yield from _kv_fields(fields, kind)
        case DatabaseSource(mount, role):
            yield from _mount(mount)
            yield from _role(role)
            if kind is not SecretKind.MAP:
                yield InvalidSecret("kind", "of database credentials is map: they are a username and a password")
        case PkiSource(mount, role, common_name, dns_names, ttl):
            yield from _mount(mount)
            yield from _role(role)
            yield from _names(common_name, dns_names)
            yield from _between("source.ttl", ttl, MIN_TTL, MAX_TTL)
            if kind is not SecretKind.CERTIFICATE:
                yield InvalidSecret("kind", "of what a PKI engine issues is certificate")


def _mount(mount: str) -> Iterator[InvalidSecret]:
    yield from _path("source.mount", mount)
    if mount.lower().split("/", maxsplit=1)[0] in _VAULTS_OWN:
        yield InvalidSecret("source.mount", "is Vault's own and no secrets engine")


def _path(field: str, path: str) -> Iterator[InvalidSecret]:
    """Nothing that a URL or Vault could read as something else than one name after the other."""
    segments = path.split("/")
    if len(path) > MAX_PATH or not all(_SEGMENT.fullmatch(segment) for segment in segments):
        yield InvalidSecret(
            field,
            f"must be at most {MAX_PATH} letters, digits, spaces and any of _~@=,+.- in segments with one slash "
            "between them",
        )
    elif any(segment in (".", "..") or segment != segment.strip() for segment in segments):
        yield InvalidSecret(field, "cannot have segments of dots, or that begin or end with a space")


def _role(role: str) -> Iterator[InvalidSecret]:
    if not _ROLE.fullmatch(role):
        yield InvalidSecret("source.role", "must be 1 to 128 letters, digits, dots, dashes and underscores")


def _kv_fields(fields: Mapping[str, str], kind: SecretKind) -> Iterator[InvalidSecret]:
    """Our fields to the engine's. Without any, what is there is taken as it is."""
    if len(fields) > MAX_KV_FIELDS:
        yield InvalidSecret("source.fields", f"at most {MAX_KV_FIELDS} are allowed")
        return
    for number, theirs in enumerate(fields.values(), start=1):
        if not 0 < len(theirs) <= MAX_TEXT or not theirs.isprintable():
            yield InvalidSecret("source.fields", f"name {number} in Vault must be 1 to {MAX_TEXT} printable characters")
    if not fields:
        return
    known = _FIELDS.get(kind)
    if known is not None and set(fields) != known:
        wanted = " and ".join(sorted(known)) or "one, without a name"
        yield InvalidSecret("source.fields", f"of a secret of kind {kind} are: {wanted}")
    if kind is SecretKind.TICKETS and (
        len(fields) > MAX_TICKET_KEYS or set(fields) != {str(number) for number in range(len(fields))}
    ):
        yield InvalidSecret(
            "source.fields", f"of a secret of kind {kind} are called 0, 1, 2, at most {MAX_TICKET_KEYS}"
        )
    if kind is SecretKind.MAP and not all(FIELD_NAME.fullmatch(name) for name in fields):
        yield InvalidSecret(
            "source.fields", "must be called by 1 to 128 letters, digits, dots, dashes, underscores and slashes"
        )


def _names(common_name: str, dns_names: tuple[str, ...]) -> Iterator[InvalidSecret]:
    if len(dns_names) > MAX_DNS_NAMES:
        yield InvalidSecret("source.dns_names", f"at most {MAX_DNS_NAMES} are allowed")
        return
    named = [("source.common_name", "", common_name)]
    named += [("source.dns_names", f"name {number} ", name) for number, name in enumerate(dns_names, start=1)]
    for field, which, name in named:
        problem = dns_problem(name)
        if problem:
            yield InvalidSecret(field, f"{which}{problem}")
        elif reserved_dns(name):
            yield InvalidSecret(field, f"{which}is reserved for servers of this trust domain")


def _owner(owner: str) -> Iterator[InvalidSecret]:
    if len(owner) > MAX_TEXT or not owner.isprintable():
        yield InvalidSecret("owner", f"must be at most {MAX_TEXT} printable characters")


def _rotation(rotation: RotationPolicy, spec: SecretSpec) -> Iterator[InvalidSecret]:
    yield from _between("rotation.every", rotation.every, MIN_EVERY, MAX_EVERY)
    if not rotation.generate:
        return
    if not MIN_GENERATE <= rotation.generate <= MAX_GENERATE:
        yield InvalidSecret("rotation.generate", f"must be {MIN_GENERATE} to {MAX_GENERATE} bytes")
    if not isinstance(spec.source, EmbeddedSource) or spec.kind is not SecretKind.GENERIC:
        yield InvalidSecret("rotation.generate", "is for generic secrets of the embedded backend alone")


def _between(field: str, span: timedelta | None, least: timedelta, most: timedelta) -> Iterator[InvalidSecret]:
    if span is not None and not least <= span <= most:
        yield InvalidSecret(
            field, f"must be between {int(least.total_seconds())} and {int(most.total_seconds())} seconds"
        )


def _member(field: str, spiffe_id: SpiffeId, trust_domain: TrustDomain) -> Iterator[InvalidSecret]:
    if not spiffe_id.member_of(trust_domain):
        yield InvalidSecret(
            field, f"belongs to another trust domain than {trust_domain}, whose workloads are served here"
        )
    elif spiffe_id.below(RESERVED_PATH):
        yield InvalidSecret(
            field, f"{RESERVED_PATH} and paths below it belong to servers and agents, who get no secrets"
        )


def _subject_labels(labels: Mapping[str, str]) -> Iterator[InvalidSecret]:
    if not labels:
        yield InvalidSecret("labels", "must not be empty: without any, every entry would be meant")
    for problem in label_problems(labels):
        yield InvalidSecret("labels", problem)
    if sum(len(part.encode("utf-8", "replace")) + 3 for pair in labels.items() for part in pair) > MAX_SUBJECT_BYTES:
        yield InvalidSecret("labels", f"must be at most {MAX_SUBJECT_BYTES} bytes together")
