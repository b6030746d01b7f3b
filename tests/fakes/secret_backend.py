"""A source of secrets that a test writes to, breaks and counts; implements sds.secrets.backend.SecretBackend."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from attestation.spiffe_id import SpiffeId
from ca.masked import Masked
from sds.secrets.backend import Fetched
from sds.secrets.errors import SecretError, SecretMissing
from sds.secrets.secret import Secret, VersionInfo


class FakeBackend:
    """Values by the name of their secret. `gate` is open unless a test closes it."""

    def __init__(self, name: str = "embedded", *, per_identity: bool = False) -> None:
        self.name = name
        self.per_identity = per_identity
        self.values: dict[str, tuple[str, dict[str, bytes]]] = {}
        self.problems: dict[str, SecretError] = {}
        self.fetches: list[tuple[str, SpiffeId | None]] = []
        self.asked: list[tuple[str, ...]] = []
        self.released: list[tuple[str, SpiffeId | None]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.broken: Exception | None = None

    def put(self, name: str, version: str, value: bytes = b"value", field: str = "") -> None:
        self.values[name] = (version, {field: value})

    async def fetch(self, secret: Secret, receiver: SpiffeId | None = None) -> Fetched:
        self.fetches.append((secret.name, receiver))
        await self.gate.wait()
        if self.broken is not None:
            raise self.broken
        if secret.name in self.problems:
            raise self.problems[secret.name]
        if secret.name not in self.values:
            raise SecretMissing("there is nothing")
        version, fields = self.values[secret.name]
        return Fetched(version, {name: Masked(value) for name, value in fields.items()})

    async def newest(self, secrets: Sequence[Secret]) -> Mapping[str, str | SecretError]:
        self.asked.append(tuple(secret.name for secret in secrets))
        await self.gate.wait()
        if self.broken is not None:
            raise self.broken
        return {
            secret.id: self.problems[secret.name] if secret.name in self.problems else self.values[secret.name][0]
            for secret in secrets
            if secret.name in self.problems or secret.name in self.values
        }

    def key_of(self, secret: Secret) -> str:
        return secret.name

    def cost_of(self, secrets: Sequence[Secret]) -> int:
        return len(secrets)

    async def versions(self, secret: Secret) -> tuple[VersionInfo, ...]:
        return (VersionInfo(self.values[secret.name][0]),)

    async def release(self, secret: Secret, receiver: SpiffeId | None = None) -> None:
        self.released.append((secret.name, receiver))
