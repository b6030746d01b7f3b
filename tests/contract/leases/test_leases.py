"""Dynamic credentials against a real PostgreSQL behind a real Vault's database engine."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from attestation.spiffe_id import SpiffeId
from sds.clock import SystemClock
from sds.secrets.errors import SecretDenied, SecretError, SecretMalformed, SecretUnavailable
from sds.secrets.leasing.lease import LeaseState
from sds.secrets.leasing.plan import LeasePolicy
from sds.secrets.secret import DatabaseSource, Secret
from sds.store.records import ChangeKind
from sds.store.store import Store
from sds.vault.auth.token_file import TokenFile
from sds.vault.client import VaultClient
from tests.fakes.leased_database import NO_WAIT, QUICK, LeasedDatabase, Lessor, password_cluster, settled
from tests.fakes.postgres import Cluster
from tests.fakes.vault_client import http_options, put_together, token_file
from tests.fakes.vault_server import VaultServer

WEB = SpiffeId.parse("spiffe://example.org/web")
OTHER = SpiffeId.parse("spiffe://example.org/other")
pytestmark = pytest.mark.timeout(180)


@pytest.mark.both_vaults
async def test_credentials_log_in_and_do_so_no_more_once_nobody_uses_them(
    lessor: Lessor, secret: Secret, database: LeasedDatabase
) -> None:
    username, password = await lessor.fetch(secret, WEB)
    assert database.login(username, password)
    assert not database.login(username, "another")
    assert len(database.leases()) == 1

    await lessor.backend.release(secret, WEB)
    await settled(lessor.keeper, lambda: not database.leases() and not database.login(username, password))
    assert username not in database.users()
    assert await lessor.rows() == ()
    assert await lessor.actions() == ["lease.create", "lease.revoke"]


async def test_one_lease_an_identity_however_often_it_is_asked_for(
    lessor: Lessor, secret: Secret, database: LeasedDatabase
) -> None:
    answers = await asyncio.gather(*(lessor.fetch(secret, WEB) for _ in range(8)))
    assert len(set(answers)) == 1
    assert (await lessor.fetch(secret, OTHER)) not in answers
    assert len(database.leases()) == 2
    versions = await lessor.backend.versions(secret)
    assert {one.created_by for one in versions} == {str(WEB), str(OTHER)}


async def test_nothing_of_it_lies_in_the_database_in_clear(
    lessor: Lessor, secret: Secret, store: Store, database: LeasedDatabase
) -> None:
    username, password = await lessor.fetch(secret, WEB)
    (row,) = await lessor.rows()
    sealed = await store.read(lambda uow: uow.leases.credentials(row))
    assert sealed is not None
    for value in (username, password):
        assert value.encode() not in sealed.ciphertext
        assert value not in repr(row) + repr(sealed)
    assert row.lease_id in {f"{database.mount}/creds/{database.role}/{one}" for one in database.leases()}


async def test_a_restart_keeps_the_lease_and_two_replicas_share_it(
    lessor: Lessor, secret: Secret, store: Store, vault: VaultClient, database: LeasedDatabase
) -> None:
    first = await lessor.fetch(secret, WEB)
    patient = replace(NO_WAIT, linger=timedelta(hours=1))
    again = Lessor(store, vault, database.token_role, SystemClock(), limits=patient)
    await again.keeper.tick()
    assert await again.fetch(secret, WEB) == first
    second = Lessor(store, vault, database.token_role, SystemClock(), replica="two")
    assert await second.fetch(secret, WEB) == first

    await again.backend.release(secret, WEB)
    await again.keeper.tick()
    assert database.login(*first), "another replica has users"
    await second.backend.release(secret, WEB)
    await settled(second.keeper, lambda: not database.login(*first))


async def test_users_of_before_a_restart_are_waited_for_and_then_gone(
    lessor: Lessor, secret: Secret, store: Store, vault: VaultClient, database: LeasedDatabase
) -> None:
    first = await lessor.fetch(secret, WEB)
    again = Lessor(store, vault, database.token_role, SystemClock())  # waits for nobody
    await settled(again.keeper, lambda: not database.login(*first))
    assert not database.leases()


async def test_two_replicas_at_once_make_one(
    store: Store, vault: VaultClient, database: LeasedDatabase, lessor: Lessor, secret: Secret
) -> None:
    replicas = [
        Lessor(store, vault, database.token_role, SystemClock(), replica=f"replica {number}") for number in range(3)
    ]
    answers = await asyncio.gather(*(one.fetch(secret, WEB) for one in replicas))
    assert len(set(answers)) == 1
    assert len(database.leases()) == 1
    assert await lessor.actions() == ["lease.create"]


async def test_a_replica_that_is_not_heard_of_leaves_nothing_behind(
    lessor: Lessor, secret: Secret, store: Store, vault: VaultClient, database: LeasedDatabase
) -> None:
    gone = await lessor.fetch(secret, WEB)
    impatient = replace(NO_WAIT, silence=timedelta(seconds=1))
    other = Lessor(store, vault, database.token_role, SystemClock(), replica="two", limits=impatient)
    await settled(other.keeper, lambda: not database.login(*gone))
    assert not database.leases()


async def test_a_deleted_secret_ends_all_its_leases(lessor: Lessor, secret: Secret, database: LeasedDatabase) -> None:
    both = [await lessor.fetch(secret, one) for one in (WEB, OTHER)]
    await lessor.delete(secret)
    await settled(lessor.keeper, lambda: not any(database.login(*one) for one in both))
    assert not database.leases()
    with pytest.raises(SecretError):
        await lessor.fetch(secret, WEB)


async def test_another_role_means_other_credentials_after_an_overlap(
    lessor: Lessor, secret: Secret, database: LeasedDatabase
) -> None:
    database.define("writer", 3600, 7200)
    before = await lessor.fetch(secret, WEB)
    changed = await lessor.change(secret, replace(secret.spec, source=DatabaseSource(database.mount, "writer")))
    after = await lessor.fetch(changed, WEB)
    assert after != before
    assert len(database.leases("writer")) == 1
    await settled(lessor.keeper, lambda: not database.login(*before))
    assert database.login(*after)


@pytest.mark.slow_on("postgresql")  # the wait is for Vault, and its store is tested by the others
async def test_a_lease_is_renewed_for_as_long_as_it_is_used(
    lessor: Lessor, vault_shared: VaultServer, cluster: Cluster
) -> None:
    short = LeasedDatabase(vault_shared, cluster, ttl=6, max_ttl=3600)
    one = Lessor(lessor.store, lessor.parts.engine._vault, lessor.parts.engine._token_role, SystemClock())
    vault_shared.write_blocking(
        f"auth/token/roles/{one.parts.engine._token_role}",
        {"orphan": True, "renewable": True, "allowed_policies": [short.child_policy]},
    )
    secret = await one.define(short.source, "short")
    credentials = await one.fetch(secret, WEB)
    (row,) = await one.rows()
    until = time.monotonic() + 10
    await settled(one.keeper, lambda: time.monotonic() > until)
    assert short.login(*credentials)
    (now,) = await one.rows()
    assert (now.id, now.generation) == (row.id, 1)
    assert now.renewed_at is not None
    assert one.ledger.operations.count(("renew", "success")) >= 2


@pytest.mark.slow_on("postgresql")  # the wait is for Vault, and its store is tested by the others
async def test_max_ttl_is_met_with_an_overlap_in_which_no_connection_fails(
    store: Store, vault: VaultClient, vault_shared: VaultServer, cluster: Cluster, tmp_path: Path
) -> None:
    """A client that connects anew all the time, by the credentials that it was last sent, with some delay."""
    short = LeasedDatabase(vault_shared, cluster, ttl=9, max_ttl=15)
    client = put_together(http_options(vault_shared), TokenFile(token_file(tmp_path, vault_shared.root, "r"))).client
    lessor = Lessor(store, client, short.token_role, SystemClock(), policy=replace(QUICK, overlap=timedelta(seconds=2)))
    secret = await lessor.define(short.source, "short")
    held = [await lessor.fetch(secret, WEB)]
    failures: list[str] = []
    tries = [0]
    end = threading.Event()

    def connect() -> None:
        while not end.is_set():
            username, password = held[-1]
            tries[0] += 1
            try:
                psycopg.connect(
                    host=str(cluster.folder), dbname="postgres", user=username, password=password, connect_timeout=10
                ).close()
            except psycopg.OperationalError as error:
                failures.append(f"{len(held)}: {error}")
            time.sleep(0.02)

    connecting = asyncio.create_task(asyncio.to_thread(connect))
    keeping = asyncio.create_task(lessor.keeper.run())
    try:
        async with asyncio.timeout(120):
            while len(held) < 4:  # the third was replaced, too
                current = await lessor.fetch(secret, WEB)
                if current != held[-1]:
                    held.append(current)
                await asyncio.sleep(0.1)
    finally:
        end.set()
        await connecting
    assert failures == []
    assert tries[0] > 50
    async with asyncio.timeout(60):
        while any([await asyncio.to_thread(short.login, *one) for one in held[:-1]]):
            await asyncio.sleep(0.2)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    assert (await lessor.actions()).count("lease.replace") >= 3
    changes = (await store.read(lambda uow: uow.changes.since(0))).changes
    assert any((one.kind, one.key) == (ChangeKind.SECRET, secret.id) for one in changes), "receivers are told"
    await client.close()


async def test_what_vault_forgot_is_replaced_when_it_would_be_renewed(
    lessor: Lessor, vault_shared: VaultServer, cluster: Cluster, tmp_path: Path
) -> None:
    """Its administrator has revoked the token that the credentials hang on."""
    short = LeasedDatabase(vault_shared, cluster, ttl=6, max_ttl=3600)
    client = put_together(http_options(vault_shared), TokenFile(token_file(tmp_path, vault_shared.root, "r"))).client
    one = Lessor(lessor.store, client, short.token_role, SystemClock())
    secret = await one.define(short.source, "short")
    before = await one.fetch(secret, WEB)
    (row,) = await one.rows()
    await vault_shared.write("auth/token/revoke-accessor", {"accessor": row.accessor})

    def replaced() -> bool:
        return ("replace", "success") in one.ledger.operations

    await settled(one.keeper, replaced)
    after = await one.fetch(secret, WEB)
    assert after != before
    assert short.login(*after)
    await client.close()


async def test_the_servers_own_token_may_end_and_its_leases_live(
    lessor: Lessor, secret: Secret, database: LeasedDatabase, store: Store, tmp_path: Path
) -> None:
    token = database.vault.token(database.policy)
    client = put_together(http_options(database.vault), TokenFile(token_file(tmp_path, token, "first"))).client
    one = Lessor(store, client, database.token_role, SystemClock())
    credentials = await one.fetch(secret, WEB)
    await database.vault.write("auth/token/revoke", {"token": token})
    assert len(database.leases()) == 1
    assert database.login(*credentials)
    assert await one.fetch(secret, WEB) == credentials, "from what is stored; Vault is not asked"
    await one.backend.release(secret, WEB)
    await one.keeper.tick()
    assert len(database.leases()) == 1, "it cannot be revoked without a token"
    assert [row.state for row in await one.rows()] == [LeaseState.ENDING]
    token_file(tmp_path, database.vault.token(database.policy), "first")
    await settled(one.keeper, lambda: not database.leases())
    await client.close()


async def test_a_token_role_whose_tokens_are_no_orphans_is_refused(
    lessor: Lessor, secret: Secret, database: LeasedDatabase
) -> None:
    database.vault.write_blocking(
        f"auth/token/roles/{database.token_role}", {"orphan": False, "allowed_policies": [database.child_policy]}
    )
    with pytest.raises(SecretMalformed, match="orphan=true"):
        await lessor.fetch(secret, WEB)
    assert await lessor.rows() == ()


async def test_what_vault_does_not_let_us_have_is_told_apart_and_leaves_nothing(
    lessor: Lessor, database: LeasedDatabase
) -> None:
    unknown = await lessor.define(DatabaseSource(database.mount, "nobody"), "unknown")
    with pytest.raises(SecretMalformed, match="nobody"):
        await lessor.fetch(unknown, WEB)
    other = database.vault.mount("database")
    denied = await lessor.define(DatabaseSource(other, "reader"), "denied")
    with pytest.raises(SecretDenied):
        await lessor.fetch(denied, WEB)
    await lessor.keeper.tick()
    await lessor.keeper.tick()
    assert await lessor.rows() == ()


async def test_no_vault_no_new_credentials_and_what_there_is_stays(
    vault_own: VaultServer, cluster: Cluster, store: Store, tmp_path: Path
) -> None:
    database = LeasedDatabase(vault_own, cluster)
    client = put_together(
        http_options(vault_own, timeout=2), TokenFile(token_file(tmp_path, vault_own.root, "r"))
    ).client
    lessor = Lessor(store, client, database.token_role, SystemClock())
    secret = await lessor.define(database.source)
    credentials = await lessor.fetch(secret, WEB)
    vault_own.pause()
    assert await lessor.fetch(secret, WEB) == credentials
    with pytest.raises(SecretUnavailable):
        await lessor.fetch(secret, OTHER)
    vault_own.resume()
    async with asyncio.timeout(60):
        while True:
            try:
                await lessor.fetch(secret, OTHER)
                break
            except SecretUnavailable:
                await lessor.keeper.tick()
                await asyncio.sleep(0.2)

    def tidy() -> bool:
        return len(database.leases()) == 2

    await settled(lessor.keeper, tidy)
    assert {row.state for row in await lessor.rows()} == {LeaseState.LIVE}
    await client.close()


async def test_a_database_that_is_down_keeps_what_must_be_revoked(
    vault_shared: VaultServer, store: Store, tmp_path: Path
) -> None:
    with password_cluster() as own:
        database = LeasedDatabase(vault_shared, own)
        client = put_together(
            http_options(vault_shared), TokenFile(token_file(tmp_path, vault_shared.root, "r"))
        ).client
        lessor = Lessor(store, client, database.token_role, SystemClock(), policy=LeasePolicy())
        secret = await lessor.define(database.source)
        credentials = await lessor.fetch(secret, WEB)
        own.stop(immediately=True)
        await lessor.backend.release(secret, WEB)
        for _ in range(3):
            await lessor.keeper.tick()
        assert [row.state for row in await lessor.rows()] == [LeaseState.ENDING]
        assert ("revoke", "failure") in lessor.ledger.operations
        own.start()
        await settled(lessor.keeper, lambda: not database.leases(), 120)
        assert not database.login(*credentials)
        assert await lessor.rows() == ()
        await client.close()
