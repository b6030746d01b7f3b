"""The other side of the backend for Vault's PKI engine: a real server with a root and a role."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import ClassVar, Self
from uuid import uuid4

from attestation.spiffe_id import TrustDomain
from sds.clock import SystemClock
from sds.secrets.backend import Fetched
from sds.secrets.secret import PkiSource, Secret, SecretKind, SecretSpec
from sds.server.events import Events
from sds.server.secrets.pki import PkiBackend
from sds.server.secrets.sealing import Sealer
from sds.server.secrets.versions import SealedVersions
from sds.store.unit_of_work import UnitOfWork
from sds.vault.auth.token_file import TokenFile
from sds.vault.pki import PkiEngine
from tests.contract.secrets.embedded import new_ring
from tests.contract.secrets.harness import Ability, Harness, World
from tests.contract.store.samples import change
from tests.fakes.vault_client import http_options, put_together, token_file
from tests.fakes.vault_cut import CutVault
from tests.fakes.vault_server import VaultBinary, VaultServer, vault_binaries

TD = TrustDomain("example.org")
ROLE = "gateway"


class PkiHarness(Harness):
    name = "pki"
    abilities = frozenset({Ability.CHANGE, Ability.SHARED})
    kind = SecretKind.CERTIFICATE
    binary: ClassVar[VaultBinary]

    def __init__(self, world: World, server: VaultServer, mount: str, policy: str, vault: CutVault) -> None:
        self.world = world
        self.server = server
        self.mount = mount
        self.policy = policy
        self.vault = vault
        ring = new_ring()
        self.sealer = Sealer(lambda: ring, TD, os.urandom)
        self.versions = SealedVersions(self.sealer, keep=5)
        self.backend = self.replica()
        self._ids = count(1)
        # What Vault issues is valid by the host's clock.
        world.clock.jump((SystemClock().now() - world.clock.now()).total_seconds())

    @classmethod
    @asynccontextmanager
    async def open(cls, world: World) -> AsyncIterator[Self]:
        server: VaultServer = world.request.getfixturevalue("vaults")(cls.binary)
        mount = await asyncio.to_thread(issuing_mount, server)
        policy = server.policy(f'path "{mount}/issue/{ROLE}" {{ capabilities = ["update"] }}')
        with tempfile.TemporaryDirectory(prefix="sds-") as folder:
            method = TokenFile(token_file(Path(folder), server.token(policy)))
            client = put_together(http_options(server), method).client
            yield cls(world, server, mount, policy, CutVault(client))
            await client.close()

    def replica(self) -> PkiBackend:
        """The backend as another server has it, over the same database."""
        issuer = PkiEngine(self.vault)
        return PkiBackend(self.world.store, self.versions, issuer, Events("test"), self.world.clock)

    async def define(self, name: str = "s", common_name: str = "gateway.example.org") -> Secret:
        source = PkiSource(self.mount, ROLE, common_name, ("www.example.org",))
        spec, secret_id = SecretSpec(name, self.kind, source), f"id-{uuid4().hex}"

        def work(uow: UnitOfWork) -> Secret:
            return uow.secrets.create(spec, secret_id, self.sealer.fresh(uow, secret_id))

        return await change(self.world.store, work)

    async def change(self, secret: Secret) -> None:
        """What is stored is destroyed, so that another one has to be issued."""

        def work(uow: UnitOfWork) -> None:
            for record in uow.secrets.versions(secret.id):
                uow.secrets.destroy(secret.id, record.version)

        await change(self.world.store, work)

    def secrets_in(self, fetched: Fetched) -> list[bytes]:
        return [fetched.fields["private_key"].reveal()]


def issuing_mount(server: VaultServer) -> str:
    """An engine with a root and a role whose certificates live for an hour."""
    mount = server.mount("pki")
    server.write_blocking(f"{mount}/root/generate/internal", {"common_name": "Test Root", "ttl": "24h"})
    role = {"allowed_domains": "example.org", "allow_subdomains": True, "max_ttl": "1h", "ttl": "1h", "key_type": "ec"}
    server.write_blocking(f"{mount}/roles/{ROLE}", {**role, "key_bits": 256})
    return mount


def pki_harnesses() -> dict[str, type[Harness]]:
    """One for each Vault there is."""
    return {f"pki-{binary}": type("PkiHarness", (PkiHarness,), {"binary": binary}) for binary in vault_binaries()}
