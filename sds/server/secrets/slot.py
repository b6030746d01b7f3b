"""One value that is wanted now, and how it stands at its source."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import dataclass, field
from dataclasses import fields as dataclass_fields
from datetime import datetime
from typing import Protocol

from attestation.spiffe_id import SpiffeId
from sds.secrets.errors import SecretError
from sds.secrets.secret import Secret, SecretState, SecretValue

Key = tuple[str, SpiffeId | None]
"""A secret's ID and, where each receiver has a value of its own, the receiver."""


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """A value that is fit to be sent. `version` names it at its source, `value.version` names it to receivers."""

    value: SecretValue = field(repr=False)
    version: str
    changed_at: datetime

    def fit(self, now: datetime) -> bool:
        """Whether it has not ended by itself."""
        return self.value.not_after is None or now < self.value.not_after


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a value is not had, for operators. Not the exception: what its traceback refers to would live on."""

    code: str
    text: str

    @classmethod
    def of(cls, error: SecretError) -> Problem:
        return cls(error.code, str(error))


class SlotUser(Protocol):
    """Whoever wants a value."""

    def slot_changed(self, slot: Slot) -> None:
        """It has another value or problem than before. Called on the event loop; must not raise."""
        ...


class Slot:
    """Made by the shelf, which alone writes it."""

    __slots__ = (
        "__weakref__",
        "again",
        "checked_at",
        "detected",
        "failures",
        "held",
        "problem",
        "receiver",
        "secret",
        "seen",
        "task",
        "timer",
        "users",
    )

    def __init__(self, secret: Secret, receiver: SpiffeId | None) -> None:
        self.secret = secret
        self.receiver = receiver
        self.held: Held | None = None
        self.problem: Problem | None = None
        self.seen = ""
        """The version that the source gave last, fit or not."""
        self.checked_at: datetime | None = None
        self.detected: float | None = None
        """When what is held now was found to have changed (monotonic seconds); None for the first value."""
        self.failures = 0
        self.users: set[SlotUser] = set()
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.again = False

    @property
    def key(self) -> Key:
        return self.secret.id, self.receiver

    @property
    def first(self) -> bool:
        """It is being fetched for the first time: there is nothing yet that a look could compare."""
        return self.task is not None and not self.seen

    def state(self) -> SecretState:
        """How it stands, for operators."""
        held, problem = self.held, self.problem
        return SecretState(
            version="" if held is None else held.version,
            changed_at=None if held is None else held.changed_at,
            checked_at=self.checked_at,
            not_after=None if held is None else held.value.not_after,
            problem="" if problem is None else problem.text,
            problem_code="" if problem is None else problem.code,
        )


def wire_version(secret: Secret, version: str, changed_at: datetime | None) -> str:
    """What receivers know a source's version by.

    Another secret, another reading of the same source, and what was written anew under an old number have another.
    """
    spec = secret.spec
    names = [each.name for each in dataclass_fields(spec.source) if each.name != "fields"]
    source = {name: str(getattr(spec.source, name)) for name in names}
    fields = sorted(getattr(spec.source, "fields", {}).items())
    written = None if changed_at is None else changed_at.isoformat()
    meant = json.dumps([secret.id, spec.kind, type(spec.source).__name__, source, fields, written], sort_keys=True)
    return f"{version}.{hashlib.sha256(meant.encode()).hexdigest()[:8]}"
