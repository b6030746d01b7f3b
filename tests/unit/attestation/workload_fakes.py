"""A log that remembers, a user database in a dict, and the wall clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime


def wall() -> datetime:
    """File systems stamp changes with it, so a fake clock would not do."""
    return datetime.now(UTC)


@dataclass
class FakeLog:
    lines: list[dict[str, object]] = field(default_factory=list)

    def info(self, event: str, **facts: object) -> None:
        self.lines.append({"event": event, **facts})

    def facts(self) -> set[object]:
        return {line["fact"] for line in self.lines}


@dataclass
class FakeNames:
    users: dict[int, str] = field(default_factory=dict)
    groups: dict[int, str] = field(default_factory=dict)

    def user(self, uid: int) -> str | None:
        return self.users.get(uid)

    def group(self, gid: int) -> str | None:
        return self.groups.get(gid)
