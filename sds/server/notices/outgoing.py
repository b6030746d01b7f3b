"""What is sent, and why it could not be."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sds.notices.message import Message
from sds.notices.notice import Notice
from sds.notices.plan import Mode


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message to one recipient. `id` is the same for the same news, so that who gets it twice can tell."""

    id: str
    recipient: str
    mode: Mode
    now: datetime
    notices: tuple[Notice, ...]
    message: Message


class SendFailed(Exception):
    """What went wrong, safe to show. `outage`: it would go wrong for every recipient of this channel."""

    def __init__(self, problem: str, *, outage: bool = False) -> None:
        super().__init__(problem)
        self.outage = outage


class Sender(Protocol):
    """A channel. `send` returns when the other side has taken the message over; raises SendFailed."""

    async def send(self, outgoing: Outgoing) -> None: ...


def message_id(recipient: str, mode: Mode, notices: Sequence[Notice]) -> str:
    """32 hex digits, of what is told to whom."""
    news = sorted(f"{one.id} {one.stage} {one.told} {one.ended_at is not None}" for one in notices)
    return hashlib.sha256("\n".join([recipient, mode.value, *news]).encode()).hexdigest()[:32]
