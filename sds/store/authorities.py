"""The trust domain's authorities. Their keys are elsewhere: in `wrapped_keys`, or with another key manager."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, delete, insert, select, update

from attestation.spiffe_id import TrustDomain
from ca.authority import Authority, AuthorityKind, AuthorityState
from ca.keys import KeyType
from sds.store.changes import Changes
from sds.store.codec import to_json
from sds.store.errors import Conflict, NotFound
from sds.store.records import ChangeKind
from sds.store.settings import Settings
from sds.store.tables import authorities
from sds.store.times import from_micros, from_micros_or_none, to_micros, to_micros_or_none
from sds.store.tx import Tx

_BUNDLE_SEQUENCE = "bundle_sequence"
_REVISION = "authorities_revision"


@dataclass(frozen=True, slots=True)
class Journal:
    """All authorities of the trust domain, oldest first, as they were at `revision`."""

    revision: int
    authorities: tuple[Authority, ...]


class Authorities:
    """Every change tells the feed and needs an audit event; one that changes the bundle also counts its sequence up.

    Together they are one journal, whose revision grows with every change: whoever decides by all of them says with
    `expect` which revision that was, so that of two who decide at the same time one looks again.

    At most one authority of a kind is active in a trust domain (a unique index): retire the old one first, then
    activate the next, in one unit of work.
    """

    __slots__ = ("_changes", "_settings", "_tx")

    def __init__(self, tx: Tx, changes: Changes, settings: Settings) -> None:
        self._tx = tx
        self._changes = changes
        self._settings = settings

    def all(self, kind: AuthorityKind | None = None) -> tuple[Authority, ...]:
        """Every authority, or every one of a kind, oldest first."""
        statement = select(authorities).order_by(authorities.c.created_at, authorities.c.id)
        if kind is not None:
            statement = statement.where(authorities.c.kind == kind.value)
        return tuple(map(_from_row, self._tx.rows(statement)))

    def journal(self) -> Journal:
        """Every authority, and the revision that they are at."""
        return Journal(self._revision, self.all())

    def expect(self, revision: int) -> None:
        """Call first. Raises Conflict, with the revision that stands, if the journal is at another one."""
        self._changes.lock()
        standing = self._revision
        if standing != revision:
            raise Conflict("the journal of authorities", standing)

    def get(self, authority_id: str) -> Authority:
        """Raises NotFound."""
        row = self._tx.first(select(authorities).where(authorities.c.id == authority_id))
        if row is None:
            raise NotFound("authority", authority_id)
        return _from_row(row)

    def hold(self, authority_id: str) -> Authority:
        """What stands, and goes on standing until this transaction ends. Raises NotFound.

        So nobody can taint, retire or forget it between a decision to sign and the record of that decision.
        """
        self._tx.check_writable()
        statement = select(authorities).where(authorities.c.id == authority_id)
        row = self._tx.first(statement.with_for_update(read=True) if self._tx.postgres else statement)
        if row is None:
            raise NotFound("authority", authority_id)
        return _from_row(row)

    def add(self, authority: Authority) -> None:
        """Raises ConstraintViolated if the id is taken, or if it is active and another one of its kind is, too."""
        self._changes.lock()
        row = {
            "id": authority.id,
            "trust_domain": str(authority.trust_domain),
            "kind": authority.kind.value,
            "certificate": authority.certificate,
            "public_key": authority.public_key,
            "key_ref": authority.key_ref,
            "key_type": authority.key_type.value,
            "not_before": to_micros(authority.not_before),
            "not_after": to_micros(authority.not_after),
            "created_at": to_micros(authority.created_at),
            "upstream": authority.upstream,
            "published_sequence": self._sequence_of(authority),
            **_mutable(authority),
        }
        self._tx.change(authorities, insert(authorities).values(row))
        self._tell(authority.id, bundle=True)

    def compare_and_swap(self, expected: Authority, new: Authority) -> None:
        """Store `new`'s state, flags, times, chain and roots if what stands is still as in `expected`.

        With a root that it did not have, it counts as published from the next bundle on. Raises NotFound, or Conflict
        with the state that stands, and ConstraintViolated like `add`.
        """
        if expected.id != new.id:
            raise ValueError("an authority is not replaced by another one")
        self._changes.lock()
        unchanged = [authorities.c[name].is_not_distinct_from(value) for name, value in _mutable(expected).items()]
        values = _mutable(new)
        if not set(new.roots) <= set(expected.roots):
            values["published_sequence"] = self.bundle_sequence + 1
        swap = update(authorities).where(authorities.c.id == new.id, *unchanged).values(values)
        if self._tx.note(swap).rowcount != 1:
            raise Conflict(f"authority {new.id}", self.get(new.id).state.value)
        self._tx.unaudited.add(authorities.name)
        self._tell(new.id, bundle=_published(expected) != _published(new))

    def remove(self, authority_id: str) -> Authority:
        """Forget it, once no certificate under it is left; returns what stood. Raises NotFound."""
        self._changes.lock()
        standing = self.get(authority_id)
        self._tx.change(authorities, delete(authorities).where(authorities.c.id == authority_id))
        self._tell(authority_id, bundle=True)
        return standing

    @property
    def bundle_sequence(self) -> int:
        """Grows with every change of what the trust bundle holds; 0 before the first authority."""
        return int(self._settings.get(_BUNDLE_SEQUENCE) or 0)

    def bundle_changed(self) -> int:
        """Something else that the trust bundle holds has changed, such as a CRL; returns its sequence now."""
        self._changes.append(ChangeKind.BUNDLE, "")
        return self._settings.count_up(_BUNDLE_SEQUENCE)

    def raise_sequence(self, least: int) -> int:
        """Go on above `least`, which the trust bundle's sequence once had; returns what it is now."""
        if self.bundle_sequence < least:
            self._settings.put(_BUNDLE_SEQUENCE, str(least))
        return self.bundle_changed()

    @property
    def _revision(self) -> int:
        return int(self._settings.get(_REVISION) or 0)

    def _sequence_of(self, new: Authority) -> int:
        """The first sequence of the bundle that has all that `new` is verified by; the next one, unless others brought
        the same roots before.
        """
        coming = self.bundle_sequence + 1
        brought: dict[bytes, int] = {}
        for one in self.all(new.kind):
            for der in () if one.revoked else one.bundle_certificates:
                brought[der] = min(one.published_sequence, brought.get(der, coming))
        return max((brought.get(der, coming) for der in new.bundle_certificates), default=coming)

    def _tell(self, authority_id: str, *, bundle: bool) -> None:
        self._settings.count_up(_REVISION)
        self._changes.append(ChangeKind.AUTHORITY, authority_id)
        if bundle:
            self.bundle_changed()


