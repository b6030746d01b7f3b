"""When a value is too old by its secret's policy. Pure."""

from __future__ import annotations

from datetime import datetime

from sds.secrets.secret import EmbeddedSource, Secret


def too_old(secret: Secret, changed_at: datetime | None, now: datetime) -> bool:
    """Whether its value, which is of `changed_at`, should have been replaced by now. No value is never too old."""
    every = secret.spec.rotation.every
    return every is not None and changed_at is not None and now - changed_at >= every


def generation_due(secret: Secret, changed_at: datetime | None, now: datetime) -> bool:
    """Whether a new random value is to be made now: the first, or when the last is too old.

    Not while a version is pinned: who rolled back wants that one.
    """
    if not secret.spec.rotation.generate or not isinstance(secret.spec.source, EmbeddedSource):
        return False
    if secret.pinned is not None:
        return False
    return changed_at is None or too_old(secret, changed_at, now)
