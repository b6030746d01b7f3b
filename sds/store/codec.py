"""Sets, lists and maps as canonical JSON texts, opaque page cursors, and rows as domain values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import lru_cache
from hashlib import sha256
from types import MappingProxyType
from typing import Any

from sqlalchemy import Row

from attestation.entry import EntrySpec, RegistrationEntry
from attestation.selector import Selectors, parse_selectors
from attestation.spiffe_id import SpiffeId, TrustDomain
from sds.store.errors import InvalidCursor
from sds.store.times import from_micros, from_micros_or_none

MICROSECOND = timedelta(microseconds=1)
_dumps = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), check_circular=False).encode


def to_json(value: object) -> str:
    """Compact JSON with sorted names: equal values give equal texts."""
    return _dumps(value)


def selectors_text(selectors: Selectors) -> str:
    return _dumps(sorted(map(str, selectors)))


def parse_selectors_text(text: str) -> Selectors:
    return parse_selectors(json.loads(text))


def texts(text: str) -> tuple[str, ...]:
    """A JSON list of texts."""
    return tuple(json.loads(text))


def labels(text: str) -> Mapping[str, str]:
    return MappingProxyType(json.loads(text))


# Listings of thousands of rows have the same few texts again and again; what they stand for never changes.
again_spiffe_id = lru_cache(maxsize=4096)(SpiffeId.parse)
again_texts = lru_cache(maxsize=1024)(texts)
again_labels = lru_cache(maxsize=1024)(labels)


def identity_hash(spec: EntrySpec) -> str:
    """Equal for entries with the same (spiffe_id, parent_id, selectors); selectors alone may outgrow an index."""
    return sha256(f"{spec.spiffe_id}\n{spec.parent_id}\n{selectors_text(spec.selectors)}".encode()).hexdigest()


def entry(row: Row[Any]) -> RegistrationEntry:
    """A row of `tables.entries`."""
    ttl, jwt_ttl = row.x509_svid_ttl, row.jwt_svid_ttl
    return RegistrationEntry(
        id=row.id,
        revision=row.revision,
        created_at=from_micros(row.created_at),
        updated_at=from_micros(row.updated_at),
        spec=EntrySpec(
            spiffe_id=SpiffeId.parse(row.spiffe_id),
            parent_id=again_spiffe_id(row.parent_id),
            selectors=parse_selectors_text(row.selectors),
            x509_svid_ttl=None if ttl is None else ttl * MICROSECOND,
            dns_names=texts(row.dns_names),
            hint=row.hint,
            owner=row.owner,
            labels=again_labels(row.labels),
            expires_at=from_micros_or_none(row.expires_at),
            jwt_svid_ttl=None if jwt_ttl is None else jwt_ttl * MICROSECOND,
            federates_with=tuple(map(TrustDomain, again_texts(row.federates_with))),
            profile=row.profile,
            extra_sans=again_texts(row.extra_sans),
            subject=row.subject,
        ),
    )


def make_cursor(*parts: str | int) -> str:
    """An opaque text that says after which row a listing goes on."""
    return _dumps(parts).encode().hex()


def read_cursor(cursor: str, *kinds: type[str | int]) -> tuple[Any, ...]:
    """The parts again. Raises InvalidCursor for anything that `make_cursor` did not make of such parts."""
    try:
        parts = json.loads(bytes.fromhex(cursor))
    except ValueError:  # covers malformed hex, UTF-8 and JSON
        raise InvalidCursor from None
    except RecursionError:
        raise InvalidCursor from None
    if not isinstance(parts, list) or [type(part) for part in parts] != list(kinds):
        raise InvalidCursor
    if any(isinstance(part, int) and abs(part) >= 2**63 for part in parts):
        raise InvalidCursor
    return tuple(parts)


def chunks(values: Iterable[str], size: int = 500) -> Iterable[list[str]]:
    """Lists of at most `size`: databases bound the parameters of one statement."""
    batch: list[str] = []
    for value in values:
        batch.append(value)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
