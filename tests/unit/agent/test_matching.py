"""What an index finds, and then matches, is what matches among all."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from attestation.entry import RegistrationEntry, match
from attestation.selector import Selectors
from sds.agent.cache.group import Group
from sds.agent.cache.groups import Groups
from sds.agent.cache.matching import EntryIndex, GroupIndex
from tests.fakes.clock import EPOCH
from tests.unit.agent.entries import entry, selectors

SELECTORS = sorted(selectors("unix:uid:1", "unix:uid:2", "unix:gid:1", "unix:path:/x", "unix:path:/y"))
some_selectors = st.frozensets(st.sampled_from(SELECTORS))
some_ids = st.sampled_from("abcdef")


def of(entry_id: str, wanted: Selectors, *, ended: bool = False, hint: str = "") -> RegistrationEntry:
    """Also one without selectors."""
    made = entry(entry_id, hint=hint, expires_at=EPOCH - timedelta(seconds=1) if ended else None)
    return replace(made, spec=replace(made.spec, selectors=wanted))


entries = st.builds(of, some_ids, some_selectors, ended=st.booleans(), hint=st.sampled_from(["", "default"]))


@given(st.lists(entries | some_ids, max_size=30), some_selectors)
def test_the_entries_that_match_are_found(changes: list[RegistrationEntry | str], caller: Selectors) -> None:
    """Entries come, change and go (an ID alone); looking at every one is the model."""
    index, model = EntryIndex(), dict[str, RegistrationEntry]()
    for change in changes:
        if isinstance(change, str):
            index.discard(change)
            model.pop(change, None)
        else:
            index.put(change)
            model[change.id] = change
    near = list(index.near(caller))
    assert len(near) == len({found.id for found in near})
    assert all(model[found.id] is found for found in near)
    assert match(near, caller, EPOCH) == match(model.values(), caller, EPOCH)


@given(st.lists(some_selectors, max_size=20), some_selectors)
def test_the_groups_that_match_are_found_in_their_order(toggled: list[Selectors], wanted: Selectors) -> None:
    """A group comes, and goes the next time that its selectors are named; looking at every one is the model."""
    index, model = GroupIndex(), dict[Selectors, Group]()
    for caller in toggled:
        if caller in model:
            index.remove(model.pop(caller))
        else:
            group = model[caller] = Group(caller)
            index.add(group)
    found = [group for group in index.near(wanted) if match([of("a", wanted)], group.selectors, EPOCH)]
    assert found == [group for group in model.values() if match([of("a", wanted)], group.selectors, EPOCH)]


def test_a_join_looks_at_no_entry_of_others() -> None:
    """Though all have a selector in common, and whichever of an entry's selectors comes first."""
    index = EntryIndex()
    for uid in range(1, 101):
        index.put(entry(f"e{uid}", "unix:gid:5", "k8s:ns:shop", f"unix:uid:{uid}"))
    looked_at = [sum(1 for _ in index.near(selectors("unix:gid:5", "k8s:ns:shop", f"unix:uid:{u}"))) for u in (1, 50)]
    assert max(looked_at) <= 3


def test_an_entry_is_shown_to_no_group_of_others() -> None:
    groups = Groups({})
    made = [groups.add(selectors("unix:gid:5", f"unix:uid:{uid}")) for uid in range(100)]
    index = GroupIndex()
    for group in made:
        index.add(group)
    wanted = entry("e7", "unix:gid:5", "unix:uid:7")
    assert list(index.near(wanted.selectors)) == [made[7]]
    assert list(groups.matching(wanted, EPOCH)) == [made[7]]


def test_an_index_forgets_what_is_gone() -> None:
    """Else a long life among ever new processes would fill the memory."""
    index, groups = EntryIndex(), GroupIndex()
    index.put(entry("a", "unix:uid:1"))
    index.put(entry("a", "unix:uid:2"))
    index.discard("a")
    index.discard("a")
    group = Group(selectors("unix:uid:1", "unix:gid:1"))
    groups.add(group)
    groups.remove(group)
    assert (index._entries, index._under, groups._groups) == ({}, {}, {})
