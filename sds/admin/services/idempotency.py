"""Requests with a key: done once, and answered the same again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from sds.admin.services.common import AdminCall


@dataclass(frozen=True, slots=True)
class GivenAnswer:
    """What a request was answered with. `body` None: it held a secret, or was too large, and was not kept."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = field(default=None, repr=False)


class IdempotencyAdmin(Protocol):
    """Keys are of the caller who sent them, and kept for a day."""

    async def claim(self, call: AdminCall, key: str, digest: str) -> GivenAnswer | None:
        """None: this request is the first, and is to be done. Else what the first one was answered.

        Raises KeyReused for another request under the same key, StillInProgress while the first one runs, and
        OutcomeUnknown if this server ended before it could be answered.
        """
        ...

    async def keep(self, call: AdminCall, key: str, answer: GivenAnswer) -> None: ...

    async def release(self, call: AdminCall, key: str) -> None:
        """The request was refused, so nothing was done: the same key may be tried again."""
        ...
