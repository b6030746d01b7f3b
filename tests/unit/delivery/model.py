"""A naive model of both conversations for test_any_order.py: it keeps all history and looks everything up in it.

It has no queue, no slots and no nonce tricks, and it does not decide what to send: it says what the client still lacks,
and judges each response.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sds.delivery.messages import NO_IDENTITY, NOT_GRANTED, STALE_NONCE, Effect, Ignored, Nacked, Refused, Send
from sds.delivery.view import EMPTY, View


@dataclass
class Response:
    """One response that was sent, with what the client said to it."""

    name: str
    version: str
    nonce: str
    life: int  # which subscription to the name it belongs to
    word: str = ""  # "", "ack", "nack"


@dataclass
class Wish:
    """One subscription to one name."""

    life: int
    opening: bool = False
    owed: bool = True
    refused: str = ""


@dataclass
class Model:
    delta: bool
    view: View = EMPTY
    sent: list[Response] = field(default_factory=list)
    wishes: dict[str, Wish] = field(default_factory=dict)
    lists_wants: bool = False
    lives: int = 0

    # What the client says

    def speak(self, names: tuple[str, ...], drop: tuple[str, ...], nonce: str, error: str | None) -> list[Effect]:
        """Take a request; the effects that it must have, with an ACK given as ("acked", name, version)."""
        said = next((response for response in self.sent if response.nonce == nonce), None)
        current = said is not None and said is self._newest(said.name)
        fresh = current or (said is not None and said is self.sent[-1])
        effects: list[Effect] = []
        if nonce and not fresh:
            effects.append(Ignored(STALE_NONCE))
        if said is not None and current:
            effects += self._judged(said, error)
        if self.delta:
            dropped = set(drop)
            asked = names
        else:
            dropped = self._omitted(names, self.sent.index(said)) if said is not None and fresh else set()
            asked = tuple(name for name in names if not nonce or name not in self.wishes or name in dropped)
        for name in dropped:
            self.wishes.pop(name, None)
        for name in asked:
            if name not in self.wishes:
                self.lives += 1
                self.wishes[name] = Wish(self.lives)
            self.wishes[name].owed = True
            self.wishes[name].opening |= not nonce
        return effects + self._refusals(dict.fromkeys(asked))

    def _omitted(self, names: tuple[str, ...], position: int) -> set[str]:
        """State of the world: what a request with a current nonce drops. `position` is that of its response."""
        self.lists_wants |= any(name not in self.wishes or self._first(name) is None for name in names)
        dropped = set()
        for name, wish in self.wishes.items():
            first = self._first(name)
            unseen = first is None or first > position
            if name not in names and (self.lists_wants or not wish.opening or not unseen):
                dropped.add(name)
        return dropped

    def _judged(self, said: Response, error: str | None) -> list[Effect]:
        if error is not None:
            said.word = "nack"
            return [Nacked(said.name, said.version, error)]
        if said.word:
            return []
        said.word = "ack"
        return [("acked", said.name, said.version)]  # type: ignore[list-item]

    # What the server may and must do

    def look(self, view: View) -> list[Effect]:
        self.view = view
        return self._refusals(self.wishes)

    def _refusals(self, names: dict[str, object] | dict[str, Wish] | dict[str, None]) -> list[Effect]:
        effects: list[Effect] = []
        for name in names:
            wish = self.wishes[name]
            reason = "" if self.view.resolve(name) else NOT_GRANTED if self.view else NO_IDENTITY
            if reason and reason != wish.refused and not name.startswith("file-"):
                effects.append(Refused(name, reason))
            wish.refused = reason
        return effects

    def lacks(self) -> dict[str, str]:
        """The version that the client must still be sent, by name; empty: that there is none."""
        missing = {}
        for name, wish in self.wishes.items():
            now = self.view.resolve(name)
            held = self.holds(name)
            if now is None:
                if self.delta and (wish.owed or held):
                    missing[name] = ""
            elif wish.owed or (held != now.version and not self._rejected(name, now.version)):
                missing[name] = now.version
        return missing

    def saw(self, send: Send) -> None:
        """Judge a response."""
        version = send.resource.version if send.resource else ""
        assert self.lacks().get(send.name) == version, "the newest of what the client lacks, and nothing else"
        assert send.nonce and all(send.nonce != earlier.nonce for earlier in self.sent), "a nonce is never used twice"
        wish = self.wishes[send.name]
        wish.owed = False
        self.sent.append(Response(send.name, version, send.nonce, wish.life))

    def holds(self, name: str) -> str:
        newest = self._newest(name)
        return newest.version if newest else ""

    def _rejected(self, name: str, version: str) -> bool:
        """Only the last rejection in this subscription is remembered."""
        wish = self.wishes[name]
        words = [response for response in self.sent if response.life == wish.life and response.word == "nack"]
        return bool(words) and words[-1].version == version

    def _newest(self, name: str) -> Response | None:
        """The newest response of the present subscription to `name`."""
        wish = self.wishes.get(name)
        return next((r for r in reversed(self.sent) if wish and r.name == name and r.life == wish.life), None)

    def _first(self, name: str) -> int | None:
        life = self.wishes[name].life if name in self.wishes else 0
        return next((place for place, response in enumerate(self.sent) if response.life == life), None)
