"""Answers about JWT-SVIDs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class MintedToken:
    """Holds the token: never print it but where it was asked for."""

    token: str
    token_id: str
    spiffe_id: str
    audience: tuple[str, ...]
    expires_at: datetime

    def __repr__(self) -> str:
        return f"MintedToken({self.token_id}, {self.spiffe_id}, ***)"


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    spiffe_id: str
    audience: tuple[str, ...]
    expires_at: datetime
    key_id: str
    claims: Mapping[str, Any]
