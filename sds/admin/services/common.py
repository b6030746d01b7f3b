"""Who asks, and pages of answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AdminCall:
    """Who asks, as the kernel knows them, and under which request id. Becomes `Actor(kind="admin", ...)`."""

    uid: int
    gid: int
    pid: int
    user: str  # the uid's login name, or "uid:1000" where it has none
    request_id: str


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a listing; `next_cursor` is opaque and None on the last page."""

    items: tuple[T, ...]
    next_cursor: str | None = None
