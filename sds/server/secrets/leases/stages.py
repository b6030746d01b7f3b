"""How far the making or ending of a lease has come: the moments at which a crash must leave nothing behind at Vault."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum


class LeaseStage(StrEnum):
    """What has just become true."""

    TOKEN = "token"  # noqa: S105
    """The token exists at Vault and nobody else knows of it. Nothing hangs on it."""
    BEGUN = "begun"
    """Its accessor is durable; nothing was asked for with it."""
    ANSWERED = "answered"
    """Vault has made the credentials; only this process knows them."""
    LIVE = "live"
    """They are durable, under the secret's data key."""
    ENDED = "ended"
    """That they end is durable; Vault has not been told."""
    REVOKED = "revoked"
    """Vault has revoked them; the row still says that it must."""


LeasePassing = Callable[[LeaseStage], None]
"""Is told on the event loop, between two steps."""


def unwatched(stage: LeaseStage) -> None:
    """Nobody wants to know."""
    del stage
