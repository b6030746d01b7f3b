"""What Vault refuses, and when it is out of use. Every message is safe to show: none holds a token or a value."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sds.vault.answers import VaultAnswer


class Replay(Enum):
    """Whether the same request may be sent once more after it failed."""

    ALWAYS = auto()
    """Vault has certainly not acted on it."""
    IF_IDEMPOTENT = auto()
    """Vault may have acted on it, and the answer was lost."""
    NEVER = auto()
    """It was not sent, because it would not have helped."""


class VaultError(Exception):
    """A request that Vault did not fulfil. `status` is its HTTP status, None where there was no answer."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class VaultUnavailable(VaultError):
    """It cannot answer now: unreachable, sealed, without a leader, overloaded, or we leave it alone for a while.

    `retry_after`: in how many seconds it may be well again, where that is known.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        replay: Replay = Replay.IF_IDEMPOTENT,
    ) -> None:
        super().__init__(message, status=status)
        self.retry_after = retry_after
        self.replay = replay


class VaultDenied(VaultError):
    """The policies of the token do not allow it (403)."""


class VaultNotFound(VaultError):
    """There is nothing at this path (404).

    `answer`: what Vault tells of it all the same, as of a deleted version in KV v2 (its metadata); None: nothing.
    """

    def __init__(self, message: str, *, status: int | None = None, answer: VaultAnswer | None = None) -> None:
        super().__init__(message, status=status)
        self.answer = answer


class VaultRefused(VaultError):
    """The request itself is wrong: its path, its parameters, or a role that is set up otherwise (any other 4xx)."""
