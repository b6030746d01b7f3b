"""Where values come from: one Protocol for the embedded store and for each of Vault's engines (the plugin family)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from attestation.spiffe_id import SpiffeId
from ca.masked import Masked
from sds.secrets.errors import SecretError
from sds.secrets.secret import Secret, VersionInfo


@dataclass(frozen=True, slots=True, eq=False)
class Fetched:
    """What a source gave, not judged yet. `version` changes with the value and says nothing of it."""

    version: str
    fields: Mapping[str, Masked[bytes]] = field(repr=False)
    changed_at: datetime | None = None
    not_after: datetime | None = None


class SecretBackend(Protocol):
    """One kind of source. Every method raises SecretError, and nothing else that is not a bug."""

    @property
    def name(self) -> str:
        """The plugin's name."""
        ...

    @property
    def per_identity(self) -> bool:
        """Whether each receiver has a value of its own; else `receiver` means nothing and one value serves all."""
        ...

    async def fetch(self, secret: Secret, receiver: SpiffeId | None = None) -> Fetched:
        """The newest value, or the pinned one; of a receiver's own the one it has, made if there is none."""
        ...

    async def newest(self, secrets: Sequence[Secret]) -> Mapping[str, str | SecretError]:
        """The version that `fetch` would give now, by secret ID, without the values; cheap, for it is asked often.

        A secret that is not in the answer may have changed: fetch it.
        """
        ...

    async def versions(self, secret: Secret) -> tuple[VersionInfo, ...]:
        """All that the source still knows of, newest first."""
        ...

    async def release(self, secret: Secret, receiver: SpiffeId | None = None) -> None:
        """Nobody uses the receiver's value any more, or may: revoke what was leased. Nothing to do is no error."""
        ...
