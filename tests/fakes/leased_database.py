"""A real PostgreSQL behind Vault's database engine, and all that holds leases of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from uuid import uuid4

import psycopg

from attestation.spiffe_id import SpiffeId
from ca.kek import Kek, KeyRing
from ca.masked import Masked
from sds.audit.event import Target
from sds.clock import Clock
from sds.secrets.leasing.lease import Lease
from sds.secrets.leasing.plan import LeasePolicy
from sds.secrets.secret import DatabaseSource, Secret, SecretKind, SecretSpec
from sds.server.events import Events, system_actor
from sds.server.secrets.leases.backend import DatabaseBackend
from sds.server.secrets.leases.keeper import LeaseKeeper
from sds.server.secrets.leases.maker import LeaseMaker
from sds.server.secrets.leases.parts import LeaseLimits, LeaseParts
from sds.server.secrets.leases.stages import LeasePassing, unwatched
from sds.server.secrets.leases.users import Users
from sds.server.secrets.sealing import Sealer
from sds.server.transactions import Transactions
from sds.store.unit_of_work import UnitOfWork
from sds.vault.database import DatabaseEngine, VaultRequests
from tests.fakes.ca import TRUST_DOMAIN
from tests.fakes.postgres import Cluster, running_cluster
from tests.fakes.vault_server import VaultServer

SERVER_POLICY = """
path "auth/token/create/{token_role}" {{ capabilities = ["update"] }}
path "auth/token/renew-accessor" {{ capabilities = ["update"] }}
path "auth/token/revoke-accessor" {{ capabilities = ["update"] }}
path "sys/leases/renew" {{ capabilities = ["update"] }}
path "sys/leases/revoke" {{ capabilities = ["update"] }}
"""
_CREATE = (
    "CREATE ROLE \"{{name}}\" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'; "
    'GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{{name}}";'
)
_DROP = 'DROP OWNED BY "{{name}}"; DROP ROLE IF EXISTS "{{name}}";'


@contextmanager
def password_cluster() -> Iterator[Cluster]:
    """A PostgreSQL that asks everybody but its administrator for a password. Raises PostgresMissing."""
    with running_cluster(settings={"max_connections": "200"}) as cluster:
        (cluster.data / "pg_hba.conf").write_text("local all sds trust\nlocal all all scram-sha-256\n")
        cluster.execute("SELECT pg_reload_conf()")
        yield cluster


class LeasedDatabase:
    """One mount, one role and one token role of a test's own. Methods block."""

    def __init__(self, vault: VaultServer, cluster: Cluster, ttl: int = 3600, max_ttl: int = 7200) -> None:
        self.vault, self.cluster = vault, cluster
        self.mount = vault.mount("database")
        self.role, self.token_role = "reader", f"sds-leases-{self.mount}"
        vault.write_blocking(
            f"{self.mount}/config/pg",
            {
                "plugin_name": "postgresql-database-plugin",
                "allowed_roles": "*",
                "connection_url": f"postgresql://sds@/postgres?host={cluster.folder}",
                "max_open_connections": 4,
                "max_idle_connections": -1,  # tests make many mounts, and none is to keep a place at the server
            },
        )
        self.define(self.role, ttl, max_ttl)
        self.child_policy = vault.policy(f'path "{self.mount}/creds/*" {{ capabilities = ["read"] }}')
        vault.write_blocking(
            f"auth/token/roles/{self.token_role}",
            {"orphan": True, "renewable": True, "allowed_policies": [self.child_policy]},
        )
        self.policy = vault.policy(SERVER_POLICY.format(token_role=self.token_role))

    @property
    def source(self) -> DatabaseSource:
        return DatabaseSource(self.mount, self.role)

    def define(self, role: str, ttl: int, max_ttl: int) -> None:
        """A role of the engine; times in seconds."""
        self.vault.write_blocking(
            f"{self.mount}/roles/{role}",
            {
                "db_name": "pg",
                "creation_statements": [_CREATE],
                "revocation_statements": [_DROP],
                "default_ttl": f"{ttl}s",
                "max_ttl": f"{max_ttl}s",
            },
        )

    def leases(self, role: str = "") -> list[str]:
        """What Vault says is leased of a role."""
        return self.vault.list_blocking(f"sys/leases/lookup/{self.mount}/creds/{role or self.role}")

    def users(self) -> list[str]:
        """The roles that Vault has made in PostgreSQL, for whatever mount."""
        with psycopg.connect(self.cluster.url("postgres"), autocommit=True) as connection:
            found = connection.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE 'v-%' ORDER BY 1").fetchall()
        return [name for (name,) in found]

    def login(self, username: str, password: str) -> bool:
        """Whether these credentials are good."""
        try:
            with psycopg.connect(
                host=str(self.cluster.folder), dbname="postgres", user=username, password=password, connect_timeout=10
            ) as connection:
                return connection.execute("SELECT 1").fetchone() == (1,)
        except psycopg.OperationalError:
            return False


