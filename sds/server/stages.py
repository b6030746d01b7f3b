"""How far an issuance has come: the moments at which a crash must leave neither too little behind nor too much."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum


class Stage(StrEnum):
    """What has just become true."""

    INTENDED = "intended"
    """Intent and audit event are durable; no key was used yet."""
    SIGNED = "signed"
    """The certificate exists; that it does is not recorded yet."""
    RECORDED = "recorded"
    """Its record is durable; nobody has it yet."""


Passing = Callable[[Stage], None]
"""Is told on the event loop, between two steps."""


def unwatched(stage: Stage) -> None:
    """Nobody wants to know."""
    del stage
