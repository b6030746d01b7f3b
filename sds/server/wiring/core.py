"""What everything else rests on: database, key file, authorities, and all that agents may have, in memory."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import AsyncExitStack
from dataclasses import dataclass
from uuid import uuid4

from ca.key_manager import KeyManagers
from ca.serial import RandomSerials
from sds.clock import Clock
from sds.config import ServerConfig, database_url
from sds.http.ops import Check
from sds.logs import get_logger
from sds.server import options
from sds.server.audit_sinks.engine import AuditSinks
from sds.server.authority.authorities import Authorities, AuthorityParts
from sds.server.authority.custody import Custody, open_custody
from sds.server.authority.kek_file import KekFile
from sds.server.authority.kek_ring import TransitPlace
from sds.server.authority.keys import open_key_managers
from sds.server.authority.maker import AuthorityMaker
from sds.server.events import Events
from sds.server.follower import Bundles, Follower, load_facts
from sds.server.registry import Registry
from sds.server.revocation.journal_file import JournalFile
from sds.server.revocation.memory import Memory, open_memory
from sds.server.revocation.ocsp import OcspService
from sds.server.revocation.publisher import CrlPublisher
from sds.server.stages import Passing
from sds.server.telemetry import Telemetry
from sds.server.transactions import Transactions
from sds.server.upstream.roots import Roots
from sds.server.upstream.service import RunningUpstream
from sds.server.vault.own_token import OwnToken, OwnTokenParts
from sds.server.vault.telemetry import VaultTelemetry
from sds.server.wiring.audit_sinks import open_audit_sinks
from sds.server.wiring.ledger import Ledger, open_ledger
from sds.server.wiring.upstream import open_upstream
from sds.server.wiring.vault import open_vault
from sds.store.schema import migrate, schema_status
from sds.store.store import Store, open_store
from sds.vault.client import VaultClient
from sds.vault.transit import TransitCipher

JOURNAL = "revocations.journal"
"""In the data folder and not in the database: one that is restored from a backup must not take it along."""


@dataclass(frozen=True, slots=True)
class Core:
    """What everything else rests on."""

    config: ServerConfig
    clock: Clock
    events: Events
    telemetry: Telemetry
    store: Transactions
    custody: Custody
    keys: KeyManagers
    vault: VaultClient | None
    upstream: RunningUpstream
    authorities: Authorities
    registry: Registry
    follower: Follower
    memory: Memory
    crls: CrlPublisher
    ocsp: OcspService
    passing: Passing
    sinks: AuditSinks
    ledger: Ledger

    @property
    def checks(self) -> dict[str, Check]:
        """What can fail while most of the server goes on."""
        vault = {} if self.vault is None else {"vault": self.vault.readiness}
        sinks = {"audit_sinks": self.sinks.watch.readiness} if self.sinks.plans else {}
        return self.upstream.checks | {"audit": self.ledger.sequencer.readiness} | vault | sinks

    async def close(self) -> None:
        """What runs already, where the rest of the server cannot be made."""
        await self.upstream.close()
        if self.vault is not None:
            await self.vault.close()


async def open_key_ring(
    config: ServerConfig, store: Transactions, events: Events, vault: VaultClient | None
) -> Custody:
    """Raises KekUnusable, StoreError."""
    file, kek = KekFile(config.kek.file, os.urandom), config.kek
    transit = None
    if vault is not None and kek.vault_transit.mount:
        cipher = TransitCipher(vault, kek.vault_transit.mount, kek.vault_transit.key)
        transit = TransitPlace(cipher, store, config.trust_domain)
    return await open_custody(
        store, file, config.trust_domain, events, os.urandom, transit=transit, in_file=kek.plugin == "file"
    )


def open_database(config: ServerConfig, clock: Clock) -> Store:
    """Upgrade the schema, or refuse an older one where that is left to `sds db upgrade`. Blocks."""
    url = database_url(config.database).reveal()
    limits = options.store_limits(config)
    if config.database.migrate:
        before = migrate(url, limits)
        if not before.current:
            get_logger(__name__).info("upgraded the database schema", before=before.found or "empty", now=before.newest)
    schema_status(url, limits).check()
    return open_store(url, clock=clock, limits=limits)


async def open_core(
    config: ServerConfig, clock: Clock, store: Transactions, telemetry: Telemetry, passing: Passing
) -> Core:
    """Vault, the key file, then the authority that it opens, then all that agents may have, in memory."""
    events = Events(socket.gethostname())
    sinks = await asyncio.to_thread(open_audit_sinks, config, store, events, telemetry, clock)
    async with AsyncExitStack() as undo:
        own_token = OwnToken(config.vault.auth.audience)
        observer = VaultTelemetry(telemetry.metrics.vault, clock)
        vault = open_vault(config.vault, clock, observer, own_token.mint_blocking)
        if vault is not None:
            undo.push_async_callback(vault.close)
        memory = await open_memory(store, JournalFile(config.data_dir / JOURNAL), events, lambda: uuid4().hex)
        custody = await open_key_ring(config, store, events, vault)
        ledger = open_ledger(config, store, custody.manager, events, telemetry.metrics.ledger, clock)
        keys = open_key_managers(config, custody, store, events, clock, vault)
        serials = RandomSerials(os.urandom)
        rules = options.rotation_rules(config)
        upstream = await open_upstream(config, serials, Roots(store, events, rules, clock), clock, telemetry, vault)
        undo.push_async_callback(upstream.close)
        maker = AuthorityMaker(keys, upstream.authority, options.authority_policy(config), serials, clock)
        parts = AuthorityParts(store, keys, maker, events, rules, telemetry, config.trust_domain, clock)
        authorities = Authorities(parts)
        own_token.serve(_own_token_parts(config, clock, store, events, authorities))
        await upstream.wait_for(authorities.ensure, clock)
        crls = CrlPublisher(store, authorities, events, clock, telemetry)
        await crls.tick()
        bundles = Bundles(config.trust_domain, config.ca.refresh_hint)
        registry = Registry(await load_facts(store, bundles), now=clock.now())
        undo.pop_all()
    follower = Follower(store, registry, bundles, clock)
    ocsp = OcspService(store, authorities, events, options.ocsp_policy(config), serials, clock)
    return Core(
        config, clock, events, telemetry, store, custody, keys, vault, upstream, authorities, registry, follower,
        memory, crls, ocsp, passing, sinks, ledger,
    )  # fmt: skip


def _own_token_parts(
    config: ServerConfig, clock: Clock, store: Transactions, events: Events, authorities: Authorities
) -> OwnTokenParts:
    policy = options.jwt_policy(config)
    return OwnTokenParts(store, authorities, events, config.trust_domain, policy, lambda: uuid4().hex, clock)
