"""What Vault tells of a secret of its KV engine, version 2, without its value. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sds.secrets.errors import SecretMalformed, SecretMissing
from sds.secrets.secret import VersionInfo


@dataclass(frozen=True, slots=True)
class KvVersion:
    """One version. `ends_at`: when it was or will be deleted."""

    number: int
    created_at: datetime
    ends_at: datetime | None
    destroyed: bool

    def check(self, now: datetime) -> None:
        """Raises SecretMissing unless its value is there."""
        if self.destroyed:
            raise SecretMissing(f"version {self.number} was destroyed")
        if self.ends_at is not None and self.ends_at <= now:
            raise SecretMissing(f"version {self.number} was deleted")

    def info(self, now: datetime) -> VersionInfo:
        ended = self.ends_at is not None and self.ends_at <= now
        state = "destroyed" if self.destroyed else "deleted" if ended else "live"
        return VersionInfo(str(self.number), self.created_at, "", state)


def parse_version(number: object, table: object) -> KvVersion:
    """Raises SecretMalformed."""
    if isinstance(number, str) and number.isascii() and number.isdigit():
        number = int(number)
    if not isinstance(table, Mapping) or isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise _odd()
    destroyed, ends = table.get("destroyed", False), table.get("deletion_time", "")
    if not isinstance(destroyed, bool):
        raise _odd()
    return KvVersion(number, _moment(table.get("created_time")), _moment(ends) if ends else None, destroyed)


def parse_metadata(data: Mapping[str, Any]) -> tuple[KvVersion, ...]:
    """All versions that are known, the current one first. Raises SecretMalformed."""
    versions = data.get("versions") or {}
    if not isinstance(versions, Mapping):
        raise _odd()
    found = (parse_version(number, table) for number, table in versions.items())
    return tuple(sorted(found, key=lambda one: one.number, reverse=True))


def chosen(versions: tuple[KvVersion, ...], pinned: int | None, now: datetime) -> KvVersion:
    """The one that would be read now. Raises SecretMissing."""
    for one in versions:
        if pinned is None or one.number == pinned:
            one.check(now)
            return one
    raise SecretMissing("nothing was written there" if pinned is None else f"version {pinned} is not kept any more")


def _moment(text: object) -> datetime:
    if not isinstance(text, str):
        raise _odd()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise _odd() from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _odd() -> SecretMalformed:
    return SecretMalformed("what Vault tells of it is not as its KV engine, version 2, tells it")
