"""What is found, and the notices that are made of it: one for each recipient, told once for each stage."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

LONGEST_TEXT = 400
"""Characters of a notice's text; names and labels in it are whoever's who made them."""


class Kind(StrEnum):
    """What a notice tells of. The order is that of messages."""

    CERTIFICATE = "certificate"
    """The newest certificate of an entry ends soon, and none has taken its place."""
    AUTHORITY = "authority"
    SECRET_EXPIRY = "secret_expiry"  # noqa: S105 - a kind
    SECRET_ROTATION = "secret_rotation"  # noqa: S105 - a kind
    SECRET_PROBLEM = "secret_problem"  # noqa: S105 - a kind
    TOKEN = "token"  # noqa: S105 - a kind
    AGENT_SILENT = "agent_silent"
    SIDECAR_REJECTS = "sidecar_rejects"
    SIDECAR_BEHIND = "sidecar_behind"
    ENTRY_UNUSED = "entry_unused"
    ENTRY_STALE = "entry_stale"
    GRANT_UNUSED = "grant_unused"
    GRANT_STALE = "grant_stale"


class Channel(StrEnum):
    """How a recipient is reached. `NONE`: not at all; whoever lists notices sees them."""

    MAIL = "mail"
    WEBHOOK = "webhook"
    NONE = "none"


WEBHOOK = "webhook"
NOBODY = ""


def channel_of(recipient: str) -> Channel:
    """Recipients are e-mail addresses, `webhook`, or empty."""
    if recipient == NOBODY:
        return Channel.NONE
    return Channel.WEBHOOK if recipient == WEBHOOK else Channel.MAIL


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that somebody should know. `stage` 0 is the mildest; the same thing comes again with higher ones.

    `owner` is whom the entry or the secret names, or "". `due_at`: when it hurts, or since when it does.
    """

    kind: Kind
    subject: str
    text: str
    owner: str = ""
    stage: int = 0
    urgent: bool = False
    due_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """A finding for one recipient. `told` is the stage of which the recipient knows, -1 if of none.

    `changed_at`: since when there is something to tell. `closed`: it is over, and whoever was told of it knows.
    """

    id: str
    kind: Kind
    subject: str
    recipient: str
    text: str
    owner: str
    stage: int
    urgent: bool
    due_at: datetime | None
    first_seen_at: datetime
    changed_at: datetime
    told: int = -1
    sent_at: datetime | None = None
    ended_at: datetime | None = None
    closed: bool = False
    attempts: int = 0
    retry_at: datetime | None = None
    problem: str = ""

    @property
    def key(self) -> tuple[Kind, str, str]:
        """Of notices that are not closed, no two have the same."""
        return (self.kind, self.subject, self.recipient)

    @property
    def waiting(self) -> bool:
        """Whether its recipient is to be told something that they do not know."""
        if self.closed or channel_of(self.recipient) is Channel.NONE:
            return False
        return self.told >= 0 if self.ended_at is not None else self.stage > self.told


def line(text: str, longest: int = LONGEST_TEXT) -> str:
    """`text` as one line that moves no cursor, breaks no header and turns no direction, cut to `longest` characters."""
    plain = "".join("?" if unicodedata.category(c)[0] == "C" or c in "\u2028\u2029" else c for c in text)
    return plain if len(plain) <= longest else plain[: longest - 1] + "\N{HORIZONTAL ELLIPSIS}"
