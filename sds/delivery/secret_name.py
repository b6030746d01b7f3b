"""Which names can be those of secrets. Pure."""

from __future__ import annotations

import re

_SHAPE = re.compile(r"[A-Za-z0-9][-._/A-Za-z0-9]{0,127}", re.ASCII)


def may_be_secret(name: str) -> bool:
    """Whether a secret could be asked for under `name`; SPIFFE IDs and names with a colon are others' for ever."""
    return _SHAPE.fullmatch(name) is not None
