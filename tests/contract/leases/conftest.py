"""Fixtures of the tests of leases: a real PostgreSQL behind a real Vault, and one replica that leases from it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from sds.clock import SystemClock
from sds.secrets.secret import Secret
from sds.store.store import Store, open_store
from sds.vault.auth.token_file import TokenFile
from sds.vault.client import VaultClient
from tests.contract.conftest import QUICK as QUICK_STORE
from tests.fakes.leased_database import LeasedDatabase, Lessor, password_cluster
from tests.fakes.postgres import Cluster, PostgresMissing
from tests.fakes.vault_client import http_options, put_together, token_file
from tests.fakes.vault_server import VaultServer


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    try:
        with password_cluster() as running:
            yield running
    except PostgresMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture
def database(vault_shared: VaultServer, cluster: Cluster) -> LeasedDatabase:
    return LeasedDatabase(vault_shared, cluster)


@pytest.fixture
async def vault(database: LeasedDatabase, tmp_path: Path) -> AsyncIterator[VaultClient]:
    """With no more rights than the documented policy gives."""
    method = TokenFile(token_file(tmp_path, database.vault.token(database.policy)))
    client = put_together(http_options(database.vault), method).client
    yield client
    await client.close()


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    opened = open_store(database_url, clock=SystemClock(), limits=QUICK_STORE)
    yield opened
    await opened.close()


@pytest.fixture
async def lessor(store: Store, vault: VaultClient, database: LeasedDatabase) -> Lessor:
    return Lessor(store, vault, database.token_role, SystemClock())


@pytest.fixture
async def secret(lessor: Lessor, database: LeasedDatabase) -> Secret:
    return await lessor.define(database.source)
