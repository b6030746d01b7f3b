"""The server's key managers: made from the configuration, their keys audited, their health watched."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from functools import partial

from ca.catalog import KeyManagerParts, key_managers
from ca.errors import AuthorityUnavailable
from ca.key_manager import KeyManager, KeyManagers, ManagedKey
from ca.key_managers import wrapped
from ca.key_managers.token import TokenConfig
from ca.key_managers.transit import TransitConfig
from ca.keys import KeyType
from ca.signer import Signer
from sds.audit.event import Json, Target
from sds.clock import Clock
from sds.config import ServerConfig
from sds.config.ca.key_manager import Pkcs11Section
from sds.config.vault_uses import TransitKeysSection
from sds.server.authority.custody import Custody
from sds.server.authority.pin_file import read_pin
from sds.server.events import Events, system_actor
from sds.server.transactions import Transactions
from sds.store.unit_of_work import UnitOfWork
from sds.vault.transit import BlockingVault, TransitKeys


class AuditedKeys:
    """Keys that are made outside the database, with their events in it. Implements ca.key_manager.KeyManager.

    Two places cannot change in one transaction: a key whose event could not be written is destroyed again and never
    handed out, and the destruction of one is repeated until its event stands.
    """

    def __init__(self, inner: KeyManager, store: Transactions, events: Events) -> None:
        self._inner = inner
        self._store = store
        self._events = events

    @property
    def name(self) -> str:
        return self._inner.name

    async def generate(self, key_type: KeyType, purpose: str) -> ManagedKey:
        made = await self._inner.generate(key_type, purpose)
        try:
            await self._record("key.create", made.ref, {"purpose": purpose, "key_type": str(key_type)})
        except BaseException:
            with suppress(AuthorityUnavailable):
                await self._inner.forget(made.ref)
            raise
        return made

    async def signer(self, ref: str) -> Signer:
        return await self._inner.signer(ref)

    async def forget(self, ref: str) -> None:
        await self._inner.forget(ref)
        await self._record("key.destroy", ref, {})

    async def check(self, refs: Collection[str]) -> None:
        await self._inner.check(refs)

    def problem(self, ref: str) -> str | None:
        return self._inner.problem(ref)

    async def close(self) -> None:
        await self._inner.close()

    async def _record(self, action: str, ref: str, details: dict[str, Json]) -> None:
        key_id = ref.removeprefix(f"{self.name}:")

        def work(uow: UnitOfWork) -> None:
            event = self._events.make(
                uow.now,
                action,
                system_actor(),
                Target("key", key_id),
                details=details | {"key_manager": self.name},
            )
            uow.audit.append(event)

        await self._store.write(work)


def open_key_managers(
    config: ServerConfig,
    custody: Custody,
    store: Transactions,
    events: Events,
    clock: Clock,
    vault: BlockingVault | None = None,
) -> KeyManagers:
    """All that are configured behind one. Opens nothing yet."""
    parts = KeyManagerParts(
        config.trust_domain,
        os.urandom,
        clock.monotonic,
        custody.manager,
        _token(config.ca.key_manager.pkcs11),
        _transit(config.ca.key_manager.vault_transit, vault),
    )
    audited = {
        name: manager if name == wrapped.NAME else AuditedKeys(manager, store, events)  # KeyStore writes its own events
        for name, manager in key_managers(parts).items()
    }
    return KeyManagers(audited, config.ca.key_manager.plugin)


def _token(section: Pkcs11Section) -> TokenConfig | None:
    if section.module is None or section.token is None or section.pin_file is None:
        return None  # the configuration's own checks leave no half of it
    return TokenConfig(
        str(section.module), section.token, partial(read_pin, section.pin_file), section.serial or "", section.timeout
    )


def _transit(section: TransitKeysSection, vault: BlockingVault | None) -> TransitConfig | None:
    if not section.mount or vault is None:
        return None  # the configuration's own checks leave no half of it
    return TransitConfig(TransitKeys(vault, section.mount), section.key_prefix)
