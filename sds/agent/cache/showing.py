"""Gives each group the View of now, and wakes those who see something else than before."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sds.agent.cache.group import Group, Waker
from sds.agent.cache.groups import Groups
from sds.agent.cache.views import Views
from sds.agent.cache.wanted import WantedSecrets


class Showing:
    """`groups`, `views` and `secrets` belong to the cache."""

    __slots__ = ("_groups", "_secrets", "_views", "_waker")

    def __init__(self, groups: Groups, views: Views, secrets: WantedSecrets) -> None:
        self._groups = groups
        self._views = views
        self._secrets = secrets
        self._waker = Waker()

    def invalidate(self, entry_id: str) -> dict[Group, None]:
        """Forget the views that show this entry; the groups that have them."""
        groups = dict.fromkeys(self._groups.of(entry_id))
        for group in groups:
            self._views.forget(group.key)
        return groups

    def refresh(self, groups: Iterable[Group] = ()) -> None:
        """Give each of these groups its View of now, and wake those to whom that is another one.

        So it is with groups that have other secrets; of those only the streams are woken that want these.
        """
        partly = self._with_other_secrets()
        woken: list[Callable[[], None]] = []
        for group in groups:
            partly.pop(group, None)
            view = self._views.of(group.key)
            if view is not group.view:
                group.view = view
                for member in group.members.values():
                    woken.extend(member.watchers)
            group.stir()
        for group, names in partly.items():
            group.view = self._views.of(group.key)
            woken.extend(self._secrets.wakes(group, names))
        self._waker.wake(woken)

    def _with_other_secrets(self) -> dict[Group, set[str]]:
        groups: dict[Group, set[str]] = {}
        for entry_id, names in self._secrets.touched().items():
            for group in self.invalidate(entry_id):
                groups.setdefault(group, set()).update(names)
        return groups
