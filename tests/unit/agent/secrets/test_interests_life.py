"""The random life of interests: any order of callers, entries, answers and outages keeps the books right."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sds.agent.secrets.interests import _Wanting
from sds.agent.secrets.values import NotGranted, Unavailable
from tests.unit.agent.entries import entry, selectors
from tests.unit.agent.secrets.interests_kit import Kit, Stream

NAMES = st.sampled_from(["a", "b", "c"])
ENTRIES = ("e1", "e2", "e3")
SELECTORS = ("unix:uid:1", "unix:uid:2", "unix:gid:1")
PROVED = st.sampled_from([frozenset({SELECTORS[0]}), frozenset(SELECTORS[1:]), frozenset(SELECTORS)])


class AnyOrder(RuleBasedStateMachine):
    """Whatever happens: nobody sees a value that none of his entries was given last, nothing unwanted is held, and what
    is wanted is exactly what live streams want.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kit = Kit()
        self.given: dict[tuple[str, str], bytes] = {}  # the truth, by entry and name
        self.live: list[Stream] = []
        self.number = 0

    @rule(entry_id=st.sampled_from(ENTRIES), text=st.sampled_from(SELECTORS), path=st.sampled_from(["/x", "/y"]))
    def put_entry(self, entry_id: str, text: str, path: str) -> None:
        former = self.kit.cache.entries.get(entry_id)
        self.number += 1
        made = entry(entry_id, text, path=path, revision=self.number)
        if former is None or former.spiffe_id != made.spiffe_id:
            for name in "abc":
                self.given.pop((entry_id, name), None)
        self.kit.entries(made)

    @precondition(lambda self: self.kit.cache.entries)
    @rule(data=st.data())
    def rename_entry(self, data: st.DataObject) -> None:
        former = self.kit.cache.entries[data.draw(st.sampled_from(sorted(self.kit.cache.entries)))]
        (selector,) = former.selectors
        self.put_entry(former.id, str(selector), "/y" if former.spiffe_id.path == "/x" else "/x")

    @precondition(lambda self: self.kit.cache.entries)
    @rule(data=st.data())
    def drop_entry(self, data: st.DataObject) -> None:
        entry_id = data.draw(st.sampled_from(sorted(self.kit.cache.entries)))
        self.kit.cache.apply((), [entry_id])

    @initialize()
    def begin(self) -> None:
        for entry_id, text in zip(ENTRIES, SELECTORS, strict=True):
            self.put_entry(entry_id, text, "/x")

    @rule(texts=PROVED, names=st.lists(NAMES, unique=True))
    def open(self, texts: frozenset[str], names: list[str]) -> None:
        self.number += 1
        stream = Stream(self.kit.workload(*sorted(texts), pid=self.number))
        stream.want(*names)
        self.live.append(stream)

    @precondition(lambda self: self.live)
    @rule(data=st.data(), names=st.lists(NAMES, unique=True))
    def change(self, data: st.DataObject, names: list[str]) -> None:
        data.draw(st.sampled_from(self.live)).want(*names)

    @precondition(lambda self: self.live)
    @rule(data=st.data(), texts=PROVED)
    def move(self, data: st.DataObject, texts: frozenset[str]) -> None:
        workload = data.draw(st.sampled_from(self.live)).workload
        former = workload.group
        workload.move(self.kit.cache.join(selectors(*texts), workload))
        if former is not workload.group:
            self.kit.cache.leave(former, workload)

    @precondition(lambda self: self.live)
    @rule(data=st.data(), first=st.booleans())
    def close(self, data: st.DataObject, first: bool) -> None:
        stream = data.draw(st.sampled_from(self.live))
        self.live.remove(stream)
        steps: list[Callable[[], None]] = [
            stream.close,
            lambda: self.kit.cache.leave(stream.workload.group, stream.workload),
        ]
        for step in steps if first else reversed(steps):
            step()

    @rule(entry_id=st.sampled_from(ENTRIES), name=NAMES)
    def give(self, entry_id: str, name: str) -> None:
        self.number += 1
        value = b"%d" % self.number
        if (entry_id, name) in self.wanted():
            self.given[entry_id, name] = value
        self.kit.give(name, str(self.number), entry_id, value=value)

    @rule(entry_id=st.sampled_from(ENTRIES), name=NAMES, fails=st.booleans())
    def take(self, entry_id: str, name: str, fails: bool) -> None:
        if fails:
            self.kit.desk.apply([Unavailable(name, (entry_id,))])
        else:
            self.given.pop((entry_id, name), None)
            self.kit.desk.apply([NotGranted(name, (entry_id,))])

    def wanted(self) -> set[tuple[str, str]]:
        return {
            (one.id, name)
            for stream in self.live
            for one in stream.workload.group.entries
            for name in self.kit.interests._members.get(stream.workload, _NOBODY).names
        }

    @invariant()
    def exactly_what_is_wanted_is_held(self) -> None:
        wanted = self.wanted()
        assert {(one.entry_id, one.name) for one in self.kit.desk.list()} == wanted
        assert self.kit.shelf.size == len(wanted)
        self.given = {want: value for want, value in self.given.items() if want in wanted}

    @invariant()
    def nobody_sees_what_is_not_his(self) -> None:
        for stream in self.live:
            view = stream.workload.view()
            for name in "abc":
                resource = view.resolve(name)
                if resource is not None:
                    value = resource.content.values[0][1].reveal()  # type: ignore[union-attr]
                    own = [self.given.get((one.id, name)) for one in stream.workload.group.entries]
                    assert value in own


_NOBODY = _Wanting(None)

TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
