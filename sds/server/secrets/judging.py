"""Judging values without holding up whoever else uses the event loop."""

from __future__ import annotations

import asyncio
from datetime import datetime

from sds.secrets.backend import Fetched
from sds.secrets.judge import SLOW, Limits, judge
from sds.secrets.secret import SecretKind, SecretValue


async def judge_aside(kind: SecretKind, fetched: Fetched, now: datetime, limits: Limits) -> SecretValue:
    """As sds.secrets.judge.judge; what takes long does so in a worker thread."""
    if kind in SLOW:
        return await asyncio.to_thread(judge, kind, fetched, now, limits)
    return judge(kind, fetched, now, limits)
