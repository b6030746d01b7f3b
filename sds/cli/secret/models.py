"""What the admin API answers about secrets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sds.cli.grant.models import Grant


@dataclass(frozen=True, slots=True)
class Rotation:
    every: float | None
    generate: int


@dataclass(frozen=True, slots=True)
class State:
    version: str
    changed_at: datetime | None
    checked_at: datetime | None
    not_after: datetime | None
    problem: str
    problem_code: str
    problem_since: datetime | None


@dataclass(frozen=True, slots=True)
class Secret:
    id: str
    revision: int
    name: str
    kind: str
    source: Mapping[str, Any]
    owner: str
    labels: Mapping[str, str]
    refresh: float | None
    rotation: Rotation
    pinned: int | None
    state: State
    grants: int
    watchers: int
    created_at: datetime
    updated_at: datetime
    granted: tuple[Grant, ...] = ()

    @property
    def embedded(self) -> bool:
        return bool(self.source.get("backend") == "embedded")


@dataclass(frozen=True, slots=True)
class Reached:
    """An entry that is granted the secret."""

    id: str
    spiffe_id: str
    parent_id: str


@dataclass(frozen=True, slots=True)
class Deleted:
    """The lists are cut; the totals are not."""

    dry_run: bool
    secret: Secret
    granted: tuple[Grant, ...]
    entries: tuple[Reached, ...]
    entries_total: int
    versions: int


@dataclass(frozen=True, slots=True)
class Version:
    version: str
    created_at: datetime | None
    created_by: str
    state: str


@dataclass(frozen=True, slots=True)
class Versions:
    versions: tuple[Version, ...]
