"""The values in memory, by entry and name, each as long as somebody wants it; and what the server is to be told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from weakref import WeakValueDictionary

from sds.agent.cache.wanted import Seen
from sds.agent.errors import InvalidAnswer
from sds.agent.secrets.contents import content_of
from sds.agent.secrets.values import Given, NotGranted, SecretUpdate, Unavailable, Unchanged
from sds.delivery.messages import EXPIRED, NO_VALUE, NOT_GRANTED
from sds.delivery.resource import Resource, make_resource
from sds.delivery.view import Absence
from sds.secrets.secret import SecretValue

Want = tuple[str, str]
"""An entry's ID and a name."""
Touched = dict[str, set[str]]
"""Names of secrets by the ID of the entry for which they are others now."""


class Standing(StrEnum):
    """What is known of a wanted secret."""

    ASKED = "asked"
    GIVEN = "given"
    EXPIRED = "expired"
    NOT_GRANTED = "not_granted"
    UNAVAILABLE = "unavailable"


_ABSENT = {
    Standing.EXPIRED: Absence(EXPIRED, kept=True),
    Standing.UNAVAILABLE: Absence(NO_VALUE),
    Standing.NOT_GRANTED: Absence(NOT_GRANTED),
}
"""The most telling reason first."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One wanted secret as operators see it."""

    entry_id: str
    name: str
    standing: Standing
    version: str
    not_after: datetime | None
    stale: bool
    """The server cannot get it now; what is held is the last good value."""


class _Place:
    """One wanted secret of one entry."""

    __slots__ = ("asked_at", "resource", "stale", "standing", "users", "value")

    def __init__(self, asked_at: float) -> None:
        self.users = 0
        self.asked_at = asked_at
        self.forget()

    def forget(self) -> None:
        self.standing = Standing.ASKED
        self.value: SecretValue | None = None
        self.resource: Resource | None = None
        self.stale = False

    @property
    def version(self) -> str:
        return self.value.version if self.value else ""


