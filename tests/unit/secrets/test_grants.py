"""Who may have a secret, against an oracle that knows no shortcut: it splits, counts and compares."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.entry import EntrySpec
from attestation.selector import parse_selectors
from attestation.spiffe_id import SpiffeId, TrustDomain
from sds.secrets.grant import Below, Exactly, Grant, Labelled, Subject, covers, granting

AGENT = SpiffeId.parse("spiffe://a.org/sds/agent/x")
NOW = datetime(2026, 1, 1, tzinfo=UTC)

# Few and alike, so that near misses are common.
_segments = st.sampled_from(["a", "ab", "b", "a.b", "A", "a-"])
_paths = st.lists(_segments, max_size=4).map(lambda parts: "".join(f"/{part}" for part in parts))
_ids = st.builds(lambda domain, path: SpiffeId(TrustDomain(domain), path), st.sampled_from(["a.org", "a.or"]), _paths)
_labels = st.dictionaries(st.sampled_from(["env", "team", "e"]), st.sampled_from(["prod", "test", ""]), max_size=3)
_subjects: st.SearchStrategy[Subject] = st.one_of(
    st.builds(Exactly, _ids), st.builds(Below, _ids), st.builds(Labelled, _labels)
)
_entries = st.builds(
    lambda spiffe_id, labels: EntrySpec(spiffe_id, AGENT, parse_selectors(["unix:uid:1"]), labels=labels), _ids, _labels
)


def oracle(subject: Subject, entry: EntrySpec) -> bool:
    if isinstance(subject, Labelled):
        matching = [name for name in subject.labels if [entry.labels.get(name)] == [subject.labels[name]]]
        return len(subject.labels) > 0 and len(matching) == len(subject.labels)
    theirs = str(entry.spiffe_id).split("/")
    if isinstance(subject, Exactly):
        return theirs == str(subject.spiffe_id).split("/")
    ours = str(subject.prefix).split("/")
    return len(ours) <= len(theirs) and all(one == other for one, other in zip(ours, theirs, strict=False))


@settings(max_examples=2000)
@given(_subjects, _entries)
def test_a_subject_covers_what_the_oracle_says(subject: Subject, entry: EntrySpec) -> None:
    assert covers(subject, entry) is oracle(subject, entry)


@settings(max_examples=500)
@given(st.lists(_subjects, max_size=6), _entries)
def test_the_first_grant_that_covers_gives_it_and_none_denies(subjects: list[Subject], entry: EntrySpec) -> None:
    grants = [Grant(f"g{n}", "s1", subject, NOW, "uid:0") for n, subject in enumerate(subjects)]
    wanted = [grant for grant in grants if oracle(grant.subject, entry)]
    assert granting(grants, entry) is (wanted[0] if wanted else None)


def entry(text: str, **labels: str) -> EntrySpec:
    return EntrySpec(SpiffeId.parse(text), AGENT, parse_selectors(["unix:uid:1"]), labels=labels)


@pytest.mark.parametrize(
    ("prefix", "spiffe_id", "covered"),
    [
        ("spiffe://a.org/a", "spiffe://a.org/a", True),
        ("spiffe://a.org/a", "spiffe://a.org/a/b", True),
        ("spiffe://a.org/a", "spiffe://a.org/ab", False),
        ("spiffe://a.org/a", "spiffe://a.org/a.b", False),
        ("spiffe://a.org/a/b", "spiffe://a.org/a", False),
        ("spiffe://a.org/a", "spiffe://a.org/A", False),
        ("spiffe://a.org/a", "spiffe://b.org/a", False),
        ("spiffe://a.org", "spiffe://a.org/any/thing", True),
        ("spiffe://a.org", "spiffe://a.org.evil/any", False),
    ],
)
def test_a_prefix_ends_at_a_segment(prefix: str, spiffe_id: str, covered: bool) -> None:
    assert covers(Below(SpiffeId.parse(prefix)), entry(spiffe_id)) is covered


def test_without_labels_nobody_is_meant() -> None:
    assert not covers(Labelled({}), entry("spiffe://a.org/a"))
    assert not covers(Labelled({}), entry("spiffe://a.org/a", env="prod"))
    assert not covers(Labelled({"env": ""}), entry("spiffe://a.org/a"))
    assert granting([], entry("spiffe://a.org/a", env="prod")) is None
