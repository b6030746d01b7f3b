"""Dynamic credentials, put together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from sds.config.named_secrets.leases import LeasesSection
from sds.secrets.leasing.plan import LeasePolicy
from sds.server.secrets.leases.backend import DatabaseBackend
from sds.server.secrets.leases.keeper import LeaseKeeper
from sds.server.secrets.leases.maker import LeaseMaker
from sds.server.secrets.leases.parts import LeaseLimits, LeaseParts
from sds.server.secrets.leases.replica import replica_name
from sds.server.secrets.leases.telemetry import LeaseTelemetry
from sds.server.secrets.leases.users import Users, granted_by_entries
from sds.server.secrets.sealing import Sealer
from sds.server.wiring.core import Core
from sds.vault.database import DatabaseEngine


@dataclass(frozen=True, slots=True)
class RunningLeases:
    """`run` for as long as the server serves."""

    backend: DatabaseBackend
    run: Callable[[], Coroutine[Any, Any, None]]


async def open_leases(core: Core, sealer: Sealer) -> RunningLeases | None:
    """None where there is no Vault. Raises DataDirUnusable."""
    if core.vault is None:
        return None
    section = core.config.secrets.leases
    limits = lease_limits(section)
    parts = LeaseParts(
        store=core.store,
        engine=DatabaseEngine(core.vault, section.token_role),
        sealer=sealer,
        events=core.events,
        clock=core.clock,
        observer=LeaseTelemetry(core.telemetry.metrics.leases),
        replica=await asyncio.to_thread(replica_name, core.config.data_dir, uuid4().hex),
        new_id=lambda: uuid4().hex,
        policy=LeasePolicy(overlap=section.overlap),
        limits=limits,
        learn=core.custody.learn,
    )
    maker = LeaseMaker(parts)
    users = Users(core.store, parts.replica, core.clock, limits.linger.total_seconds(), granted_by_entries)
    keeper = LeaseKeeper(parts, maker, users)
    return RunningLeases(DatabaseBackend(parts, maker, users, keeper.wake), keeper.run)


def lease_limits(section: LeasesSection) -> LeaseLimits:
    return LeaseLimits(section.max_leases, section.restart_linger, section.replica_silence)
