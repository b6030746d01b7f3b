"""The backend `kv`: secrets of Vault's KV engine, version 2.

Whether one has changed is read from its metadata, which hold no value. Where the server can list the metadata of a
whole folder (OpenBao), one request tells of all its secrets; whether it can is found out once for each mount.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from attestation.spiffe_id import SpiffeId
from ca.masked import Masked
from sds.clock import Clock
from sds.secrets.backend import Fetched
from sds.secrets.errors import SecretDenied, SecretError, SecretMalformed, SecretMissing, SecretUnavailable
from sds.secrets.secret import KvSource, Secret, VersionInfo
from sds.vault.answers import VaultAnswer
from sds.vault.errors import VaultDenied, VaultError, VaultNotFound, VaultRefused
from sds.vault.kv_metadata import chosen, parse_metadata, parse_version

AT_ONCE = 8
"""Requests of one look."""
_Folder = tuple[str, str]


class VaultRequests(Protocol):
    """See sds.vault.client.VaultClient."""

    async def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        params: Mapping[str, str] | None = None,
    ) -> VaultAnswer: ...


class KvBackend:
    """Implements sds.secrets.backend.SecretBackend."""

    name = "kv"
    per_identity = False

    def __init__(self, vault: VaultRequests, clock: Clock) -> None:
        self._vault = vault
        self._clock = clock
        self._lists: dict[str, bool] = {}
        self._too_large: set[_Folder] = set()
        self._seen: dict[str, tuple[str, datetime]] = {}

    async def fetch(self, secret: Secret, receiver: SpiffeId | None = None) -> Fetched:
        del receiver  # one value serves all
        source = _source(secret)
        params = None if secret.pinned is None else {"version": str(secret.pinned)}
        try:
            answer = await self._vault.request("GET", f"{source.mount}/data/{source.path}", params=params)
        except VaultNotFound as error:
            raise self._why_missing(error, secret) from None
        except VaultError as error:
            raise secret_error(error) from error
        metadata = answer.data.get("metadata")
        version = parse_version(metadata.get("version") if isinstance(metadata, Mapping) else None, metadata)
        version.check(self._clock.now())
        self._seen[secret.id] = (str(version.number), version.created_at)
        fields = dict(_fields(answer.data.get("data"), source.fields))
        return Fetched(str(version.number), fields, version.created_at, version.ends_at)

    async def newest(self, secrets: Sequence[Secret]) -> Mapping[str, str | SecretError]:
        folders: dict[_Folder, list[Secret]] = {}
        for secret in secrets:
            folders.setdefault(_folder(secret), []).append(secret)
        gate = asyncio.Semaphore(AT_ONCE)
        answers = await asyncio.gather(*(self._look(folder, group, gate) for folder, group in folders.items()))
        return {secret_id: told for answer in answers for secret_id, told in answer.items() if told is not None}

    async def versions(self, secret: Secret) -> tuple[VersionInfo, ...]:
        source, now = _source(secret), self._clock.now()
        try:
            answer = await self._vault.request("GET", f"{source.mount}/metadata/{source.path}")
        except VaultNotFound:
            return ()
        except VaultError as error:
            raise secret_error(error) from error
        return tuple(version.info(now) for version in parse_metadata(answer.data))

    async def release(self, secret: Secret, receiver: SpiffeId | None = None) -> None:
        """Nothing was lent."""
        del receiver
        self._seen.pop(secret.id, None)

    def key_of(self, secret: Secret) -> str:
        """Secrets with the same key are best looked at together."""
        mount, folder = _folder(secret)
        return f"{mount}/{folder}/" if self._may_list((mount, folder)) else f"{mount}/{_source(secret).path}"

    def cost_of(self, secrets: Sequence[Secret]) -> int:
        """Requests that looking at these together takes."""
        folders: dict[_Folder, int] = {}
        for secret in secrets:
            folder = _folder(secret)
            folders[folder] = folders.get(folder, 0) + 1
        return sum(1 if self._may_list(folder) else count for folder, count in folders.items())

    def _may_list(self, folder: _Folder) -> bool:
        return self._lists.get(folder[0], True) and folder not in self._too_large

    async def _look(
        self, folder: _Folder, secrets: Sequence[Secret], gate: asyncio.Semaphore
    ) -> dict[str, str | SecretError | None]:
        if len(secrets) > 1 and self._may_list(folder):
            listed = await self._list(folder, secrets, gate)
            if listed is not None:
                return listed
        told = await asyncio.gather(*(self._look_at(secret, gate) for secret in secrets))
        if len(secrets) > 1 and folder[0] not in self._lists and any(isinstance(one, str) for one in told):
            self._lists[folder[0]] = False  # something is there, and yet it could not be listed
        return dict(zip((secret.id for secret in secrets), told, strict=True))

    async def _list(
        self, folder: _Folder, secrets: Sequence[Secret], gate: asyncio.Semaphore
    ) -> dict[str, str | SecretError | None] | None:
        """None: it cannot be listed, or there is nothing there; then each has to be asked for."""
        mount, name = folder
        try:
            async with gate:
                answer = await self._vault.request("LIST", f"{mount}/detailed-metadata/{name}".rstrip("/"))
        except VaultNotFound:
            return None
        except (VaultRefused, VaultDenied):
            self._lists[mount] = False
            return None
        except VaultError as error:
            if error.status is not None and error.status < 300:  # it answers, but not so that it could be read
                self._too_large.add(folder)
                return None
            problem = secret_error(error)
            return {secret.id: problem for secret in secrets}
        table = answer.data.get("key_info")
        if not isinstance(table, Mapping):
            self._lists[mount] = False
            return None
        self._lists[mount] = True
        return {secret.id: self._told(secret, table.get(_source(secret).path.rpartition("/")[2])) for secret in secrets}

    async def _look_at(self, secret: Secret, gate: asyncio.Semaphore) -> str | SecretError | None:
        source = _source(secret)
        try:
            async with gate:
                answer = await self._vault.request("GET", f"{source.mount}/metadata/{source.path}")
        except VaultDenied:  # the policy may let us read the value all the same: then that is the way to look
            return None
        except VaultNotFound:
            return SecretMissing("nothing was written there")
        except VaultError as error:
            return secret_error(error)
        return self._told(secret, answer.data)

    def _told(self, secret: Secret, metadata: object) -> str | SecretError | None:
        """The version by its metadata. None for one that bears a known number and was written anew."""
        if not isinstance(metadata, Mapping) or not metadata:
            return SecretMissing("nothing was written there")
        try:
            version = chosen(parse_metadata(metadata), secret.pinned, self._clock.now())
        except SecretError as error:
            return error
        number = str(version.number)
        seen = self._seen.get(secret.id)
        return None if seen is not None and seen[0] == number and seen[1] != version.created_at else number

    def _why_missing(self, error: VaultNotFound, secret: Secret) -> SecretError:
        metadata = error.answer.data.get("metadata") if error.answer is not None else None
        if isinstance(metadata, Mapping):
            try:
                parse_version(metadata.get("version"), metadata).check(self._clock.now())
            except SecretError as why:
                return why
            return SecretMissing("it was deleted")
        if secret.pinned is not None:
            return SecretMissing(f"version {secret.pinned} is not kept any more, or the secret is gone")
        return SecretMissing("nothing was written there, or no such engine is mounted")


def secret_error(error: VaultError) -> SecretError:
    """What operators see of what Vault said."""
    if isinstance(error, VaultDenied):
        return SecretDenied(str(error))
    if isinstance(error, VaultNotFound):
        return SecretMissing(str(error))
    return SecretUnavailable(str(error))


def _source(secret: Secret) -> KvSource:
    source = secret.spec.source
    if not isinstance(source, KvSource):
        raise SecretUnavailable("its source is no KV engine")
    return source


def _folder(secret: Secret) -> _Folder:
    source = _source(secret)
    return source.mount, source.path.rpartition("/")[0]


def _fields(data: object, wanted: Mapping[str, str]) -> Iterable[tuple[str, Masked[bytes]]]:
    """Our fields from the engine's. Raises SecretMalformed, which shows no value."""
    if not isinstance(data, Mapping):
        raise SecretMalformed("what Vault holds there is no table of fields")
    for ours, theirs in wanted.items() if wanted else zip(data, data, strict=True):
        if theirs not in data:
            raise SecretMalformed(f"it has no field {theirs!r}")
        yield ours, _text(theirs, data[theirs])


def _text(name: str, value: object) -> Masked[bytes]:
    if isinstance(value, bool):
        return Masked(b"true" if value else b"false")
    if isinstance(value, int):
        return Masked(str(value).encode())
    if not isinstance(value, str):
        raise SecretMalformed(f"its field {name!r} is neither text nor a whole number")
    try:
        return Masked(value.encode())
    except UnicodeEncodeError:
        raise SecretMalformed(f"its field {name!r} is no text that has bytes") from None
