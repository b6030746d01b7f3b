"""What an agent is to be told about what it wants."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from attestation.entry import RegistrationEntry
from sds.secrets.secret import Secret
from sds.server.secrets.slot import Held

Want = tuple[str, str]
"""An entry's ID and a secret's name."""


class Told(Enum):
    """What the agent knows of something that it wants."""

    NOTHING = "nothing"
    NOT_GRANTED = "not_granted"
    UNAVAILABLE = "unavailable"
    UNCHANGED = "unchanged"
    VALUE = "value"


@dataclass(frozen=True, slots=True)
class Absence:
    """Why these entries are sent no value under this name. `told` is neither NOTHING nor VALUE."""

    name: str
    told: Told
    entry_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """A value that these entries are to be sent. `detected`: see Slot."""

    secret: Secret
    held: Held = field(repr=False)
    entries: tuple[RegistrationEntry, ...]
    detected: float | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """An entry asked for something that it may not have; `why` is for the audit log, agents are not told."""

    name: str
    entry_id: str
    spiffe_id: str
    why: str


@dataclass(slots=True)
class News:
    """What `take` found. Values are not told yet: say so with `told_value` once one was sent, or `put_back`."""

    absences: list[Absence] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.absences or self.deliveries)
