"""Makes a lease so that a crash at any point leaves a row from which all of it can be revoked."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime

from ca.masked import Masked
from sds.audit.event import Outcome
from sds.logs import get_logger
from sds.secrets.errors import SecretMissing, SecretUnavailable
from sds.secrets.leasing.lease import Lease, LeaseState, Receiver
from sds.secrets.secret import DatabaseSource, Secret, Source
from sds.server.secrets.leases.parts import LeaseParts, as_secret_error, lease_place, of_source
from sds.server.secrets.leases.stages import LeaseStage
from sds.store.errors import NotFound
from sds.store.secrets.leases import SealedCredentials
from sds.store.unit_of_work import UnitOfWork
from sds.vault.database import ChildToken, Credentials
from sds.vault.errors import VaultError, VaultUnavailable


@dataclass(frozen=True, slots=True)
class _Begun:
    """A pending lease, and the token whose accessor it has."""

    lease: Lease
    child: ChildToken


class LeaseMaker:
    """In turn: a token at Vault, its accessor in the database, credentials on that token, and those in the database."""

    def __init__(self, parts: LeaseParts) -> None:
        self._parts = parts
        self._log = get_logger(__name__)

    async def make(self, secret: Secret, receiver: Receiver, *, replaces: Lease | None = None) -> bool:
        """A live lease for the receiver. False if somebody else makes one at this moment, or has.

        Raises SecretError, StoreError.
        """
        operation = "create" if replaces is None else "replace"
        source = secret.spec.source
        if not isinstance(source, DatabaseSource):
            raise SecretUnavailable("its source is no database engine")
        try:
            begun = await self._begin(secret, receiver, operation, 0 if replaces is None else replaces.generation)
            if begun is None:
                return False
            await self._fill(begun, source)
        except VaultError as error:
            self._parts.observer.lease_operation(operation, "failure")
            raise as_secret_error(error) from error
        self._parts.observer.lease_operation(operation, "success")
        return True

    async def _begin(self, secret: Secret, receiver: Receiver, operation: str, older: int) -> _Begun | None:
        """The row, and the token that it knows. Raises VaultError, SecretError, StoreError."""
        parts = self._parts
        about = {"sds_secret": secret.name, "spiffe_id": str(receiver.spiffe_id)}
        child = await parts.engine.child_token(about)
        parts.passing(LeaseStage.TOKEN)
        lease = Lease(parts.new_id(), receiver, 0, LeaseState.PENDING, child.accessor, parts.replica, parts.clock.now())
        parts.making.add(lease.id)
        stored: Lease | None = None
        try:
            stored = await parts.store.write(lambda uow: self._store(uow, lease, operation, older))
        finally:
            if stored is None:  # nothing hangs on the token, and it ends by itself, should this fail
                parts.making.discard(lease.id)
                await self._drop_token(child.accessor)
        if stored is None:
            return None
        parts.passing(LeaseStage.BEGUN)
        return _Begun(stored, child)

    def _store(self, uow: UnitOfWork, lease: Lease, operation: str, older: int) -> Lease | None:
        """None if somebody else makes one, or has made one that is newer than the generation `older`."""
        parts = self._parts
        try:
            source = uow.secrets.get(lease.receiver.secret_id).spec.source
        except NotFound as gone:
            raise SecretMissing("the secret was deleted") from gone
        if uow.leases.count() >= parts.limits.leases:
            raise SecretUnavailable(f"there are {parts.limits.leases} leases already (secrets.leases.max_leases)")
        standing = uow.leases.of(lease.receiver)
        if any(self._under_way(one) or _newer(one, older, source, uow.now) for one in standing):
            return None
        numbered = replace(lease, generation=standing[0].generation + 1 if standing else 1, created_at=uow.now)
        uow.leases.use(lease.receiver, parts.replica)
        if not uow.leases.begin(numbered):
            return None
        uow.audit.append(parts.event(uow, f"lease.{operation}", numbered))
        return numbered

    def _under_way(self, lease: Lease) -> bool:
        """Not if this replica has begun it and left it behind."""
        ours = lease.holder == self._parts.replica
        return lease.state is LeaseState.PENDING and (not ours or lease.id in self._parts.making)

    async def _fill(self, begun: _Begun, source: DatabaseSource) -> None:
        """Raises VaultError, SecretError, StoreError."""
        parts, lease = self._parts, begun.lease
        try:
            asked_at = parts.clock.now()
            made = await parts.engine.credentials(source, begun.child)
            parts.passing(LeaseStage.ANSWERED)
            live = _live(lease, made, asked_at)
            done = await parts.knowing(lambda: parts.store.write(lambda uow: self._activate(uow, live, made)))
            if not done:
                raise SecretUnavailable("the lease was given up before Vault had answered")
            parts.passing(LeaseStage.LIVE)
        except VaultError as error:
            await self._give_up(lease, str(error), unclear=isinstance(error, VaultUnavailable))
            raise
        finally:  # whatever is pending from here on has been left behind
            parts.making.discard(lease.id)

    def _activate(self, uow: UnitOfWork, live: Lease, made: Credentials) -> bool:
        secret_id = live.receiver.secret_id
        try:
            key = self._parts.sealer.data_key(uow, secret_id)
        except NotFound:
            return False  # deleted meanwhile; the row is left behind as pending
        plain = json.dumps({"username": made.username.reveal().decode(), "password": made.password.reveal().decode()})
        box = self._parts.sealer.seal(secret_id, key, lease_place(live), Masked(plain.encode()))
        return uow.leases.activate(live, SealedCredentials(box.nonce, box.ciphertext))

    async def _give_up(self, lease: Lease, reason: str, *, unclear: bool) -> None:
        """`unclear`: Vault may still be working on it. Raises StoreError; then the row is found as left behind."""
        parts = self._parts

        def work(uow: UnitOfWork) -> None:
            at = uow.now + parts.policy.settle if unclear else uow.now
            if uow.leases.end(lease, at):
                uow.audit.append(parts.event(uow, "lease.create", lease, reason=reason, outcome=Outcome.FAILURE))

        await parts.store.write(work)

    async def _drop_token(self, accessor: str) -> None:
        try:
            await self._parts.engine.revoke(accessor, "")
        except VaultError as error:
            self._log.info("a token that nothing hangs on is left to end by itself", reason=str(error))


def _newer(lease: Lease, older: int, source: Source, now: datetime) -> bool:
    return lease.generation > older and lease.usable(now) and of_source(lease, source)


def _live(lease: Lease, made: Credentials, asked_at: datetime) -> Lease:
    expires_at = asked_at + made.ttl
    return replace(
        lease,
        lease_id=made.lease_id,
        ttl=made.ttl,
        expires_at=expires_at,
        max_expires_at=None if made.renewable else expires_at,
    )
