"""The other side of the backend for dynamic credentials: a real Vault before a real PostgreSQL."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Self

from sds.secrets.secret import Secret, SecretKind
from sds.vault.auth.token_file import TokenFile
from tests.contract.secrets.harness import Ability, Harness, World
from tests.fakes.leased_database import LeasedDatabase, Lessor
from tests.fakes.vault_client import http_options, put_together, token_file
from tests.fakes.vault_server import vault_binaries


class DatabaseHarness(Harness):
    name = "database"
    abilities = frozenset({Ability.CHANGE, Ability.RECEIVERS})
    kind = SecretKind.MAP

    def __init__(self, lessor: Lessor, database: LeasedDatabase) -> None:
        self.lessor = lessor
        self.database = database
        self.backend = lessor.backend
        self._ids = count(1)

    @classmethod
    @asynccontextmanager
    async def open(cls, world: World) -> AsyncIterator[Self]:
        vault = world.request.getfixturevalue("vaults")(vault_binaries()[-1])
        database = LeasedDatabase(vault, world.request.getfixturevalue("postgres_cluster"))
        with tempfile.TemporaryDirectory(prefix="sds-") as folder:
            method = TokenFile(token_file(Path(folder), vault.token(database.policy)))
            client = put_together(http_options(vault), method).client
            yield cls(Lessor(world.store, client, database.token_role, world.clock), database)
            await client.close()

    async def define(self, name: str = "s") -> Secret:
        return await self.lessor.define(self.database.source, name)

    async def change(self, secret: Secret) -> None:
        """All receivers' credentials are replaced, as when they near their longest life."""
        for lease in await self.lessor.rows():
            if lease.receiver.secret_id == secret.id:
                await self.lessor.maker.make(secret, lease.receiver, replaces=lease)
