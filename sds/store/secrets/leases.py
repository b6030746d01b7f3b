"""Leases of dynamic credentials: what hangs on which token at Vault, who uses it, and which replicas there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, delete, func, select, update

from attestation.spiffe_id import SpiffeId
from sds.secrets.leasing.lease import Lease, LeaseState, Receiver
from sds.secrets.secret import Secret
from sds.store.changes import Changes
from sds.store.codec import MICROSECOND
from sds.store.records import ChangeKind
from sds.store.secrets import rows
from sds.store.tables import lease_replicas, lease_users, leases, secrets
from sds.store.times import from_micros, from_micros_or_none, to_micros, to_micros_or_none
from sds.store.tx import Tx

_PLAIN = tuple(column for column in leases.c if column.name not in {"nonce", "ciphertext"})


@dataclass(frozen=True, slots=True)
class SealedCredentials:
    """Credentials under their secret's data key."""

    nonce: bytes = field(repr=False)
    ciphertext: bytes = field(repr=False)


class Leases:
    """What begins or ends a lease needs an audit event; what becomes of it in between does not."""

    __slots__ = ("_changes", "_tx")

    def __init__(self, tx: Tx, changes: Changes) -> None:
        self._tx = tx
        self._changes = changes

    # Leases

    def all(self) -> tuple[Lease, ...]:
        """Every one, whatever its state, oldest first."""
        order = (leases.c.created_at, leases.c.id)
        return tuple(map(_from_row, self._tx.rows(select(*_PLAIN).order_by(*order))))

    def of(self, receiver: Receiver) -> tuple[Lease, ...]:
        """Those of one receiver, the newest generation first."""
        chosen = select(*_PLAIN).where(_is(receiver)).order_by(leases.c.generation.desc())
        return tuple(map(_from_row, self._tx.rows(chosen)))

    def of_secret(self, secret_id: str) -> tuple[Lease, ...]:
        """Those of all its receivers, newest first."""
        order = (leases.c.created_at.desc(), leases.c.id)
        chosen = select(*_PLAIN).where(leases.c.secret_id == secret_id).order_by(*order)
        return tuple(map(_from_row, self._tx.rows(chosen)))

    def count(self) -> int:
        return int(self._tx.scalar(select(func.count()).select_from(leases)))

    def secrets(self) -> tuple[Secret, ...]:
        """The definitions of those that have leases; one that is gone is not among them."""
        leased = select(leases.c.secret_id).distinct()
        return tuple(map(rows.secret, self._tx.rows(select(secrets).where(secrets.c.id.in_(leased)))))

    def credentials(self, lease: Lease) -> SealedCredentials | None:
        """What was sealed of a live lease; None if it is not live any more."""
        chosen = select(leases.c.nonce, leases.c.ciphertext).where(_in(lease, LeaseState.LIVE))
        row = self._tx.first(chosen)
        return None if row is None else SealedCredentials(bytes(row.nonce), bytes(row.ciphertext))

    def begin(self, lease: Lease) -> bool:
        """Store a pending lease; False if another replica has begun this generation."""
        row = {
            **_columns(lease.receiver),
            "id": lease.id,
            "state": LeaseState.PENDING.value,
            "accessor": lease.accessor,
            "lease_id": "",
            "generation": lease.generation,
            "ttl": 0,
            "created_at": to_micros(self._tx.now),
            "nonce": b"",
            "ciphertext": b"",
            "holder": lease.holder,
        }
        self._changes.lock()
        inserted = self._tx.insert(leases).values(row).on_conflict_do_nothing().returning(leases.c.id)
        if self._tx.note(inserted).first() is None:
            return False
        self._tx.unaudited.add(leases.name)
        return True

    def activate(self, lease: Lease, sealed: SealedCredentials) -> bool:
        """Vault has answered: `lease` has what it said. False if the lease is not pending any more.

        Tells the feed where the credentials are not the receiver's first.
        """
        values = {
            "state": LeaseState.LIVE.value,
            "lease_id": lease.lease_id,
            "ttl": lease.ttl // MICROSECOND,
            "expires_at": to_micros_or_none(lease.expires_at),
            "max_expires_at": to_micros_or_none(lease.max_expires_at),
            "nonce": sealed.nonce,
            "ciphertext": sealed.ciphertext,
        }
        self._changes.lock()
        chosen = update(leases).where(_in(lease, LeaseState.PENDING)).values(values)
        done = self._tx.note(chosen).rowcount == 1
        if done and lease.generation > 1:
            self._changes.append(ChangeKind.SECRET, lease.receiver.secret_id)
        return done

    def renewed(self, lease: Lease, expires_at: datetime, max_expires_at: datetime | None, holder: str) -> bool:
        """Vault has given more time, to whoever looks after it from now on. False if somebody else noted it first."""
        renewed: ColumnElement[bool] = leases.c.renewed_at.is_(None)
        if lease.renewed_at is not None:
            renewed = leases.c.renewed_at == to_micros(lease.renewed_at)
        values = {
            "renewed_at": to_micros(self._tx.now),
            "expires_at": to_micros(expires_at),
            "max_expires_at": to_micros_or_none(max_expires_at),
            "holder": holder,
        }
        chosen = update(leases).where(_in(lease, LeaseState.LIVE), renewed).values(values)
        return self._tx.note(chosen).rowcount == 1

    def end(self, lease: Lease, at: datetime) -> bool:
        """To be revoked at `at`; what was sealed is gone. False if it is in another state than `lease` says."""
        values = {"state": LeaseState.ENDING.value, "expires_at": to_micros(at), "nonce": b"", "ciphertext": b""}
        self._changes.lock()
        done = self._tx.note(update(leases).where(_in(lease, lease.state)).values(values)).rowcount == 1
        if done:
            self._tx.unaudited.add(leases.name)
        return done

    def remove(self, lease: Lease) -> bool:
        """Vault has revoked it: forget it. False if it is not ending, or was forgotten already."""
        return self._tx.note(delete(leases).where(_in(lease, LeaseState.ENDING))).rowcount == 1

    # Who uses them

    def use(self, receiver: Receiver, replica: str) -> None:
        """The receiver has users on the replica, which lives."""
        self._changes.lock()  # whoever ends a lease that nobody uses waits, and looks again
        self.beat(replica)
        row = {**_columns(receiver), "replica": replica}
        self._tx.note(self._tx.insert(lease_users).values(row).on_conflict_do_nothing())

    def unuse(self, receiver: Receiver, replica: str) -> None:
        """It has none there any more."""
        users = lease_users.c
        named = and_(users.secret_id == receiver.secret_id, users.spiffe_id == str(receiver.spiffe_id))
        self._tx.note(delete(lease_users).where(named, users.replica == replica))

    def users(self) -> Mapping[Receiver, frozenset[str]]:
        """The replicas on which each receiver has users."""
        found: dict[Receiver, set[str]] = {}
        for row in self._tx.rows(select(lease_users)):
            found.setdefault(_receiver(row), set()).add(row.replica)
        return {receiver: frozenset(replicas) for receiver, replicas in found.items()}

    # Replicas

    def beat(self, replica: str) -> None:
        """Say that the replica lives."""
        row = {"id": replica, "seen_at": to_micros(self._tx.now)}
        statement = self._tx.insert(lease_replicas).values(row)
        seen = {"seen_at": statement.excluded.seen_at}
        self._tx.note(statement.on_conflict_do_update(index_elements=["id"], set_=seen))

    def replicas(self) -> Mapping[str, datetime]:
        """When each was last seen."""
        return {row.id: from_micros(row.seen_at) for row in self._tx.rows(select(lease_replicas))}

    def forget_replica(self, replica: str, seen_at: datetime) -> bool:
        """It is gone, and so are its users, unless it was seen again since `seen_at`."""
        chosen = and_(lease_replicas.c.id == replica, lease_replicas.c.seen_at == to_micros(seen_at))
        if self._tx.note(delete(lease_replicas).where(chosen)).rowcount != 1:
            return False
        self._tx.note(delete(lease_users).where(lease_users.c.replica == replica))
        return True


def _columns(receiver: Receiver) -> dict[str, Any]:
    return {"secret_id": receiver.secret_id, "spiffe_id": str(receiver.spiffe_id)}


def _is(receiver: Receiver) -> ColumnElement[bool]:
    return and_(leases.c.secret_id == receiver.secret_id, leases.c.spiffe_id == str(receiver.spiffe_id))


def _in(lease: Lease, state: LeaseState) -> ColumnElement[bool]:
    return and_(leases.c.id == lease.id, leases.c.state == state.value)


def _receiver(row: Row[Any]) -> Receiver:
    return Receiver(row.secret_id, SpiffeId.parse(row.spiffe_id))


def _from_row(row: Row[Any]) -> Lease:
    return Lease(
        row.id,
        _receiver(row),
        row.generation,
        LeaseState(row.state),
        row.accessor,
        row.holder,
        from_micros(row.created_at),
        row.lease_id,
        timedelta(microseconds=row.ttl),
        from_micros_or_none(row.renewed_at),
        from_micros_or_none(row.expires_at),
        from_micros_or_none(row.max_expires_at),
    )
