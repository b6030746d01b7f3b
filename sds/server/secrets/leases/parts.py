"""What all that deals with leases shares."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol, TypeVar

from sds.audit.event import AuditEvent, Outcome, Target
from sds.clock import Clock
from sds.secrets.errors import SecretDenied, SecretError, SecretMalformed, SecretMissing, SecretUnavailable
from sds.secrets.leasing.lease import Lease
from sds.secrets.leasing.plan import LeasePolicy
from sds.secrets.secret import DatabaseSource, Source
from sds.server.events import Events, system_actor
from sds.server.secrets.leases.stages import LeasePassing, unwatched
from sds.server.secrets.sealing import Sealer, UnknownKek
from sds.server.transactions import Transactions
from sds.store.unit_of_work import UnitOfWork
from sds.vault.database import DatabaseEngine, lease_prefix
from sds.vault.errors import VaultDenied, VaultError, VaultNotFound, VaultRefused

T = TypeVar("T")


class LeaseObserver(Protocol):
    """`operation`: create, renew, replace, revoke or orphan; `outcome`: success or failure."""

    def lease_operation(self, operation: str, outcome: str) -> None: ...

    def leases(self, pending: int, live: int, ending: int, oldest_unrevoked: timedelta) -> None:
        """How many there are; `oldest_unrevoked`: for how long Vault should have revoked one and has not."""
        ...


@dataclass(frozen=True, slots=True)
class LeaseLimits:
    """`leases`: rows at most, whatever their state. `linger`: how long after a start the users of before are waited
    for. `silence`: after which a replica counts as gone. `patience`: how long to wait for a lease that another replica
    is making. All times in seconds but where they are timedeltas.
    """

    leases: int = 10_000
    linger: timedelta = timedelta(minutes=2)
    silence: timedelta = timedelta(minutes=2)
    patience: float = 15.0
    tick: float = 5.0
    at_once: int = 8


@dataclass(frozen=True, slots=True)
class LeaseParts:
    """`replica` names this server, the same after a restart. `making`: IDs of leases under way in this process.

    `learn` is told of a key-encryption key that is missing: where replicas share a ring, it fetches that.
    """

    store: Transactions
    engine: DatabaseEngine
    sealer: Sealer
    events: Events
    clock: Clock
    observer: LeaseObserver
    replica: str
    new_id: Callable[[], str]
    policy: LeasePolicy = field(default_factory=LeasePolicy)
    limits: LeaseLimits = field(default_factory=LeaseLimits)
    passing: LeasePassing = unwatched
    making: set[str] = field(default_factory=set)
    learn: Callable[[str], Awaitable[None]] | None = None

    async def knowing(self, transaction: Callable[[], Awaitable[T]]) -> T:
        """The transaction, once more if another replica has rotated the key-encryption key that it needs."""
        try:
            return await transaction()
        except UnknownKek as unknown:
            if self.learn is None:
                raise
            await self.learn(unknown.kek_id)
            return await transaction()

    def event(
        self, uow: UnitOfWork, action: str, lease: Lease, *, reason: str = "", outcome: Outcome = Outcome.SUCCESS
    ) -> AuditEvent:
        """``lease.create``, ``lease.replace``, ``lease.revoke`` or ``lease.orphan``."""
        return self.events.make(
            uow.now,
            action,
            system_actor(),
            Target("lease", lease.id),
            outcome=outcome,
            reason=reason,
            details={
                "secret_id": lease.receiver.secret_id,
                "spiffe_id": str(lease.receiver.spiffe_id),
                "generation": lease.generation,
            },
        )


def as_secret_error(error: VaultError) -> SecretError:
    """What operators see of it."""
    match error:
        case VaultDenied():
            return SecretDenied(str(error))
        case VaultNotFound():
            return SecretMissing(str(error))
        case VaultRefused():
            return SecretMalformed(str(error))
        case _:
            return SecretUnavailable(str(error))


def lease_place(lease: Lease) -> str:
    """Where sealed credentials belong; they open nowhere else."""
    return f"lease {lease.id}"


def of_source(lease: Lease, source: Source) -> bool:
    """Whether a live lease was made by this source: the secret's definition may have changed since."""
    return isinstance(source, DatabaseSource) and lease.lease_id.startswith(lease_prefix(source))
