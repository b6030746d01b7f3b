"""What the admin API answers about grants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Grant:
    """Of `spiffe_id`, `spiffe_id_prefix` and `labels` one is given."""

    id: str
    secret: str
    spiffe_id: str | None
    spiffe_id_prefix: str | None
    labels: Mapping[str, str]
    created_at: datetime
    created_by: str


@dataclass(frozen=True, slots=True)
class CreatedGrant(Grant):
    entries: int


@dataclass(frozen=True, slots=True)
class Allowed:
    secret: str
    spiffe_id: str
    entry_id: str | None
    grant: Grant


@dataclass(frozen=True, slots=True)
class Checked:
    allowed: tuple[Allowed, ...]
    total: int
