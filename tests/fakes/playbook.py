"""Tests of a stream core that read as a script: ``assert Playbook(stream, view) >> event << outcome << outcome >> ...``.

Each ``>>`` feeds one event and lets the core send all that it can. Each ``<<`` names the next outcome, in order.
An outcome that the script does not name, or one that does not come, fails the test.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sds.delivery.messages import Acked, DeltaRequest, Effect, Ignored, Nacked, Node, Refused, SotwRequest
from sds.delivery.resource import Resource
from sds.delivery.stream import DeltaStream, SotwStream
from sds.delivery.view import View

__all__ = ["Acked", "Ignored", "Nacked", "Refused"]

ROUND_TRIP = 0.25
"""Seconds of the playbook's clock between any two events."""


@dataclass(frozen=True)
class Sent:
    """Outcome: this version of this name went out; an empty version is Delta's removal."""

    name: str
    version: str = ""

    @classmethod
    def of(cls, resource: Resource) -> Sent:
        return cls(resource.name, resource.version)


@dataclass(frozen=True)
class Ask:
    """Event: names with an empty nonce."""

    names: tuple[str, ...]
    node: Node | None = None

    @classmethod
    def of(cls, *names: str, node: Node | None = None) -> Ask:
        return cls(names, node)


@dataclass(frozen=True)
class Answer:
    """Event: ACK (or NACK, with an error) of the newest response for `name`, or of the one with `nonce`.

    `names` is the list that goes with it in state of the world; by default all names that were sent.
    """

    name: str = ""
    names: tuple[str, ...] | None = None
    error: str | None = None
    nonce: str | None = None
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()


def ack(name: str, *names: str) -> Answer:
    return Answer(name, names or None)


def nack(name: str, error: str, *names: str) -> Answer:
    return Answer(name, names or None, error)


@dataclass(frozen=True)
class Push:
    """Event: the caller's view is now this one."""

    view: View


@dataclass(frozen=True)
class Stalled:
    """Event: the same, but the client does not read: what is sent stays pending until Flush or the next event."""

    event: Ask | Answer | Push | SotwRequest | DeltaRequest


@dataclass(frozen=True)
class Flush:
    """Event: the client reads again."""


class Playbook:
    def __init__(self, stream: SotwStream | DeltaStream, view: View) -> None:
        self.stream = stream
        self.view = view
        self.tick = 100.0
        self.nonces: dict[str, str] = {}  # the newest for each name
        self.history: list[Sent] = []
        self._outcomes: list[Effect | Sent] = []

    def __rshift__(self, event: Ask | Answer | Push | Stalled | Flush | SotwRequest | DeltaRequest) -> Playbook:
        self._nothing_left()
        self.tick += ROUND_TRIP
        stalled = isinstance(event, Stalled)
        inner = event.event if isinstance(event, Stalled) else event
        if isinstance(inner, Push):
            self.view = inner.view
            self._outcomes += self.stream.offer(self.view)
        elif not isinstance(inner, Flush):
            self._outcomes += self._receive(inner)
        while not stalled and (send := self.stream.take(self.tick)):
            self.nonces[send.name] = send.nonce
            sent = Sent(send.name, send.resource.version if send.resource else "")
            self.history.append(sent)
            self._outcomes.append(sent)
        return self

    def __lshift__(self, outcome: Effect | Sent) -> Playbook:
        assert self._outcomes, f"expected {outcome}, nothing happened"
        got = self._outcomes.pop(0)
        if isinstance(got, Acked) and isinstance(outcome, Acked) and outcome.seconds < 0:
            got = replace(got, seconds=outcome.seconds)
        assert got == outcome
        return self

    def __bool__(self) -> bool:
        self._nothing_left()
        return True

    def _nothing_left(self) -> None:
        assert not self._outcomes, f"the script does not name {self._outcomes}"

    def _receive(self, event: Ask | Answer | SotwRequest | DeltaRequest) -> list[Effect]:
        if isinstance(self.stream, SotwStream):
            request = event if isinstance(event, SotwRequest) else self._sotw(event)
            return self.stream.receive(request, self.view, self.tick)
        delta = event if isinstance(event, DeltaRequest) else self._delta(event)
        return self.stream.receive(delta, self.view, self.tick)

    def _sotw(self, event: Ask | Answer | DeltaRequest) -> SotwRequest:
        assert not isinstance(event, DeltaRequest)
        if isinstance(event, Ask):
            return SotwRequest(event.names, node=event.node)
        names = tuple(self.nonces) if event.names is None else event.names
        return SotwRequest(names, self._nonce(event), event.error)

    def _delta(self, event: Ask | Answer | SotwRequest) -> DeltaRequest:
        assert not isinstance(event, SotwRequest)
        if isinstance(event, Ask):
            return DeltaRequest(event.names, node=event.node)
        return DeltaRequest(event.subscribe, event.unsubscribe, self._nonce(event), event.error)

    def _nonce(self, event: Answer) -> str:
        return event.nonce if event.nonce is not None else self.nonces[event.name]


def acked(resource: Resource) -> Acked:
    """Outcome: this resource was taken, after whatever time."""
    return Acked(resource.name, resource.version, -1.0)