class Ledger:
    """Implements LeaseObserver; remembers."""

    def __init__(self) -> None:
        self.operations: list[tuple[str, str]] = []
        self.states: tuple[int, int, int] = (0, 0, 0)
        self.oldest = timedelta(0)

    def lease_operation(self, operation: str, outcome: str) -> None:
        self.operations.append((operation, outcome))

    def leases(self, pending: int, live: int, ending: int, oldest_unrevoked: timedelta) -> None:
        self.states, self.oldest = (pending, live, ending), oldest_unrevoked


RING = KeyRing(Kek.of(Masked(b"\x2a" * 32)))
QUICK = LeasePolicy(overlap=timedelta(seconds=1.5), making=timedelta(seconds=20), settle=timedelta(seconds=1))
NO_WAIT = LeaseLimits(linger=timedelta(0), silence=timedelta(seconds=30), tick=0.3)


class Lessor:
    """One replica's leases, put together."""

    def __init__(
        self,
        store: Transactions,
        vault: VaultRequests,
        token_role: str,
        clock: Clock,
        *,
        replica: str = "one",
        policy: LeasePolicy = QUICK,
        limits: LeaseLimits = NO_WAIT,
        passing: LeasePassing = unwatched,
    ) -> None:
        self.store = store
        self.ledger = Ledger()
        self.events = Events("test")
        sealer = Sealer(lambda: RING, TRUST_DOMAIN, os.urandom)
        self.parts = LeaseParts(
            store,
            DatabaseEngine(vault, token_role),
            sealer,
            self.events,
            clock,
            self.ledger,
            replica,
            lambda: uuid4().hex,
            policy,
            limits,
            passing,
        )
        self.maker = LeaseMaker(self.parts)
        self.users = Users(store, replica, clock, limits.linger.total_seconds())
        self.keeper = LeaseKeeper(self.parts, self.maker, self.users)
        self.backend = DatabaseBackend(self.parts, self.maker, self.users, self.keeper.wake)

    async def define(self, source: DatabaseSource, name: str = "db") -> Secret:
        """The secret, as an administrator would."""
        spec = SecretSpec(name, SecretKind.MAP, source)
        return await self._audited(lambda uow: uow.secrets.create(spec, f"id-of-{name}"))

    async def change(self, secret: Secret, spec: SecretSpec) -> Secret:
        return await self._audited(lambda uow: uow.secrets.update(secret.id, spec))

    async def delete(self, secret: Secret) -> None:
        await self._audited(lambda uow: uow.secrets.delete(secret.id))

    async def rows(self) -> tuple[Lease, ...]:
        return await self.store.read(lambda uow: uow.leases.all())

    async def fetch(self, secret: Secret, receiver: SpiffeId) -> tuple[str, str]:
        """User name and password."""
        fields = (await self.backend.fetch(secret, receiver)).fields
        return fields["username"].reveal().decode(), fields["password"].reveal().decode()

    async def _audited(self, work: Callable[[UnitOfWork], Secret]) -> Secret:
        def audited(uow: UnitOfWork) -> Secret:
            made = work(uow)
            uow.audit.append(self.events.make(uow.now, "secret.test", system_actor(), Target("secret", made.id)))
            return made

        return await self.store.write(audited)

    async def actions(self) -> list[str]:
        """What the audit log says happened to leases, in order."""
        found = await self.store.read(lambda uow: uow.audit.tail(0, limit=1000))
        return [one.event.action for one in found if one.event.action.startswith("lease.")]


async def settled(keeper: LeaseKeeper, done: Callable[[], bool], seconds: float = 60.0) -> None:
    """Tick until `done`, which may block."""
    until = asyncio.get_running_loop().time() + seconds
    while not await asyncio.to_thread(done):
        assert asyncio.get_running_loop().time() < until, "it did not come about"
        await keeper.tick()
        await asyncio.sleep(0.1)