class Shelf:
    """Only what is wanted has a place here. Times are those of the caller: monotonic seconds, and aware UTC."""

    __slots__ = ("_places", "_resources", "_touched", "_unwanted", "_wanted", "generation", "size")

    def __init__(self) -> None:
        self._places: dict[str, dict[str, _Place]] = {}
        self._resources: WeakValueDictionary[tuple[str, bytes], Resource] = WeakValueDictionary()
        self._wanted: dict[Want, None] = {}  # not told to the server yet
        self._unwanted: dict[Want, None] = {}
        self._touched: Touched = {}
        self.size = 0
        """How many secrets are wanted, each entry's for itself."""
        self.generation = 0
        """Answers to what was asked under another one may be meant for somebody else."""

    # Who wants what

    def acquire(self, entry_id: str, name: str, tick: float) -> None:
        """One more wants it."""
        places = self._places.setdefault(entry_id, {})
        place = places.get(name)
        if place is None:
            place = places[name] = _Place(tick)
            self._wanted[entry_id, name] = None
            self.size += 1
        place.users += 1

    def release(self, entry_id: str, name: str) -> None:
        """One fewer wants it; with the last one the value is gone."""
        places = self._places[entry_id]
        place = places[name]
        place.users -= 1
        if not place.users:
            del places[name]
            if not places:
                del self._places[entry_id]
            self.size -= 1
            self._touch(entry_id, name)
            if self._wanted.pop((entry_id, name), self) is self:  # the server knows of it
                self._unwanted[entry_id, name] = None

    def forget_entry(self, entry_id: str, tick: float) -> None:
        """The entry is another identity's now: what was given to the former one is gone, and to be asked for anew."""
        for name, place in self._places.get(entry_id, {}).items():
            place.forget()
            place.asked_at = tick
            self._touch(entry_id, name)
            self.generation += 1

    # What the server is told and tells

    def news(self) -> tuple[list[Want], list[Want]]:
        """What is wanted, and what is wanted no more, since the last call. What is both is wanted after all."""
        wanted, unwanted = list(self._wanted), list(self._unwanted)
        self._wanted.clear()
        self._unwanted.clear()
        return wanted, unwanted

    def everything(self) -> list[tuple[Want, str]]:
        """All that is wanted, with the versions that are held, those that lack a value first; nothing else is news."""
        self._wanted.clear()
        self._unwanted.clear()
        found = [((entry, name), place.version) for entry, name, place in self._all()]
        return sorted(found, key=lambda one: bool(one[1]))

    def version(self, want: Want) -> str:
        """Of the value that is held, or empty."""
        place = self._places.get(want[0], {}).get(want[1])
        return place.version if place else ""

    def apply(self, updates: Iterable[SecretUpdate], now: datetime) -> tuple[int, list[str]]:
        """Take in what the server says. How many values came, and what is wrong with others, safe to show.

        What nobody wants is not kept.
        """
        values = 0
        problems: list[str] = []
        for update in updates:
            places = [
                (entry_id, place)
                for entry_id in update.entry_ids
                if (place := self._places.get(entry_id, {}).get(update.name)) is not None
            ]
            if not places:
                continue
            match update:
                case Given():
                    wrong = self._give(update, places, now)
                    values += not wrong
                    problems += wrong
                case NotGranted():
                    for entry_id, place in places:
                        place.forget()
                        self._stand(entry_id, update.name, place, Standing.NOT_GRANTED)
                case Unavailable():
                    self._lack(update.name, places)
                case Unchanged():
                    for _, place in places:
                        place.stale = False
        return values, problems

    def _give(self, update: Given, places: Sequence[tuple[str, _Place]], now: datetime) -> list[str]:
        try:
            resource = self._resource(update.name, update.value)
        except InvalidAnswer as error:
            self._lack(update.name, places)
            return [f"{update.name[:128]}: {error}"]
        standing = Standing.EXPIRED if _ended(update.value, now) else Standing.GIVEN
        for entry_id, place in places:
            changed = place.resource is not resource or place.standing is not standing
            place.value, place.resource, place.stale = update.value, resource, False
            if changed:
                self._stand(entry_id, update.name, place, standing)
        return []

    def _resource(self, name: str, value: SecretValue) -> Resource:
        """The same object for the same content, so that all streams share its bytes. Raises InvalidAnswer."""
        made = make_resource(name, content_of(value))
        return self._resources.setdefault((name, made.digest), made)

    def _lack(self, name: str, places: Iterable[tuple[str, _Place]]) -> None:
        for entry_id, place in places:
            if place.value is not None:
                place.stale = True
            else:
                self._stand(entry_id, name, place, Standing.UNAVAILABLE)

    # What time does

    def tire(self, tick: float, patience: float) -> None:
        """What the server has not answered for `patience` seconds cannot be had now."""
        for entry_id, name, place in self._all():
            if place.standing is Standing.ASKED and tick - place.asked_at >= patience:
                self._stand(entry_id, name, place, Standing.UNAVAILABLE)

    def expire(self, now: datetime) -> list[Wanted]:
        """Those whose values have ended since the last call; they are given to nobody any more."""
        ended: list[Wanted] = []
        for entry_id, name, place in self._all():
            if place.standing is Standing.GIVEN and _ended(place.value, now):
                self._stand(entry_id, name, place, Standing.EXPIRED)
                ended.append(_described(entry_id, name, place))
        return ended

    def unanswered_since(self) -> float | None:
        """When the longest unanswered of all wants was asked for."""
        return min((p.asked_at for *_, p in self._all() if p.standing is Standing.ASKED), default=None)

    def next_end(self) -> datetime | None:
        """When the first of the values in use ends by itself."""
        values = (p.value for *_, p in self._all() if p.standing is Standing.GIVEN)
        return min((v.not_after for v in values if v is not None and v.not_after is not None), default=None)

    # What there is

    def touched(self) -> Touched:
        """What is another since the last call."""
        touched, self._touched = self._touched, {}
        return touched

    def seen(self, entry_ids: Sequence[str]) -> Seen:
        """For callers with these entries, the default one first. Of one name the first entry that has a value counts.

        A name is neither here nor absent as long as an entry before that one has not been answered.
        """
        resources: list[Resource] = []
        absent: dict[str, Absence] = {}
        shelves = [self._places.get(entry_id, {}) for entry_id in entry_ids]
        for name in dict.fromkeys(name for places in shelves for name in places):
            found = self._first([places.get(name) for places in shelves])
            if isinstance(found, Resource):
                resources.append(found)
            elif found is not None:
                absent[name] = found
        return Seen(tuple(resources), absent)

    def value(self, entry_ids: Sequence[str], name: str) -> SecretValue | Absence | None:
        """As `seen`, of one name: its value, why there is none, or None while that is not known."""
        places = [self._places.get(entry_id, {}).get(name) for entry_id in entry_ids]
        found = self._first(places)
        if isinstance(found, Resource):
            return next(place.value for place in places if place is not None and place.standing is Standing.GIVEN)
        return found

    @staticmethod
    def _first(places: Sequence[_Place | None]) -> Resource | Absence | None:
        standings: set[Standing] = set()
        for place in places:
            if place is None or place.standing is Standing.ASKED:
                return None
            if place.standing is Standing.GIVEN:
                return place.resource
            standings.add(place.standing)
        return next((absence for standing, absence in _ABSENT.items() if standing in standings), None)

    def list(self) -> list[Wanted]:
        """All that is wanted, without values."""
        return [_described(*one) for one in self._all()]

    def _all(self) -> Iterator[tuple[str, str, _Place]]:
        for entry_id, places in self._places.items():
            for name, place in places.items():
                yield entry_id, name, place

    def _stand(self, entry_id: str, name: str, place: _Place, standing: Standing) -> None:
        place.standing = standing
        self._touch(entry_id, name)

    def _touch(self, entry_id: str, name: str) -> None:
        self._touched.setdefault(entry_id, set()).add(name)


def _described(entry_id: str, name: str, place: _Place) -> Wanted:
    not_after = place.value.not_after if place.value else None
    return Wanted(entry_id, name, place.standing, place.version, not_after, place.stale)


def _ended(value: SecretValue | None, now: datetime) -> bool:
    return value is not None and value.not_after is not None and value.not_after <= now
