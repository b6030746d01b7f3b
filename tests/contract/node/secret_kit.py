"""An agent's stream of secrets, and an operator who works on the server's store."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from attestation.spiffe_id import SpiffeId
from ca.masked import Masked
from sds._pb.sds.node.v1 import node_pb2
from sds.audit.event import Target
from sds.secrets.grant import Below, Exactly, Grant, Labelled, Subject
from sds.secrets.secret import EmbeddedSource, Secret, SecretKind, SecretSpec
from sds.server.events import Events, system_actor
from sds.server.wiring.secrets import SecretEngine
from sds.store.unit_of_work import UnitOfWork
from tests.contract.node.harness import DEADLINE, Identity, Node

ABSENT = node_pb2.SecretAbsence
EVENTS = Events("test")
WEB, DB = "spiffe://example.org/web", "spiffe://example.org/db"


async def delivered(node: Node) -> list[dict[str, Any]]:
    """The details of each delivery in the audit log."""
    return [event["details"] for event in await node.events("secret.deliver")]


def audited(uow: UnitOfWork, action: str, target: str) -> None:
    uow.audit.append(EVENTS.make(uow.now, action, system_actor(), Target("secret", target)))


class Operator:
    """Defines, grants and writes, as the admin API does."""

    def __init__(self, node: Node) -> None:
        self.store = node.server._parts.store
        engine = node.server._parts.secrets
        assert isinstance(engine, SecretEngine)
        self.engine = engine

    async def define(self, name: str, *granted: str | Subject, spec: SecretSpec | None = None) -> Secret:
        spec = spec or SecretSpec(name, SecretKind.GENERIC, EmbeddedSource())

        def work(uow: UnitOfWork) -> Secret:
            secret_id = uuid4().hex
            uow.changes.lock()
            made = uow.secrets.create(spec, secret_id, self.engine.sealer.fresh(uow, secret_id))
            audited(uow, "secret.create", secret_id)
            return made

        secret = await self.store.write(work)
        for subject in granted:
            await self.grant(secret, subject)
        return secret

    async def grant(self, secret: Secret, subject: str | Subject) -> Grant:
        wanted = Exactly(SpiffeId.parse(subject)) if isinstance(subject, str) else subject

        def work(uow: UnitOfWork) -> Grant:
            audited(uow, "grant.create", secret.id)
            return uow.grants.create(secret.id, wanted, uuid4().hex)

        return await self.store.write(work)

    async def revoke(self, grant: Grant) -> None:
        def work(uow: UnitOfWork) -> None:
            audited(uow, "grant.delete", grant.secret_id)
            uow.grants.delete(grant.id)

        await self.store.write(work)

    async def put(self, secret: Secret, value: bytes | Mapping[str, bytes]) -> str:
        fields = {"": value} if isinstance(value, bytes) else value

        def work(uow: UnitOfWork) -> str:
            audited(uow, "secret.put", secret.id)
            masked = {name: Masked(content) for name, content in fields.items()}
            return str(self.engine.values.put(uow, secret, masked, by="test").version)

        return await self.store.write(work)

    async def delete(self, secret: Secret) -> None:
        def work(uow: UnitOfWork) -> None:
            audited(uow, "secret.delete", secret.id)
            uow.secrets.delete(secret.id)

        await self.store.write(work)

    async def pin(self, secret: Secret, version: int | None) -> None:
        def work(uow: UnitOfWork) -> None:
            audited(uow, "secret.rollback", secret.id)
            uow.secrets.pin(secret.id, version)

        await self.store.write(work)


class Stream:
    """WatchSecrets as an agent uses it. What it was told stays in `state`, by entry and name."""

    def __init__(self, node: Node, identity: Identity) -> None:
        self.call: Any = node.node(identity).WatchSecrets()
        self.state: dict[tuple[str, str], Any] = {}
        self.updates: list[Any] = []
        self._reading: asyncio.Task[Any] | None = None

    async def say(self, *, wanted: Any = (), unwanted: Any = ()) -> None:
        """Wants are (entry, name) or (entry, name, held version)."""

        def messages(wants: Any) -> list[Any]:
            return [
                node_pb2.SecretWant(entry_id=want[0], name=want[1], held_version=want[2] if len(want) > 2 else "")
                for want in wants
            ]

        request = node_pb2.WatchSecretsRequest(wanted=messages(wanted), unwanted=messages(unwanted))
        await self.call.write(request)

    async def want(self, *wants: Any) -> None:
        await self.say(wanted=wants)

    async def read(self) -> Any:
        """Whoever gives up waiting must not cancel the read, which would cancel the call."""
        reading = self._reading or asyncio.create_task(self.call.read())
        self._reading = reading
        message = await asyncio.shield(reading)
        self._reading = None
        for update in message.updates:
            self.updates.append(update)
            for entry_id in update.entry_ids:
                self.state[entry_id, update.name] = update
        return message

    async def until(self, entry_id: str, name: str, expected: bytes | int, seconds: float = DEADLINE) -> Any:
        """Until this entry is told this value, or this reason of absence; the update."""
        async with asyncio.timeout(seconds):
            while (told := self.state.get((entry_id, name))) is None or said(told) != expected:
                await self.read()
            return told

    async def nothing(self, seconds: float = 0.4) -> None:
        """No update comes meanwhile."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    message = await self.read()
                    assert not message.updates, [update.name for update in message.updates]
        except TimeoutError:
            return


def said(update: Any) -> bytes | int:
    """The only value, or the reason."""
    if update.WhichOneof("state") == "absence":
        return int(update.absence.reason)
    return bytes(update.value.fields[0].value)


__all__ = ["ABSENT", "Below", "Exactly", "Labelled", "Operator", "Stream", "said"]