def _mutable(authority: Authority) -> dict[str, Any]:
    """What may change in the life of an authority."""
    return {
        "state": authority.state.value,
        "tainted": int(authority.tainted),
        "revoked": int(authority.revoked),
        "activated_at": to_micros_or_none(authority.activated_at),
        "retired_at": to_micros_or_none(authority.retired_at),
        "chain": to_json([der.hex() for der in authority.chain]),
        "roots": to_json([der.hex() for der in authority.roots]),
    }


def _published(authority: Authority) -> tuple[object, ...]:
    """What the trust bundle says of it."""
    return authority.revoked, authority.tainted, authority.roots


def _ders(text: str) -> tuple[bytes, ...]:
    return tuple(bytes.fromhex(der) for der in json.loads(text))


def _from_row(row: Row[Any]) -> Authority:
    return Authority(
        id=row.id,
        trust_domain=TrustDomain(row.trust_domain),
        kind=AuthorityKind(row.kind),
        state=AuthorityState(row.state),
        key_ref=row.key_ref,
        key_type=KeyType(row.key_type),
        public_key=row.public_key,
        certificate=row.certificate,
        not_before=from_micros(row.not_before),
        not_after=from_micros(row.not_after),
        created_at=from_micros(row.created_at),
        activated_at=from_micros_or_none(row.activated_at),
        tainted=bool(row.tainted),
        revoked=bool(row.revoked),
        chain=_ders(row.chain),
        roots=_ders(row.roots),
        upstream=row.upstream,
        retired_at=from_micros_or_none(row.retired_at),
        published_sequence=row.published_sequence,
    )
