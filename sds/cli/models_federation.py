"""Answers about other trust domains."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Federation:
    trust_domain: str
    profile: str
    endpoint_url: str
    endpoint_id: str | None
    sequence: int | None
    x509_authorities: int
    jwt_authorities: int
    refresh_hint: float | None
    fetched_at: datetime | None
    tried_at: datetime | None
    problem: str
    entries: int
