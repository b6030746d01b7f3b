"""Other trust domains: where their bundles are had, and the last good one of each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Row, delete, func, insert, select, update

from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.bundle import TrustBundle, parse_spiffe_json
from ca.errors import InvalidBundle
from sds.store.changes import Changes
from sds.store.codec import MICROSECOND
from sds.store.errors import Conflict, NotFound
from sds.store.records import ChangeKind
from sds.store.tables import federations
from sds.store.times import from_micros, from_micros_or_none, to_micros
from sds.store.tx import Tx


class EndpointProfile(StrEnum):
    """How a bundle endpoint proves itself (SPIFFE Federation 5.2). `STATIC`: there is none, bundles are set by hand."""

    HTTPS_WEB = "https_web"
    HTTPS_SPIFFE = "https_spiffe"
    STATIC = "static"


@dataclass(frozen=True, slots=True)
class BundleSource:
    """The parameters of a bundle endpoint (Federation 5.1). `endpoint_id` is for https_spiffe alone."""

    profile: EndpointProfile
    endpoint_url: str = ""
    endpoint_id: SpiffeId | None = None


@dataclass(frozen=True, slots=True)
class FederationRecord:
    """What we know of another trust domain.

    `bundle` is the last good one, None before the first. `fetched_at`: when the endpoint last answered with a good one,
    changed or not; `tried_at`: when it was last asked. `problem` says why the last try failed, "" if it did not.
    `updated_at`: the last change of source or bundle.
    """

    trust_domain: TrustDomain
    source: BundleSource
    bundle: TrustBundle | None = field(default=None, repr=False)
    document: bytes = field(default=b"", repr=False)  # the bundle as it is stored
    fetched_at: datetime | None = None
    tried_at: datetime | None = None
    problem: str = ""
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PollState:
    """As much of a record as its next poll depends on."""

    trust_domain: TrustDomain
    source: BundleSource
    refresh_hint: timedelta
    fetched_at: datetime | None
    tried_at: datetime | None
    problem: str
    created_at: datetime


class Federations:
    """Every change of a source or a bundle tells the feed and needs an audit event; what became of a poll does not."""

    __slots__ = ("_changes", "_tx")

    def __init__(self, tx: Tx, changes: Changes) -> None:
        self._tx = tx
        self._changes = changes

    def all(self) -> tuple[FederationRecord, ...]:
        """Every one, in order of its name."""
        return tuple(map(_from_row, self._tx.rows(select(federations).order_by(federations.c.trust_domain))))

    def find(self, trust_domain: TrustDomain) -> FederationRecord | None:
        row = self._tx.first(select(federations).where(federations.c.trust_domain == trust_domain.name))
        return None if row is None else _from_row(row)

    def get(self, trust_domain: TrustDomain) -> FederationRecord:
        """Raises NotFound."""
        found = self.find(trust_domain)
        if found is None:
            raise NotFound("federated trust domain", trust_domain.name)
        return found

    def count(self) -> int:
        return int(self._tx.scalar(select(func.count()).select_from(federations)))

    def polls(self) -> tuple[PollState, ...]:
        """Of every one that has an endpoint, without its bundle."""
        columns = [column for column in federations.c if column.name != "bundle"]
        static = federations.c.profile == EndpointProfile.STATIC.value
        return tuple(
            PollState(
                TrustDomain(row.trust_domain),
                _source(row),
                row.refresh_hint * MICROSECOND,
                from_micros_or_none(row.fetched_at),
                from_micros_or_none(row.tried_at),
                row.problem,
                from_micros(row.created_at),
            )
            for row in self._tx.rows(select(*columns).where(~static))
        )

    def lock(self) -> None:
        """Before `find` and `create`, so that of two who create the same one the second finds it."""
        self._changes.lock()

    def create(
        self, trust_domain: TrustDomain, source: BundleSource, bundle: TrustBundle | None = None
    ) -> FederationRecord:
        """Raises ConstraintViolated if it is there already."""
        self._changes.lock()
        now = to_micros(self._tx.now)
        row = {"trust_domain": trust_domain.name, **_source_values(source), **_bundle_values(bundle)}
        row |= {"fetched_at": None, "tried_at": None, "problem": "", "created_at": now, "updated_at": now}
        self._tx.change(federations, insert(federations).values(row))
        self._tell(trust_domain)
        return self.get(trust_domain)

    def use_source(self, trust_domain: TrustDomain, source: BundleSource) -> FederationRecord:
        """Another endpoint from now on; the bundle stays until it answers. Raises NotFound."""
        values = {**_source_values(source), "tried_at": None, "problem": "", "updated_at": to_micros(self._tx.now)}
        return self._change(trust_domain, values)

    def set_bundle(self, trust_domain: TrustDomain, bundle: TrustBundle) -> FederationRecord:
        """Replace the bundle whatever stands (Federation 4.2: operators may, at any time). Raises NotFound."""
        values = {**_bundle_values(bundle), "problem": "", "updated_at": to_micros(self._tx.now)}
        return self._change(trust_domain, values)

    def compare_and_swap(self, expected: FederationRecord, bundle: TrustBundle) -> FederationRecord:
        """Store what the endpoint answered if source and bundle are still as in `expected`.

        Raises NotFound, or Conflict with the sequence that stands.
        """
        now = to_micros(self._tx.now)
        values = {**_bundle_values(bundle), "fetched_at": now, "tried_at": now, "problem": "", "updated_at": now}
        self._changes.lock()
        unchanged = {**_source_values(expected.source), "bundle": expected.document}
        conditions = [federations.c[name] == value for name, value in unchanged.items()]
        chosen = federations.c.trust_domain == expected.trust_domain.name
        if self._tx.note(update(federations).where(chosen, *conditions).values(values)).rowcount != 1:
            standing = self.get(expected.trust_domain).bundle
            raise Conflict(f"the bundle of {expected.trust_domain}", str(standing.sequence if standing else 0))
        self._tx.unaudited.add(federations.name)
        self._tell(expected.trust_domain)
        return self.get(expected.trust_domain)

    def note_poll(self, trust_domain: TrustDomain, source: BundleSource, problem: str = "") -> None:
        """The endpoint of `source` was asked: what it answered is not news, or `problem` came of it.

        Does nothing if there is another source by now.
        """
        now = to_micros(self._tx.now)
        values = {"tried_at": now, "problem": problem} | ({} if problem else {"fetched_at": now})
        conditions = [federations.c[name] == value for name, value in _source_values(source).items()]
        chosen = federations.c.trust_domain == trust_domain.name
        self._tx.note(update(federations).where(chosen, *conditions).values(values))

    def delete(self, trust_domain: TrustDomain) -> FederationRecord:
        """End the relationship; returns what stood. Raises NotFound."""
        self._changes.lock()
        standing = self.get(trust_domain)
        self._tx.change(federations, delete(federations).where(federations.c.trust_domain == trust_domain.name))
        self._tell(trust_domain)
        return standing

    def _change(self, trust_domain: TrustDomain, values: dict[str, Any]) -> FederationRecord:
        self._changes.lock()
        chosen = update(federations).where(federations.c.trust_domain == trust_domain.name)
        if self._tx.change(federations, chosen.values(values)).rowcount != 1:
            raise NotFound("federated trust domain", trust_domain.name)
        self._tell(trust_domain)
        return self.get(trust_domain)

    def _tell(self, trust_domain: TrustDomain) -> None:
        self._changes.append(ChangeKind.FEDERATION, trust_domain.name)


def _source_values(source: BundleSource) -> dict[str, Any]:
    return {
        "profile": source.profile.value,
        "endpoint_url": source.endpoint_url,
        "endpoint_id": "" if source.endpoint_id is None else str(source.endpoint_id),
    }


def _bundle_values(bundle: TrustBundle | None) -> dict[str, Any]:
    if bundle is None:
        return {"bundle": b"", "sequence": 0, "refresh_hint": 0}
    return {
        "bundle": bundle.spiffe_json(),
        "sequence": bundle.sequence,
        "refresh_hint": bundle.refresh_hint // MICROSECOND,
    }


def _source(row: Row[Any]) -> BundleSource:
    endpoint_id = SpiffeId.parse(row.endpoint_id) if row.endpoint_id else None
    return BundleSource(EndpointProfile(row.profile), row.endpoint_url, endpoint_id)


def _from_row(row: Row[Any]) -> FederationRecord:
    record = FederationRecord(
        TrustDomain(row.trust_domain),
        _source(row),
        document=bytes(row.bundle),
        fetched_at=from_micros_or_none(row.fetched_at),
        tried_at=from_micros_or_none(row.tried_at),
        problem=row.problem,
        created_at=from_micros(row.created_at),
        updated_at=from_micros(row.updated_at),
    )
    if not record.document:
        return record
    try:
        return replace(record, bundle=parse_spiffe_json(record.trust_domain, record.document))
    except InvalidBundle as error:  # what an older version stored; this one trusts nobody by it
        return replace(record, problem=f"the stored bundle is refused: {error}")
