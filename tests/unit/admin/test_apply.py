"""The plan of an apply, and its check against doing it in the plainest way."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.entry import EntrySpec, RegistrationEntry
from attestation.rules import diff
from attestation.selector import parse_selectors
from attestation.spiffe_id import SpiffeId
from sds.admin.apply import Step, in_scope, key_of, plan
from sds.admin.errors import InvalidInput
from sds.admin.services import ApplyAction, ApplyItem, PruneScope
from sds.store.errors import Conflict
from tests.fakes.clock import EPOCH

PARENT = SpiffeId.parse("spiffe://example.org/sds/agent/one")


def spec(name: str, **more: object) -> EntrySpec:
    base = EntrySpec(SpiffeId.parse(f"spiffe://example.org/{name}"), PARENT, parse_selectors(["unix:uid:1"]))
    return replace(base, **more)  # type: ignore[arg-type]


def entry(entry_id: str, spec_: EntrySpec, revision: int = 1) -> RegistrationEntry:
    return RegistrationEntry(entry_id, revision, EPOCH, EPOCH, spec_)


def told(steps: tuple[Step, ...]) -> list[tuple[str, str]]:
    return [(step.action.value, step.entry.id if step.entry else "") for step in steps]


def test_by_key_by_id_and_new() -> None:
    current = [entry("a", spec("a")), entry("b", spec("b")), entry("c", spec("c"))]
    items = [
        ApplyItem(spec("c", owner="x")),  # by its key
        ApplyItem(spec("renamed"), id="b"),  # by its ID
        ApplyItem(spec("a")),
        ApplyItem(spec("new")),
        ApplyItem(spec("restored"), id="gone"),  # an ID that nobody has
    ]
    steps = plan(current, items, None, diff)
    assert told(steps) == [("update", "c"), ("update", "b"), ("unchanged", "a"), ("create", ""), ("create", "")]
    assert steps[0].changes == {"owner": ("", "x")}
    assert steps[1].changes == {"spiffe_id": ("spiffe://example.org/b", "spiffe://example.org/renamed")}


def test_prune_deletes_only_what_is_in_scope_and_not_named() -> None:
    labelled = MappingProxyType({"team": "a", "env": "prod"})
    current = [
        entry("1", spec("kept", owner="me")),
        entry("2", spec("gone", owner="me", labels=labelled)),
        entry("3", spec("theirs", owner="them", labels=labelled)),
    ]
    items = [ApplyItem(spec("kept", owner="me"))]
    assert told(plan(current, items, None, diff)) == [("unchanged", "1")]
    assert told(plan(current, items, PruneScope(owner="me"), diff)) == [("unchanged", "1"), ("delete", "2")]
    by_label = PruneScope(labels=MappingProxyType({"team": "a"}))
    assert told(plan(current, items, by_label, diff)) == [("unchanged", "1"), ("delete", "2"), ("delete", "3")]
    other_parent = PruneScope(parent_id=SpiffeId.parse("spiffe://example.org/sds/agent/two"))
    assert told(plan(current, items, other_parent, diff)) == [("unchanged", "1")]
    assert told(plan(current, [], PruneScope(), diff)) == [("delete", "2"), ("delete", "1"), ("delete", "3")]


def test_two_items_for_one_entry() -> None:
    current = [entry("a", spec("a"))]
    for items in (
        [ApplyItem(spec("n")), ApplyItem(spec("n", owner="x"))],
        [ApplyItem(spec("a")), ApplyItem(spec("b"), id="a")],
        [ApplyItem(spec("b"), id="a"), ApplyItem(spec("b"))],
    ):
        with pytest.raises(InvalidInput) as refused:
            plan(current, items, None, diff)
        assert [each.field for each in refused.value.problems] == ["entries[1]"]


def test_a_move_onto_an_entry_outside_the_request() -> None:
    current = [entry("a", spec("a")), entry("b", spec("b"))]
    with pytest.raises(InvalidInput, match="would be the same as entry b"):
        plan(current, [ApplyItem(spec("b"), id="a")], None, diff)
    pruned = plan(current, [ApplyItem(spec("b"), id="a")], PruneScope(), diff)
    assert told(pruned) == [("update", "a"), ("delete", "b")]


def test_revision() -> None:
    current = [entry("a", spec("a"), revision=3)]
    assert told(plan(current, [ApplyItem(spec("a"), revision=1)], None, diff)) == [("unchanged", "a")]
    assert told(plan(current, [ApplyItem(spec("a", hint="x"), revision=3)], None, diff)) == [("update", "a")]
    with pytest.raises(Conflict) as conflict:
        plan(current, [ApplyItem(spec("a", hint="x"), revision=2)], None, diff)
    assert conflict.value.current == 3


specs = st.builds(
    lambda name, owner, ttl: spec(name, owner=owner, x509_svid_ttl=ttl),
    st.sampled_from("abcdef"),
    st.sampled_from(["", "me", "them"]),
    st.sampled_from([None, timedelta(hours=1)]),
)
unique_specs = st.lists(specs, max_size=6, unique_by=key_of)
scopes = st.none() | st.builds(PruneScope, owner=st.sampled_from([None, "me", "them"]))


@settings(max_examples=200, deadline=None)
@given(standing=unique_specs, wanted=unique_specs, scope=scopes)
def test_doing_the_plan_gives_what_was_asked_for(
    standing: list[EntrySpec], wanted: list[EntrySpec], scope: PruneScope | None
) -> None:
    current = {f"e{number}": entry(f"e{number}", each) for number, each in enumerate(standing)}
    for number, step in enumerate(plan(current.values(), [ApplyItem(each) for each in wanted], scope, diff)):
        if step.action is ApplyAction.CREATE:
            current[f"n{number}"] = entry(f"n{number}", step.spec)
        elif step.action is ApplyAction.UPDATE:
            assert step.entry is not None
            current[step.entry.id] = replace(step.entry, spec=step.spec, revision=step.entry.revision + 1)
        elif step.action is ApplyAction.DELETE:
            assert step.entry is not None
            del current[step.entry.id]
    after = {key_of(each.spec): each.spec for each in current.values()}
    asked = {key_of(each): each for each in wanted}
    before = {key_of(each): each for each in standing}
    assert after == {
        **{key: each for key, each in before.items() if scope is None or not in_scope(each, scope)},
        **asked,
    }
    again = plan(current.values(), [ApplyItem(each) for each in wanted], scope, diff)
    assert {step.action for step in again} <= {ApplyAction.UNCHANGED}
