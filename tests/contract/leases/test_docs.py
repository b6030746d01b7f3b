"""docs/secrets-dynamic.md as an operator reads it: its commands and policies set up a real Vault, and leases work."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from attestation.spiffe_id import SpiffeId
from sds.clock import SystemClock
from sds.config.named_secrets.leases import LeasesSection
from sds.secrets.errors import SecretDenied
from sds.secrets.secret import DatabaseSource
from sds.store.store import open_store
from sds.vault.auth.token_file import TokenFile
from tests.contract.conftest import QUICK as QUICK_STORE
from tests.fakes.leased_database import Lessor, settled
from tests.fakes.postgres import Cluster
from tests.fakes.vault_client import http_options, put_together, token_file
from tests.fakes.vault_server import VaultServer

DOCS = Path(__file__).parents[3] / "docs"
WEB = SpiffeId.parse("spiffe://example.org/orders")


def block(page: str, heading: str, language: str) -> str:
    """The first block of a language below a heading."""
    below = (DOCS / page).read_text().split(f"\n{heading}\n", 1)[1]
    found = re.search(rf"^```{language}\n(.*?)^```$", below, re.DOTALL | re.MULTILINE)
    assert found is not None, heading
    return found[1]


@pytest.fixture
def shop(cluster: Cluster) -> Iterator[Cluster]:
    """The database that the page speaks of."""
    cluster.execute("CREATE DATABASE shop", "CREATE ROLE orders_app", "CREATE ROLE vault CREATEROLE LOGIN PASSWORD 'x'")
    cluster.execute("ALTER ROLE vault PASSWORD 'change-me'", "GRANT orders_app TO vault WITH ADMIN OPTION")
    yield cluster
    cluster.execute("DROP DATABASE shop WITH (FORCE)", "DROP ROLE orders_app", "DROP ROLE vault")


def set_up(vault: VaultServer, shop: Cluster, folder: Path) -> None:
    """Type what the pages say."""
    (folder / "sds.hcl").write_text(block("vault.md", "## What the server may do", "hcl"))
    (folder / "sds-leases.hcl").write_text(block("secrets-dynamic.md", "## Set it up", "hcl"))
    (folder / "bin").mkdir()
    (folder / "bin" / "vault").symlink_to(vault.binary.path)
    commands = block("vault.md", "## What the server may do", "console")
    commands += block("secrets-dynamic.md", "## Set it up", "console")
    script = "\n".join(line.removeprefix("$ ") for line in commands.splitlines())
    script = script.replace("@db.example.org/shop", f"@/shop?host={shop.folder}")
    environment = os.environ | {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "VAULT_ADDR": vault.url,
        "VAULT_TOKEN": vault.root,
        "HOME": str(folder),
    }
    done = subprocess.run(
        ["bash", "-euc", script], check=False, env=environment, cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(120)
async def test_what_the_page_sets_up_leases_and_revokes(
    vault_own: VaultServer, shop: Cluster, sqlite_url: str, tmp_path: Path
) -> None:
    set_up(vault_own, shop, tmp_path)
    token = token_file(tmp_path, vault_own.token("sds"))
    client = put_together(http_options(vault_own), TokenFile(token)).client
    store = open_store(sqlite_url, clock=SystemClock(), limits=QUICK_STORE)
    lessor = Lessor(store, client, LeasesSection().token_role, SystemClock())
    secret = await lessor.define(DatabaseSource("database", "orders"), "orders-db")
    username, password = await lessor.fetch(secret, WEB)
    with psycopg.connect(host=str(shop.folder), dbname="shop", user=username, password=password) as connection:
        assert connection.execute("SELECT pg_has_role('orders_app', 'member')").fetchone() == (True,)
    other = await lessor.define(DatabaseSource("database", "admin"), "admin-db")
    with pytest.raises(SecretDenied):
        await lessor.fetch(other, WEB)

    await lessor.backend.release(secret, WEB)

    def gone() -> bool:
        return not vault_own.list_blocking("sys/leases/lookup/database/creds/orders")

    await settled(lessor.keeper, gone)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(host=str(shop.folder), dbname="shop", user=username, password=password)
    await client.close()
    await store.close()
