"""A server's leases, that are killed at one moment of a lease's life.

python -m tests.contract.leases.dying_lessor DATABASE_URL VAULT TOKEN_FILE TOKEN_ROLE STAGE

Takes the secret `id-of-db` from the database, fetches it for one identity, and gives it back; ends itself with SIGKILL
when a lease has come to STAGE.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from attestation.spiffe_id import SpiffeId
from sds.clock import SystemClock
from sds.server.secrets.leases.stages import LeaseStage
from sds.store.store import open_store
from sds.vault.auth.token_file import TokenFile
from sds.vault.http import HttpOptions
from tests.fakes.leased_database import Lessor
from tests.fakes.vault_client import put_together

WEB = SpiffeId.parse("spiffe://example.org/web")


async def main(url: str, vault: str, token: str, token_role: str, stage: str) -> None:
    def passing(reached: LeaseStage) -> None:
        if reached == stage:
            os.kill(os.getpid(), signal.SIGKILL)

    store = open_store(url, clock=SystemClock())
    client = put_together(HttpOptions(vault, timeout=20), TokenFile(Path(token))).client
    lessor = Lessor(store, client, token_role, SystemClock(), passing=passing)
    secret = await store.read(lambda uow: uow.secrets.get("id-of-db"))
    await lessor.keeper.tick()
    await lessor.fetch(secret, WEB)
    await lessor.backend.release(secret, WEB)
    while await lessor.rows():
        await lessor.keeper.tick()
        await asyncio.sleep(0.1)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
