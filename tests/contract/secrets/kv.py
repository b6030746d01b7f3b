"""The other side of the backend for Vault's KV engine: a real server, written to as root, read with a narrow policy."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, Self
from uuid import uuid4

from sds.clock import SystemClock
from sds.secrets.secret import KvSource, Secret, SecretKind, SecretSpec
from sds.vault.auth.token_file import TokenFile
from sds.vault.kv import KvBackend
from tests.contract.secrets.harness import CANARY, Ability, Harness, World
from tests.contract.store.samples import change
from tests.fakes.vault_client import http_options, put_together, token_file
from tests.fakes.vault_cut import CutVault
from tests.fakes.vault_server import VaultBinary, VaultServer, vault_binaries

FIELD = "value"


class KvHarness(Harness):
    name = "kv"
    abilities = frozenset(
        {
            Ability.PUT,
            Ability.CHANGE,
            Ability.EMPTY,
            Ability.SPOIL,
            Ability.DENY,
            Ability.CUT,
            Ability.VERSIONS,
            Ability.SHARED,
        }
    )
    kind = SecretKind.GENERIC
    binary: ClassVar[VaultBinary]

    def __init__(self, world: World, server: VaultServer, mount: str, policy: str, vault: CutVault) -> None:
        self.world = world
        self.server = server
        self.mount = mount
        self.policy = policy
        self.vault = vault
        self.backend = KvBackend(vault, SystemClock())
        self._ids = count(1)

    @classmethod
    @asynccontextmanager
    async def open(cls, world: World) -> AsyncIterator[Self]:
        server: VaultServer = world.request.getfixturevalue("vaults")(cls.binary)
        mount = server.mount("kv", {"version": "2"})
        policy = server.policy(rules(mount))
        with tempfile.TemporaryDirectory(prefix="sds-") as folder:
            method = TokenFile(token_file(Path(folder), server.token(policy)))
            client = put_together(http_options(server), method).client
            yield cls(world, server, mount, policy, CutVault(client))
            await client.close()

    async def define(self, name: str = "s") -> Secret:
        source = KvSource(self.mount, f"team/{name}", {"": FIELD})
        spec, secret_id = SecretSpec(name, self.kind, source), f"id-{uuid4().hex}"
        return await change(self.world.store, lambda uow: uow.secrets.create(spec, secret_id))

    async def put(self, secret: Secret, fields: Mapping[str, bytes]) -> None:
        data = {name or FIELD: value.decode() for name, value in fields.items()}
        await self.server.write(f"{self.mount}/data/{path(secret)}", {"data": data})

    async def spoil(self, secret: Secret) -> None:
        await self.put(secret, {"": CANARY + b"\0not fit"})

    async def delete(self, secret: Secret) -> None:
        await asyncio.to_thread(self.server.delete_blocking, f"{self.mount}/data/{path(secret)}")

    async def destroy(self, secret: Secret, version: str) -> None:
        await self.server.write(f"{self.mount}/destroy/{path(secret)}", {"versions": [int(version)]})

    async def deny(self, secret: Secret) -> None:
        await self._allow(rules(self.mount, without=path(secret)))

    async def allow(self, secret: Secret) -> None:
        await self._allow(rules(self.mount))

    async def cut(self) -> None:
        self.vault.cut = True

    async def mend(self) -> None:
        self.vault.cut = False

    async def _allow(self, hcl: str) -> None:
        await self.server.call(f"sys/policies/acl/{self.policy}", {"policy": hcl}, method="PUT")


def rules(mount: str, without: str = "") -> str:
    """What our server may do there."""
    allowed = [f'path "{mount}/{part}/*" {{ capabilities = ["read", "list"] }}' for part in PARTS]
    hidden = [without, without.rpartition("/")[0]] if without else []  # who may list a folder sees all that is in it
    denied = [f'path "{mount}/{part}/{one}" {{ capabilities = ["deny"] }}' for part in PARTS for one in hidden]
    return "\n".join([*allowed, *denied])


PARTS = ("data", "metadata", "detailed-metadata")


def path(secret: Secret) -> str:
    source: Any = secret.spec.source
    return str(source.path)


def kv_harnesses() -> dict[str, type[Harness]]:
    """One for each Vault there is."""
    return {f"kv-{binary}": type("KvHarness", (KvHarness,), {"binary": binary}) for binary in vault_binaries()}
