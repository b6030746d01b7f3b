"""The engine of secrets, put together: what is defined, what is wanted, where values come from, who is told."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from starlette.routing import BaseRoute

from attestation.entry import RegistrationEntry
from attestation.spiffe_id import SpiffeId
from ca.profile import SERVER_PATH
from sds.config.named_secrets.section import SecretsSection
from sds.net.limits import Caps
from sds.secrets.backend import SecretBackend
from sds.secrets.judge import Limits
from sds.secrets.secret import TICKETS, Secret
from sds.server.refusals import RefusalLog
from sds.server.secrets.backends import DATABASE, EMBEDDED, KV, PKI, SecretBackends, TicketBackend
from sds.server.secrets.catalog import SecretCatalog
from sds.server.secrets.desk import DeskParts, SecretDesk
from sds.server.secrets.embedded import EmbeddedBackend, EmbeddedValues, ValueGenerator
from sds.server.secrets.endpoint import EndpointRules, EntriesById, SecretsEndpoint
from sds.server.secrets.hook import SecretHook
from sds.server.secrets.hook_keys import read_hook_keys
from sds.server.secrets.mirror import CatalogMirror
from sds.server.secrets.pki import PkiBackend
from sds.server.secrets.poller import SecretPoller
from sds.server.secrets.record import DeliveryRecord
from sds.server.secrets.schedule import PollPolicy
from sds.server.secrets.sealing import Sealer
from sds.server.secrets.shelf import Shelf
from sds.server.secrets.states import States
from sds.server.secrets.stream import SecretStreams, StreamParts
from sds.server.secrets.telemetry import SecretTelemetry
from sds.server.secrets.ticket_loop import TicketLoop
from sds.server.secrets.tickets import TicketKeys
from sds.server.secrets.upkeep import Upkeep
from sds.server.secrets.versions import SealedVersions
from sds.server.secrets.watches import SecretWatches
from sds.server.wiring.core import Core
from sds.server.wiring.leases import open_leases
from sds.store.records import ChangeKind
from sds.vault.kv import KvBackend
from sds.vault.pki import PkiEngine

_WAITING, _WAITING_OF_ONE = 2_000, 20
"""Requests of workloads without an agent at once, and of one identity."""
Loop = Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class SecretEngine:
    """What the rest of the server knows of secrets. `loops` run for as long as it serves."""

    catalog: SecretCatalog
    backends: SecretBackends
    shelf: Shelf
    states: States
    watches: SecretWatches
    record: DeliveryRecord
    streams: SecretStreams
    desk: SecretDesk
    sealer: Sealer
    values: EmbeddedValues
    loops: Mapping[str, Loop]
    hook: Sequence[BaseRoute]

    def end_watches(self, reason: str) -> None:
        self.watches.end(reason)

    async def close(self) -> None:
        """Once nobody watches any more: values leave memory, and what is known of their sources is written."""
        await self.record.close()
        await self.shelf.close()
        await self.states.close()


async def open_secrets(core: Core, refusals: RefusalLog) -> SecretEngine:
    """Loads what is defined and follows its changes. Raises StoreError."""
    section, clock = core.config.secrets, core.clock
    observer = SecretTelemetry(core.telemetry.metrics.secrets)
    sealer = Sealer(lambda: core.custody.manager.ring, core.config.trust_domain, os.urandom)
    versions = SealedVersions(sealer, section.max_versions)
    tickets = TicketKeys(core.store, sealer, core.events, clock, section.tickets.rotate_every, os.urandom)
    catalog = SecretCatalog()
    leases = await open_leases(core, sealer)
    table = _table(core, versions, tickets)
    if leases is not None:
        table[DATABASE] = leases.backend
    backends = SecretBackends(table)
    states = States(core.store, core.events, clock)
    shelf = Shelf(backends, states, clock, limits(section), poll_policy(core), observer, section.linger.total_seconds())
    enabled = section.tickets.enabled
    watches = SecretWatches(_live_entry(core), catalog, shelf, max_wanted=section.max_wanted, tickets=enabled)
    record = DeliveryRecord(core.store, core.events, clock)
    caps = Caps(section.max_streams, section.max_streams_per_agent)
    streams = SecretStreams(StreamParts(watches, record, refusals, clock, observer, core.config.grpc.heartbeat, caps))
    desk = SecretDesk(
        DeskParts(core.store, core.events, catalog, backends, shelf, states, watches, record, refusals, clock)
    )
    generator = ValueGenerator(core.store, versions, core.events, os.urandom)
    pki = table.get(PKI)
    ending = pki if isinstance(pki, PkiBackend) else None
    upkeep = Upkeep(core.store, catalog, shelf, states, generator, clock, ending)
    ticket_loop = TicketLoop(tickets, clock)
    poller = SecretPoller(shelf, backends, clock, poll_policy(core), observer)

    def changed(secret_id: str, secret: Secret | None) -> None:
        upkeep.wake()
        if secret is None:
            states.forget(secret_id)
        else:
            shelf.changed(secret)

    mirror = CatalogMirror(catalog, changed, watches.names_changed, observer)
    await core.follower.mirror(ChangeKind.SECRET, mirror.reread)
    await core.follower.mirror(ChangeKind.TICKETS, ticket_loop.reread)
    tickets.on_change(lambda: shelf.look_again(TICKETS))
    core.registry.on_entry(watches.entry_changed)
    core.registry.on_agent(lambda agent_id, _: watches.agent_changed(agent_id))
    loops: dict[str, Loop] = {
        "states of secrets": states.run,
        "upkeep of secrets": upkeep.run,
        "looks at secrets": poller.run,
    }
    if enabled:
        loops["session tickets"] = ticket_loop.run
    if leases is not None:
        loops["leases of secrets"] = leases.run
    keys = await asyncio.to_thread(read_hook_keys, section.webhook)
    hook = SecretHook(keys, desk.changed, clock, observer).routes()
    values = EmbeddedValues(versions, limits(section))
    return SecretEngine(
        catalog, backends, shelf, states, watches, record, streams, desk, sealer, values, loops, hook
    )  # fmt: skip


def public_secrets(core: Core, engine: SecretEngine) -> list[BaseRoute]:
    """What serves secrets to those without an agent."""
    config, registry, clock = core.config, core.registry, core.clock
    live = _live_entry(core)
    index = EntriesById(registry.entries, lambda: registry.revision)
    audience = config.endpoints.secrets.audience or str(SpiffeId(config.trust_domain, SERVER_PATH))
    rules = EndpointRules(audience, config.jwt.leeway, Caps(_WAITING, _WAITING_OF_ONE))
    return SecretsEndpoint(
        engine.desk,
        engine.catalog,
        lambda: registry.bundle,
        lambda spiffe_id: [entry for one in index.of(spiffe_id) if (entry := live(one.id)) is not None],
        rules,
        clock,
        lambda: uuid4().hex,
    ).routes()


def limits(section: SecretsSection) -> Limits:
    """How large values may be."""
    return Limits(section.max_value_bytes, section.max_total_bytes, section.max_fields)


def poll_policy(core: Core) -> PollPolicy:
    section = core.config.secrets
    return PollPolicy(
        budget=core.config.vault.requests_per_second,
        shortest=section.min_interval.total_seconds(),
        longest=section.max_interval.total_seconds(),
        retry=section.retry.total_seconds(),
        patience=section.retry_max.total_seconds(),
    )


def _table(core: Core, versions: SealedVersions, tickets: TicketKeys) -> dict[str, SecretBackend]:
    table: dict[str, SecretBackend] = {
        EMBEDDED: EmbeddedBackend(core.store, versions, core.custody.learn),
        TICKETS: TicketBackend(tickets),
    }
    if core.vault is not None:
        table[KV] = KvBackend(core.vault, core.clock)
        table[PKI] = PkiBackend(core.store, versions, PkiEngine(core.vault), core.events, core.clock)
    return table


def _live_entry(core: Core) -> Callable[[str], RegistrationEntry | None]:
    def entry(entry_id: str) -> RegistrationEntry | None:
        found = core.registry.entry(entry_id)
        return found if found is not None and found.live(core.clock.now()) else None

    return entry
