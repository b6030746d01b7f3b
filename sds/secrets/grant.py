"""Who may have a secret: a grant names SPIFFE IDs or entries by label. Default deny. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from attestation.entry import EntrySpec
from attestation.spiffe_id import SpiffeId


@dataclass(frozen=True, slots=True)
class Exactly:
    """One SPIFFE ID and no other."""

    spiffe_id: SpiffeId


@dataclass(frozen=True, slots=True)
class Below:
    """One SPIFFE ID and, by whole path segments, all under it: `/a` has `/a` and `/a/b`, never `/ab`."""

    prefix: SpiffeId


@dataclass(frozen=True, slots=True)
class Labelled:
    """Every entry that has all of these labels; no labels are refused, for they would mean everybody."""

    labels: Mapping[str, str]


Subject = Exactly | Below | Labelled


@dataclass(frozen=True, slots=True)
class Grant:
    """A stored grant of one secret to one subject."""

    id: str
    secret_id: str
    subject: Subject
    created_at: datetime
    created_by: str


def covers(subject: Subject, entry: EntrySpec) -> bool:
    """Whether whoever gets this entry's identity is among the subject."""
    match subject:
        case Exactly(spiffe_id):
            return entry.spiffe_id == spiffe_id
        case Below(prefix):
            return _below(entry.spiffe_id, prefix)
        case Labelled(labels):
            return bool(labels) and all(entry.labels.get(name) == value for name, value in labels.items())


def granting(grants: Iterable[Grant], entry: EntrySpec) -> Grant | None:
    """The first of the grants that covers the entry, or None: then it may not have the secret."""
    return next((grant for grant in grants if covers(grant.subject, entry)), None)


def _below(spiffe_id: SpiffeId, prefix: SpiffeId) -> bool:
    if spiffe_id.trust_domain != prefix.trust_domain:
        return False
    return spiffe_id.path == prefix.path or spiffe_id.path.startswith(prefix.path + "/")
