"""The audit log's tree, put together; and what the log says of the server's start."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from sds import __version__
from sds.audit.event import Actor, ActorKind, Json, Outcome, Target
from sds.clock import Clock
from sds.config import ServerConfig
from sds.config.show import describe, fingerprint, fingerprint_of
from sds.logs import get_logger
from sds.metrics.ledger import LedgerMetrics
from sds.reload import Reload
from sds.server.audit.log_keys import KeyKeeper, LogKeys, LogKeyUnusable
from sds.server.audit.pruner import Pruner
from sds.server.audit.sequencer import Sequencer
from sds.server.events import Events, system_actor
from sds.server.transactions import Transactions
from sds.store.unit_of_work import UnitOfWork

MAX_KEYS = 50
MAX_KEY = 200
"""What an event names of a configuration that is refused: it may hold anything."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """The tree of one log and what works on it."""

    keys: LogKeys
    sequencer: Sequencer
    pruner: Pruner

    async def begin(self) -> None:
        """Have the log's key made, or opened, before anything is served. Raises StoreError.

        One that does not open stops nobody: events are recorded, and readiness says that they wait.
        """
        try:
            await self.keys.current()
        except LogKeyUnusable as error:
            get_logger(__name__).warning("the audit log cannot be signed", reason=str(error))


def open_ledger(
    config: ServerConfig,
    store: Transactions,
    keeper: KeyKeeper,
    events: Events,
    metrics: LedgerMetrics,
    clock: Clock,
) -> Ledger:
    """Nothing is read yet. `keeper` wraps the log's key."""
    keys = LogKeys(store, keeper, events, config.trust_domain)
    pruner = Pruner(store, keys, events, clock, sinks=config.audit.sinks, kept=config.audit.retention)
    return Ledger(keys, Sequencer(store, keys, metrics, clock), pruner)


async def note_start(config: ServerConfig, store: Transactions, events: Events) -> None:
    """``server.start``: which program begins to serve with which configuration. Raises StoreError."""
    details = start_details(config)

    def work(uow: UnitOfWork) -> None:
        node = Target("server", events.node)
        uow.audit.append(events.make(uow.now, "server.start", system_actor(), node, details=details))

    await store.write(work)


async def note_reload(store: Transactions, events: Events, done: Reload[ServerConfig]) -> None:
    """``server.reload``: SIGHUP, and which keys it changes. Raises StoreError."""
    outcome = Outcome.FAILURE if done.wrong else Outcome.SUCCESS
    reason = "the configuration has problems and stays as it was" if done.wrong else ""
    details = reload_details(done)

    def work(uow: UnitOfWork) -> None:
        actor, node = Actor(ActorKind.SYSTEM, "signal", "SIGHUP"), Target("server", events.node)
        uow.audit.append(
            events.make(uow.now, "server.reload", actor, node, outcome=outcome, reason=reason, details=details)
        )

    await store.write(work)


def reload_details(done: Reload[ServerConfig]) -> dict[str, Json]:
    """The fingerprint of what counts from now on, and of each key that takes effect; names of the others. No value."""
    described = describe(done.config)

    def parts(key: str) -> dict[str, object]:
        return {name: value for name, value in described.items() if name == key or name.startswith(f"{key}.")}

    return {
        "configuration": fingerprint(done.config),
        "changed": {key: fingerprint_of(parts(key)) for key in done.taken},
        "need_restart": done.left,
        "problems": [key[:MAX_KEY] if key.isascii() else "" for key in done.wrong[:MAX_KEYS]],
    }


def start_details(config: ServerConfig) -> dict[str, Json]:
    """The version, and fingerprints of the configuration: of all of it, and of each section. No value, no secret."""
    sections: dict[str, dict[str, object]] = defaultdict(dict)
    for dotted, value in describe(config).items():
        section, _, name = dotted.partition(".")
        sections[section][name] = value
    return {
        "version": __version__,
        "configuration": fingerprint(config),
        "sections": {name: fingerprint_of(values) for name, values in sorted(sections.items())},
    }
