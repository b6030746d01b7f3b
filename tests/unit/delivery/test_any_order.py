"""Whatever a client does, in whatever order: both cores against a naive model, and the names of real clients."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sds.delivery.messages import Acked, DeltaRequest, Effect, Send, SotwRequest
from sds.delivery.stream import DeltaStream, SotwStream
from sds.delivery.view import EMPTY, View
from tests.fakes.secrets import DB, WEB, view
from tests.unit.delivery.model import Model

NAMES = ("default", "ROOTCA", str(DB), "nope", "file-root:system")
VIEWS: tuple[View, ...] = (EMPTY, view(1), view(2), view(2, 2), view(1, 2, ids=(WEB, DB)), view(3, ids=(DB,)))
ALL_KNOWN = view(9, 9, ids=(WEB, DB))


@dataclass(frozen=True)
class Say:
    """A request without a nonce, with the one of the response `back` ago, or with that of another stream."""

    names: tuple[str, ...]
    drop: tuple[str, ...]
    nonce: str
    back: int
    error: str | None


@dataclass(frozen=True)
class Look:
    """The view changes."""

    view: View


@dataclass(frozen=True)
class Read:
    """The client has room for this many responses."""

    count: int


Step = Say | Look | Read
lists = st.lists(st.sampled_from(NAMES), max_size=4).map(tuple)
nonces = st.sampled_from(("none", "seen", "seen", "seen", "foreign"))
says = st.builds(Say, lists, lists, nonces, st.integers(0, 4), st.sampled_from((None, None, "no")))
looks = st.builds(Look, st.sampled_from(VIEWS))
reads = st.builds(Read, st.integers(1, 5))
scripts = st.lists(st.one_of(says, reads, looks), max_size=40)


def plain(effects: list[Effect]) -> list[object]:
    return [("acked", e.name, e.version) if isinstance(e, Acked) else e for e in effects]


def request_of(step: Say, model: Model) -> tuple[str, str | None]:
    seen = model.sent[-1 - step.back].nonce if len(model.sent) > step.back else ""
    nonce = {"none": "", "foreign": "t.1"}.get(step.nonce, seen)
    return nonce, step.error if nonce else None


def receive(core: SotwStream | DeltaStream, step: Say, nonce: str, error: str | None, now: View) -> list[Effect]:
    if isinstance(core, SotwStream):
        return core.receive(SotwRequest(step.names, nonce, error), now, 1.0)
    return core.receive(DeltaRequest(step.names, step.drop, nonce, error), now, 1.0)


def acknowledge(core: SotwStream | DeltaStream, model: Model, nonce: str) -> None:
    step = Say(core.wanted if isinstance(core, SotwStream) else (), (), "seen", 0, None)
    if nonce:
        receive(core, step, nonce, None, model.view)
        model.speak(step.names, (), nonce, None)


def converge(core: SotwStream | DeltaStream, model: Model) -> None:
    """The client reads and ACKs everything; then it holds what the view has, but for what it rejected."""
    for slot in core.slots:
        acknowledge(core, model, slot.nonce)
    while (send := core.take(1.0)) is not None:
        model.saw(send)
        acknowledge(core, model, send.nonce)
    assert not model.lacks()
    for slot in core.slots:
        now = model.view.resolve(slot.name)
        if now is not None:
            assert now.version in {slot.acked_version, slot.nacked_version}
        elif model.delta:
            assert not model.holds(slot.name)


@pytest.mark.parametrize("kind", [SotwStream, DeltaStream])
@settings(max_examples=150, deadline=None)
@given(script=scripts)
def test_any_client_in_any_order(kind: type[SotwStream | DeltaStream], script: list[Step]):
    core, model = kind(nonce_prefix="s."), Model(delta=kind is DeltaStream)
    for step in script:
        match step:
            case Look():
                assert sorted(map(repr, core.offer(step.view))) == sorted(map(repr, model.look(step.view)))
            case Read():
                for _ in range(step.count):
                    if (send := core.take(1.0)) is not None:
                        model.saw(send)
            case Say():
                nonce, error = request_of(step, model)
                got = plain(receive(core, step, nonce, error, model.view))
                assert got == model.speak(step.names, step.drop, nonce, error)
        assert set(core.wanted) == set(model.wishes)
        assert core.ready == bool(model.lacks()), "something to send if and only if the client lacks something"
    converge(core, model)


# The rule for names, against the two clients that it is for; messages are under way in both directions


@dataclass
class Link:
    """A stream with its messages in flight, delivered one by one."""

    core: SotwStream = field(default_factory=lambda: SotwStream(nonce_prefix="s."))
    now: View = field(default_factory=lambda: VIEWS[1])
    up: list[SotwRequest] = field(default_factory=list)
    down: list[Send] = field(default_factory=list)

    def look(self, source: View) -> None:
        self.now = source
        self.core.offer(source)

    def serve(self) -> None:
        """The server takes the next request, or sends the next response."""
        if self.up:
            self.core.receive(self.up.pop(0), self.now, 1.0)
        elif (send := self.core.take(1.0)) is not None:
            self.down.append(send)

    @property
    def idle(self) -> bool:
        return not (self.up or self.down or self.core.ready)


moves = st.lists(
    st.one_of(
        st.just("serve"),
        st.just("read"),
        looks,
        st.lists(st.sampled_from(NAMES[:4]), max_size=3, unique=True).map(tuple),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(script=moves)
def test_mosn_never_loses_a_name_that_it_asked_for(script: list[object]):
    link, required, received = Link(), set[str](), dict[str, None]()

    def read() -> None:
        if link.down:
            send = link.down.pop(0)
            received.setdefault(send.name)
            link.up.append(SotwRequest(tuple(received), send.nonce))

    for move in script:
        if isinstance(move, tuple):
            for name in move:
                required.add(name)
                link.up.append(SotwRequest((name,)))
        elif isinstance(move, Look):
            link.look(move.view)
        elif move == "serve":
            link.serve()
        else:
            read()
    while not link.idle:
        link.serve()
        read()
    assert set(link.core.wanted) == required


@settings(max_examples=150, deadline=None)
@given(script=moves)
def test_envoy_is_left_with_the_names_that_it_wants(script: list[object]):
    link, wants, nonce = Link(), [()], [""]

    def read() -> None:
        if link.down:
            nonce[0] = link.down.pop(0).nonce
            link.up.append(SotwRequest(wants[0], nonce[0]))

    for move in script:
        if isinstance(move, tuple):
            wants[0] = move
            link.up.append(SotwRequest(move, nonce[0]))
        elif isinstance(move, Look):
            link.look(move.view)
        elif move == "serve":
            link.serve()
        else:
            read()
    for source in (link.now, ALL_KNOWN):  # an omission that MOSN could have made is honoured at the next push
        link.look(source)
        while not link.idle:
            link.serve()
            read()
        assert set(wants[0]) <= set(link.core.wanted)
    assert set(link.core.wanted) - set(wants[0]) <= {"nope"}, "what never resolves may stay, and costs nothing"
