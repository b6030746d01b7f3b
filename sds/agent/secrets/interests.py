"""Whose streams want which secrets; from that, and from what entries groups match, what is wanted of the server."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from sds.agent.cache.group import Group, Member
from sds.agent.cache.wanted import Seen, Wake
from sds.agent.secrets.shelf import Shelf, Touched
from sds.clock import Clock
from sds.delivery.errors import LimitExceeded
from sds.delivery.secret_name import may_be_secret
from sds.delivery.view import STANDARD_NAMES, Names
from sds.net.limits import Caps


@dataclass(frozen=True, slots=True)
class InterestLimits:
    """How many secrets one process may want at once, all processes of one user together, and all on the node."""

    per_process: int = 1_000
    per_user: int = 20_000
    total: int = 40_000


class _Wanting:
    """One process that wants secrets. `group` is the one that its names are counted in."""

    __slots__ = ("group", "names", "streams")

    def __init__(self, group: Group | None) -> None:
        self.group = group
        self.streams: dict[Wake, tuple[str, ...]] = {}
        self.names: dict[str, int] = {}  # how many of its streams want each


class Interests:
    """Implements the cache's WantedSecrets. What wants no secrets costs nothing here."""

    __slots__ = ("_caps", "_clock", "_groups", "_limits", "_members", "_roles", "_shelf", "_stir")

    def __init__(
        self, shelf: Shelf, clock: Clock, roles: Names = STANDARD_NAMES, limits: InterestLimits = InterestLimits()
    ) -> None:
        self._shelf = shelf
        self._clock = clock
        self._roles = roles
        self._limits = limits
        self._caps = Caps(limits.total, limits.per_user)
        self._stir: Callable[[], None] = lambda: None
        self._members: dict[Member, _Wanting] = {}
        self._groups: dict[Group, dict[str, dict[Wake, None]]] = {}  # the innermost one is a set in order

    def on_change(self, stir: Callable[[], None]) -> None:
        """Have `stir` called, on the loop, when something is wanted that was not, or no more."""
        self._stir = stir

    def want(self, member: Member, group: Group, wake: Wake, names: Iterable[str]) -> None:
        """The stream that is woken by `wake` wants these names, and none of those before. Raises LimitExceeded.

        Names of identities and bundles are no secrets'.
        """
        asked = tuple(dict.fromkeys(n for n in names if may_be_secret(n) and not self._roles.has(n)))
        wanting = self._members.get(member)
        if wanting is None:
            if not asked:
                return
            wanting = _Wanting(group if group.members.get(member.process) is member else None)
        former = wanting.streams.get(wake, ())
        self._count(member, wanting, [name for name in asked if name not in former])
        if asked:
            wanting.streams[wake] = asked
            self._members[member] = wanting
        else:
            wanting.streams.pop(wake, None)
        if wanting.group is not None:
            for name in asked:
                self._add(wanting.group, name, wake)
        self._uncount(member, wanting, [name for name in former if name not in asked], wake)
        if not wanting.streams:
            self._members.pop(member, None)

    def joined(self, group: Group, member: Member) -> None:
        """`member` has come into the group, and may be in a former one still."""
        wanting = self._members.get(member)
        if wanting is not None and wanting.group is not group:
            wanting.group = group
            for wake, names in wanting.streams.items():
                for name in names:
                    self._add(group, name, wake)

    def left(self, group: Group, member: Member) -> None:
        """`member` is in the group no more."""
        wanting = self._members.get(member)
        if wanting is None or group not in self._groups:
            return
        for wake, names in wanting.streams.items():
            for name in names:
                self._remove(group, name, wake)
        if wanting.group is group:
            wanting.group = None

    def assigned(self, group: Group, before: Sequence[str], after: Sequence[str]) -> None:
        """The group has other entries now."""
        names = self._groups.get(group)
        if not names or before == after:
            return
        tick = self._clock.monotonic()
        for entry_id in after:
            for name in names if entry_id not in before else ():
                self._shelf.acquire(entry_id, name, tick)
        for entry_id in before:
            for name in names if entry_id not in after else ():
                self._shelf.release(entry_id, name)
        self._stir()

    def another(self, entry_id: str) -> None:
        """The entry is another identity's now."""
        self._shelf.forget_entry(entry_id, self._clock.monotonic())
        self._stir()

    def touched(self) -> Touched:
        return self._shelf.touched()

    def seen(self, entry_ids: Sequence[str]) -> Seen:
        return self._shelf.seen(entry_ids)

    def wakes(self, group: Group, names: Collection[str]) -> Iterator[Wake]:
        """Of the group's streams those that want any of these names, each once."""
        wanted = self._groups.get(group, {})
        return iter(dict.fromkeys(wake for name in names for wake in wanted.get(name, ())))

    def _count(self, member: Member, wanting: _Wanting, names: Sequence[str]) -> None:
        """Raises LimitExceeded; then nothing has changed."""
        new = [name for name in names if name not in wanting.names]
        if len(wanting.names) + len(new) > self._limits.per_process:
            raise LimitExceeded(f"this process wants more than {self._limits.per_process} secrets at once")
        if new and self._caps.acquire(member.process.uid, len(new)) is not None:
            raise LimitExceeded("too many secrets are wanted on this node, try again later")
        for name in names:
            wanting.names[name] = wanting.names.get(name, 0) + 1

    def _uncount(self, member: Member, wanting: _Wanting, names: Sequence[str], wake: Wake) -> None:
        for name in names:
            if wanting.group is not None:
                self._remove(wanting.group, name, wake)
            wanting.names[name] -= 1
            if not wanting.names[name]:
                del wanting.names[name]
                self._caps.release(member.process.uid)

    def _add(self, group: Group, name: str, wake: Wake) -> None:
        names = self._groups.setdefault(group, {})
        wakes = names.setdefault(name, {})
        if not wakes:
            tick = self._clock.monotonic()
            for entry in group.entries:
                self._shelf.acquire(entry.id, name, tick)
            self._stir()
        wakes[wake] = None

    def _remove(self, group: Group, name: str, wake: Wake) -> None:
        names = self._groups.get(group, {})
        wakes = names.get(name)
        if wakes is None or wake not in wakes:
            return
        del wakes[wake]
        if wakes:
            return
        del names[name]
        if not names:
            del self._groups[group]
        for entry in group.entries:
            self._shelf.release(entry.id, name)
        self._stir()
