# ruff: noqa: ARG002  the null object ignores what it is told
"""The secrets that callers want, as far as the cache has to do with them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sds.agent.cache.group import Group, Member
from sds.delivery.resource import Resource
from sds.delivery.view import Absence

Wake = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a caller may have, and the names under which there is nothing to give; None: under all others."""

    resources: tuple[Resource, ...] = field(default=(), repr=False)
    absent: Mapping[str, Absence] | None = None


NOTHING = Seen()


class WantedSecrets(Protocol):
    """Knows which streams want what, and what there is. The cache tells it who matches what."""

    def want(self, member: Member, group: Group, wake: Wake, names: Iterable[str]) -> None:
        """Raises LimitExceeded."""
        ...

    def joined(self, group: Group, member: Member) -> None:
        """`member` has come into the group, and may be in a former one still."""
        ...

    def left(self, group: Group, member: Member) -> None:
        """`member` is in the group no more, which still has its entries."""
        ...

    def assigned(self, group: Group, before: Sequence[str], after: Sequence[str]) -> None:
        """The group has other entries now."""
        ...

    def another(self, entry_id: str) -> None:
        """The entry is another identity's now."""
        ...

    def touched(self) -> Mapping[str, Collection[str]]:
        """Names whose secrets are others since the last call, by the ID of the entry."""
        ...

    def seen(self, entry_ids: Sequence[str]) -> Seen:
        """For callers with these entries, the default one first."""
        ...

    def wakes(self, group: Group, names: Collection[str]) -> Iterable[Wake]:
        """Of the group's streams those that want any of these names, each once."""
        ...


class NoSecrets:
    """For who delivers none."""

    def want(self, member: Member, group: Group, wake: Wake, names: Iterable[str]) -> None: ...

    def joined(self, group: Group, member: Member) -> None: ...

    def left(self, group: Group, member: Member) -> None: ...

    def assigned(self, group: Group, before: Sequence[str], after: Sequence[str]) -> None: ...

    def another(self, entry_id: str) -> None: ...

    def touched(self) -> Mapping[str, Collection[str]]:
        return {}

    def seen(self, entry_ids: Sequence[str]) -> Seen:
        return NOTHING

    def wakes(self, group: Group, names: Collection[str]) -> Iterable[Wake]:
        return ()
