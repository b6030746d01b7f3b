"""Who would get what, and what is missing where somebody would not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from attestation.entry import EntrySpec, RegistrationEntry, match
from attestation.near import who_gets_what
from attestation.selector import Selector, parse_selectors
from attestation.spiffe_id import SpiffeId
from tests.fakes.clock import EPOCH

ONE, TWO = (SpiffeId.parse(f"spiffe://example.org/agent/{number}") for number in (1, 2))
FACTS = parse_selectors(("unix:uid:1", "unix:gid:1", "unix:path:/bin/web"))


def entry(name: str, *selectors: str, parent: SpiffeId = ONE) -> RegistrationEntry:
    spec = EntrySpec(SpiffeId.parse(f"spiffe://example.org/{name}"), parent, parse_selectors(selectors))
    return RegistrationEntry(name, 1, EPOCH, EPOCH, spec)


def test_near_entries_are_ranked_by_how_little_is_missing() -> None:
    entries = [
        entry("far", "unix:uid:1", "unix:sha256:a", "docker:label:x", "docker:label:y"),
        entry("match", "unix:uid:1", "unix:gid:1"),
        entry("almost-less", "unix:uid:1", "unix:sha256:a"),
        entry("almost", "unix:uid:1", "unix:gid:1", "unix:sha256:a"),
        entry("nothing", "unix:uid:2"),
        entry("empty"),
        entry("elsewhere", "unix:uid:1", "unix:gid:1", "unix:path:/bin/web", parent=TWO),
        entry("elsewhere-and-more", "unix:uid:1", "unix:sha256:a", parent=TWO),
    ]
    found = who_gets_what(entries, ONE, FACTS, most_near=10)
    assert [each.id for each in found.matching] == ["match"]
    assert [(each.entry.id, each.missing, each.parent_differs) for each in found.near] == [
        ("elsewhere", (), True),
        ("almost", ("unix:sha256:a",), False),
        ("almost-less", ("unix:sha256:a",), False),
        ("elsewhere-and-more", ("unix:sha256:a",), True),
        ("far", ("docker:label:x", "docker:label:y", "unix:sha256:a"), False),
    ]
    assert [each.entry.id for each in who_gets_what(entries, ONE, FACTS, most_near=2).near] == ["elsewhere", "almost"]
    anywhere = who_gets_what(entries, None, FACTS, most_near=10)
    assert [each.id for each in anywhere.matching] == ["match", "elsewhere"]
    assert not any(each.parent_differs for each in anywhere.near)


SELECTORS = st.frozensets(st.sampled_from("abcde").map(lambda value: Selector("t", value)))


@given(st.lists(st.tuples(SELECTORS, st.sampled_from([ONE, TWO])), max_size=8), SELECTORS)
def test_it_agrees_with_what_decides(
    wanted: list[tuple[frozenset[Selector], SpiffeId]], given_: frozenset[Selector]
) -> None:
    entries = [entry(f"e{number}", *map(str, each), parent=parent) for number, (each, parent) in enumerate(wanted)]
    found = who_gets_what(entries, ONE, given_, most_near=3)
    decided = match([each for each in entries if each.parent_id == ONE], given_, EPOCH)
    assert {each.id for each in found.matching} == {each.id for each in decided}
    assert len(found.near) <= 3
    for miss in found.near:
        assert miss.missing or miss.parent_differs
        assert {str(each) for each in miss.entry.selectors - given_} == set(miss.missing)
