"""Registration entries: which selectors earn which SPIFFE ID, and the pure matching of one against the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType

from attestation.selector import Selectors
from attestation.spiffe_id import SpiffeId, TrustDomain

RESERVED_PATH = "/sds"
"""SPIFFE ID paths at or below this belong to servers and agents; no entry may name one."""
RESERVED_DNS = "sds.internal"
"""DNS names at or below this prove the server to agents; no entry and no profile may carry one."""

_NO_LABELS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class EntrySpec:
    """What an operator asks for; `validate` (in attestation.rules) judges it before it becomes an entry."""

    spiffe_id: SpiffeId
    parent_id: SpiffeId
    selectors: Selectors
    x509_svid_ttl: timedelta | None = None  # None: the server's default
    dns_names: tuple[str, ...] = ()
    hint: str = ""
    owner: str = ""
    labels: Mapping[str, str] = field(default_factory=lambda: _NO_LABELS)
    expires_at: datetime | None = None  # the entry stops matching then; aware UTC
    jwt_svid_ttl: timedelta | None = None  # None: the server's default
    federates_with: tuple[TrustDomain, ...] = ()  # other trust domains whose bundles the workload gets
    profile: str = ""  # of its certificates; "" is the server's default
    extra_sans: tuple[str, ...] = ()  # beside URI and DNS names: "ip:10.0.0.1", "email:a@example.org"
    subject: str = ""  # RFC 4514, as far as the profile allows; "" is made from the SPIFFE ID


@dataclass(frozen=True, slots=True)
class RegistrationEntry:
    """A stored entry. `revision` starts at 1 and grows by one with every change of this entry."""

    id: str
    revision: int
    created_at: datetime
    updated_at: datetime
    spec: EntrySpec

    @property
    def spiffe_id(self) -> SpiffeId:
        return self.spec.spiffe_id

    @property
    def parent_id(self) -> SpiffeId:
        return self.spec.parent_id

    @property
    def selectors(self) -> Selectors:
        return self.spec.selectors

    def live(self, now: datetime) -> bool:
        """Whether the entry has not expired at `now`."""
        return self.spec.expires_at is None or now < self.spec.expires_at

    def issues_like(self, other: RegistrationEntry) -> bool:
        """Whether a certificate issued under `other` says the same as one issued under this entry would."""
        return self._certified == other._certified

    @property
    def _certified(self) -> tuple[object, ...]:
        spec = self.spec
        return spec.spiffe_id, spec.dns_names, spec.x509_svid_ttl, spec.profile, spec.extra_sans, spec.subject


def match(entries: Iterable[RegistrationEntry], selectors: Selectors, now: datetime) -> tuple[RegistrationEntry, ...]:
    """The live entries whose selectors are all among `selectors`, the default identity first.

    The order is: hint ``default``, then age, then ID; so that adding an entry never changes a workload's default.
    An entry without selectors matches nobody (fail closed).
    """
    matched = [e for e in entries if e.selectors and e.selectors <= selectors and e.live(now)]
    return tuple(sorted(matched, key=lambda e: (e.spec.hint != "default", e.created_at, e.id)))


@dataclass(frozen=True, slots=True)
class NearMiss:
    """An entry that did not match, and the selectors that it wanted and the caller had not."""

    entry: RegistrationEntry
    missing: Selectors


def explain(entries: Iterable[RegistrationEntry], selectors: Selectors, now: datetime) -> tuple[NearMiss, ...]:
    """The live entries that share at least one selector with the caller but lack others; fewest missing first."""
    near = [
        NearMiss(e, e.selectors - selectors)
        for e in entries
        if e.live(now) and e.selectors & selectors and not e.selectors <= selectors
    ]
    return tuple(sorted(near, key=lambda miss: (len(miss.missing), miss.entry.id)))
