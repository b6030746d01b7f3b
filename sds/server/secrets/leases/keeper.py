"""Does what is due with leases, on any replica: level-triggered, each step by compare-and-swap of its row."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from ca.errors import CaError
from sds.logs import get_logger
from sds.secrets.errors import SecretError
from sds.secrets.leasing.lease import Lease, LeaseState
from sds.secrets.leasing.plan import End, Renew, Replace, Revoke, Scene, Step, next_due, plan
from sds.secrets.secret import DatabaseSource, Secret
from sds.server.secrets.leases.maker import LeaseMaker
from sds.server.secrets.leases.parts import LeaseParts
from sds.server.secrets.leases.stages import LeaseStage
from sds.server.secrets.leases.users import Users
from sds.store.errors import StoreError
from sds.store.unit_of_work import UnitOfWork
from sds.vault.database import lease_prefix
from sds.vault.errors import VaultError, VaultRefused

_BEAT = timedelta(seconds=15)
"""How often this replica says that it lives."""
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds, after a step that failed
_SHORTEST_PAUSE = 0.05  # seconds between two ticks
_NEARLY = 0.9
"""A renewal that gives less than this share of what was asked for has met the maximum."""


class LeaseKeeper:
    """`run` beside the listeners."""

    def __init__(self, parts: LeaseParts, maker: LeaseMaker, users: Users) -> None:
        self._parts = parts
        self._maker = maker
        self._users = users
        self._woken = asyncio.Event()
        self._slots = asyncio.Semaphore(parts.limits.at_once)
        self._failures: dict[str, tuple[int, float]] = {}
        self._beaten: datetime | None = None
        self._loaded = False
        self._log = get_logger(__name__)

    def wake(self) -> None:
        """Something may have become due."""
        self._woken.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._woken.clear()
            pause = self._parts.limits.tick
            try:
                pause = await self.tick()
            except StoreError as error:
                self._log.warning("leases cannot be looked after now; trying again", reason=str(error))
            except Exception:  # noqa: BLE001 - a mistake of ours; leases would end without this loop
                self._log.exception("leases cannot be looked after; trying again")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), max(pause, _SHORTEST_PAUSE))

    async def tick(self) -> float:
        """Do what is due; the seconds until the next look. Raises StoreError."""
        parts = self._parts
        if not self._loaded:
            await self._users.load()
            self._loaded = True
        await self._users.tidy()
        await self._beat()
        scene = await self._look()
        now = parts.clock.now()
        steps = [step for step in plan(scene, now, parts.policy) if self._ripe(step)]
        self._show(scene, now)
        done = await asyncio.gather(*(self._do(step) for step in steps))
        standing = {lease.id for lease in scene.leases}
        self._failures = {key: one for key, one in self._failures.items() if key in standing}
        if any(done):
            return 0.0
        following = next_due(scene, now, parts.policy)
        if following is None or steps:
            return parts.limits.tick
        return min((following - now).total_seconds(), parts.limits.tick) if following > now else parts.limits.tick

    async def _beat(self) -> None:
        """Say that this replica lives, and that the users it knows are there, should it have been taken for gone."""
        now, replica = self._parts.clock.now(), self._parts.replica
        if self._beaten is not None and timedelta(0) <= now - self._beaten < _BEAT:
            return

        def work(uow: UnitOfWork) -> bool:
            known = replica in uow.leases.replicas()
            uow.leases.beat(replica)
            return known

        if not await self._parts.store.write(work):
            await self._users.again()
        self._beaten = now

    async def _look(self) -> Scene:
        parts = self._parts

        def silent(uow: UnitOfWork) -> Mapping[str, datetime]:
            seen = uow.leases.replicas()
            return {
                name: at for name, at in seen.items() if name != parts.replica and uow.now - at >= parts.limits.silence
            }

        def read(uow: UnitOfWork) -> Scene:
            return Scene(
                uow.leases.all(),
                frozenset(uow.leases.users()),
                _prefixes(uow.leases.secrets()),
                frozenset({*uow.leases.replicas(), parts.replica}),
                parts.replica,
            )

        if gone := await parts.store.read(silent):
            await parts.store.write(lambda uow: [uow.leases.forget_replica(name, at) for name, at in gone.items()])
            self._log.warning("servers that are not heard of use no leases any more", replicas=sorted(gone))
        making = frozenset(parts.making)  # before the read and after: neither what ends nor what begins meanwhile
        scene = await parts.store.read(read)
        return replace(scene, making=making | parts.making)

    def _ripe(self, step: Step) -> bool:
        _, until = self._failures.get(step.lease.id, (0, 0.0))
        return self._parts.clock.monotonic() >= until

    async def _do(self, step: Step) -> bool:
        """Whether something was done."""
        async with self._slots:
            try:
                match step:
                    case Renew(lease):
                        await self._renew(lease)
                    case Replace(lease):
                        await self._replace(lease)
                    case End():
                        await self._end(step)
                    case Revoke(lease):
                        await self._revoke(lease)
            except (VaultError, SecretError, StoreError, CaError) as error:
                self._failed(step, error)
                return False
        self._failures.pop(step.lease.id, None)
        return True

    async def _renew(self, lease: Lease) -> None:
        parts, asked_at = self._parts, self._parts.clock.now()
        expires_at, maximum = lease.expires_at or asked_at, None
        try:
            given = await parts.engine.renew(lease.accessor, lease.lease_id, lease.ttl)
        except VaultRefused as error:  # Vault knows it no more, or renews it no more: only another one helps
            self._log.warning("a lease is renewed no more and replaced", lease=lease.id, reason=str(error))
            maximum = expires_at
        else:
            expires_at = asked_at + given
            maximum = expires_at if given < lease.ttl * _NEARLY else None
        await parts.store.write(lambda uow: uow.leases.renewed(lease, expires_at, maximum, parts.replica))
        parts.observer.lease_operation("renew", "success")

    async def _replace(self, lease: Lease) -> None:
        receiver = lease.receiver
        secret = await self._parts.store.read(lambda uow: _find(uow, receiver.secret_id))
        if secret is not None:
            await self._maker.make(secret, receiver, replaces=lease)

    async def _end(self, step: End) -> None:
        parts, operation = self._parts, "orphan" if step.orphan else "revoke"

        def work(uow: UnitOfWork) -> bool:
            uow.changes.lock()  # who comes meanwhile is seen, or sees that it ends
            if step.unused and step.lease.receiver in uow.leases.users():
                return False
            if not uow.leases.end(step.lease, step.at):
                return False
            uow.audit.append(parts.event(uow, f"lease.{operation}", step.lease, reason=step.reason))
            return True

        if await parts.store.write(work):
            parts.passing(LeaseStage.ENDED)
            if step.orphan:
                parts.observer.lease_operation("orphan", "success")

    async def _revoke(self, lease: Lease) -> None:
        parts = self._parts
        await parts.engine.revoke(lease.accessor, lease.lease_id)
        parts.passing(LeaseStage.REVOKED)
        if await parts.store.write(lambda uow: uow.leases.remove(lease)):
            parts.observer.lease_operation("revoke", "success")

    def _failed(self, step: Step, error: Exception) -> None:
        """Try again later, at a time of its own."""
        failures, _ = self._failures.get(step.lease.id, (0, 0.0))
        pause = min(_FIRST_PAUSE * 2 ** min(failures, 10), _LONGEST_PAUSE) * (0.5 + self._parts.clock.jitter() / 2)
        self._failures[step.lease.id] = (failures + 1, self._parts.clock.monotonic() + pause)
        operation = type(step).__name__.lower()
        if operation in {"renew", "revoke"}:
            self._parts.observer.lease_operation(operation, "failure")
        if failures in {0, 5}:  # once when it begins, and once when it lasts
            self._log.warning(
                "something due with a lease cannot be done; trying again",
                operation=operation,
                lease=step.lease.id,
                reason=str(error),
            )

    def _show(self, scene: Scene, now: datetime) -> None:
        states = [lease.state for lease in scene.leases]
        overdue = [
            now - lease.expires_at
            for lease in scene.leases
            if lease.state is LeaseState.ENDING and lease.expires_at is not None
        ]
        self._parts.observer.leases(
            states.count(LeaseState.PENDING),
            states.count(LeaseState.LIVE),
            states.count(LeaseState.ENDING),
            max([timedelta(0), *overdue]),
        )


def _find(uow: UnitOfWork, secret_id: str) -> Secret | None:
    return next((secret for secret in uow.leases.secrets() if secret.id == secret_id), None)


def _prefixes(secrets: tuple[Secret, ...]) -> dict[str, str]:
    return {
        secret.id: lease_prefix(secret.spec.source)
        for secret in secrets
        if isinstance(secret.spec.source, DatabaseSource)
    }
