"""kill -9 at every stage of a lease's life: after a restart Vault leases nothing that we know nothing of."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from attestation.spiffe_id import SpiffeId
from sds.clock import SystemClock
from sds.server.secrets.leases.stages import LeaseStage
from sds.store.store import open_store
from sds.vault.auth.token_file import TokenFile
from tests.contract.conftest import QUICK as QUICK_STORE
from tests.fakes.leased_database import LeasedDatabase, Lessor, settled
from tests.fakes.postgres import Cluster
from tests.fakes.vault_client import http_options, put_together, token_file
from tests.fakes.vault_server import VaultServer

WEB = SpiffeId.parse("spiffe://example.org/web")
LEFT_BEHIND = {
    LeaseStage.TOKEN: (0, []),
    LeaseStage.BEGUN: (0, ["pending"]),
    LeaseStage.ANSWERED: (1, ["pending"]),
    LeaseStage.LIVE: (1, ["live"]),
    LeaseStage.ENDED: (1, ["ending"]),
    LeaseStage.REVOKED: (0, ["ending"]),
}
"""Leases at Vault, and states of rows, when the process has just died."""


@pytest.mark.timeout(240)
@pytest.mark.parametrize("stage", LeaseStage)
async def test_killed_at_any_stage_nothing_is_leaked(
    stage: LeaseStage, sqlite_url: str, vault_shared: VaultServer, cluster: Cluster, tmp_path: Path
) -> None:
    database = LeasedDatabase(vault_shared, cluster)
    token = token_file(tmp_path, vault_shared.token(database.policy))
    store = open_store(sqlite_url, clock=SystemClock(), limits=QUICK_STORE)
    client = put_together(http_options(vault_shared), TokenFile(token)).client
    lessor = Lessor(store, client, database.token_role, SystemClock())
    secret = await lessor.define(database.source)

    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.contract.leases.dying_lessor"),
        *(sqlite_url, vault_shared.url, str(token), database.token_role, stage.value),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == -9, out.decode()
    at_vault, states = LEFT_BEHIND[stage]
    assert len(database.leases()) == at_vault
    assert [row.state.value for row in await lessor.rows()] == states

    await settled(lessor.keeper, lambda: not database.leases())
    async with asyncio.timeout(60):
        while await lessor.rows():
            await lessor.keeper.tick()
            await asyncio.sleep(0.1)
    assert await asyncio.to_thread(tokens_of, vault_shared, database) == []
    if stage in {LeaseStage.BEGUN, LeaseStage.ANSWERED}:
        assert (await lessor.actions()).count("lease.orphan") == 1

    username, password = await lessor.fetch(secret, WEB)
    assert database.login(username, password), "and it goes on"
    await client.close()
    await store.close()


def tokens_of(vault: VaultServer, database: LeasedDatabase) -> list[str]:
    """Tokens from the role that live for longer than one does that nothing hangs on."""
    found = []
    for accessor in vault.list_blocking("auth/token/accessors"):
        answer = vault.call_blocking("auth/token/lookup-accessor", {"accessor": accessor})
        if answer.is_success:  # else it has ended meanwhile
            token = answer.json()["data"]
            if token.get("role") == database.token_role and token["ttl"] > 120:
                found.append(accessor)
    return found
