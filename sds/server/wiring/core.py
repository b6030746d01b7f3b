"""What everything else rests on: database, key file, authorities, and all that agents may have, in memory."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from uuid import uuid4

from ca.key_manager import KeyManagers
from ca.serial import RandomSerials
from sds.clock import Clock
from sds.config import ServerConfig, database_url
from sds.logs import get_logger
from sds.server import options
from sds.server.authority.authorities import Authorities, AuthorityParts
from sds.server.authority.custody import Custody, open_custody
from sds.server.authority.kek_file import KekFile
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
from sds.server.wiring.upstream import open_upstream
from sds.store.schema import migrate, schema_status
from sds.store.store import Store, open_store

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
    upstream: RunningUpstream
    authorities: Authorities
    registry: Registry
    follower: Follower
    memory: Memory
    crls: CrlPublisher
    ocsp: OcspService
    passing: Passing


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
    """The key file, then the authority that it opens, then all that agents may have, in memory."""
    events = Events(socket.gethostname())
    memory = await open_memory(store, JournalFile(config.data_dir / JOURNAL), events, lambda: uuid4().hex)
    custody = await open_custody(store, KekFile(config.kek.file, os.urandom), config.trust_domain, events, os.urandom)
    keys = open_key_managers(config, custody, store, events, clock)
    serials = RandomSerials(os.urandom)
    rules = options.rotation_rules(config)
    upstream = await open_upstream(config, serials, Roots(store, events, rules, clock), clock, telemetry)
    maker = AuthorityMaker(keys, upstream.authority, options.authority_policy(config), serials, clock)
    authorities = Authorities(AuthorityParts(store, keys, maker, events, rules, telemetry, config.trust_domain, clock))
    try:
        await upstream.wait_for(authorities.ensure, clock)
        crls = CrlPublisher(store, authorities, events, clock, telemetry)
        await crls.tick()
        bundles = Bundles(config.trust_domain, config.ca.refresh_hint)
        registry = Registry(await load_facts(store, bundles), now=clock.now())
    except BaseException:
        await upstream.close()
        raise
    follower = Follower(store, registry, bundles, clock)
    ocsp = OcspService(store, authorities, events, options.ocsp_policy(config), serials, clock)
    return Core(
        config, clock, events, telemetry, store, custody, keys, upstream, authorities, registry, follower, memory, crls,
        ocsp, passing,
    )  # fmt: skip
