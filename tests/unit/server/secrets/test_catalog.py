"""The catalog's look-ups against walking all grants, and its books against a plain dictionary."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from attestation.entry import EntrySpec
from attestation.selector import Selector
from attestation.spiffe_id import SpiffeId, TrustDomain
from sds.secrets.grant import Below, Exactly, Grant, Labelled, Subject, granting
from sds.secrets.secret import EmbeddedSource, Secret, SecretKind, SecretSpec
from sds.server.secrets.catalog import GrantIndex, SecretCatalog
from tests.fakes.clock import EPOCH

DOMAINS = st.sampled_from([TrustDomain("example.org"), TrustDomain("example.com")])
PATHS = st.lists(st.sampled_from(["a", "ab", "b", "a.b"]), max_size=4).map(
    lambda parts: "".join(f"/{p}" for p in parts)
)
IDS = st.builds(SpiffeId, DOMAINS, PATHS)
LABELS = st.dictionaries(st.sampled_from(["app", "tier"]), st.sampled_from(["x", "y"]), max_size=2)
SUBJECTS: st.SearchStrategy[Subject] = st.one_of(
    st.builds(Exactly, IDS), st.builds(Below, IDS), st.builds(Labelled, LABELS)
)
ENTRIES = st.builds(
    lambda spiffe_id, labels: EntrySpec(
        spiffe_id,
        SpiffeId.parse("spiffe://example.org/sds/agent/a"),
        frozenset({Selector("unix", "uid:1")}),
        labels=labels,
    ),
    IDS,
    LABELS,
)


def secret(secret_id: str, name: str | None = None, revision: int = 1) -> Secret:
    spec = SecretSpec(name or secret_id, SecretKind.GENERIC, EmbeddedSource())
    return Secret(secret_id, revision, EPOCH, EPOCH, spec)


def grant(subject: Subject, secret_id: str = "s", number: int = 0) -> Grant:
    return Grant(f"g{number}", secret_id, subject, EPOCH, "uid:0")


def entry(path: str = "/a", **labels: str) -> EntrySpec:
    return EntrySpec(
        SpiffeId.parse(f"spiffe://example.org{path}"),
        SpiffeId.parse("spiffe://example.org/sds/agent/a"),
        frozenset({Selector("unix", "uid:1")}),
        labels=labels,
    )


@given(st.lists(SUBJECTS, max_size=12), ENTRIES)
def test_the_index_says_what_walking_all_grants_says(subjects: list[Subject], asking: EntrySpec) -> None:
    grants = [grant(subject, number=number) for number, subject in enumerate(subjects)]
    found = GrantIndex(grants).granting(asking)
    assert (found is None) == (granting(grants, asking) is None)
    assert found is None or granting([found], asking) is found


def test_no_grant_is_no_access() -> None:
    catalog = SecretCatalog()
    catalog.load([secret("s", "db")], [])
    assert catalog.may(entry(), "db") is None
    assert catalog.named("db") is not None
    assert catalog.may(entry(), "other") is None


def test_a_name_that_moves_takes_no_grant_along() -> None:
    catalog = SecretCatalog()
    one, two = secret("1", "one"), secret("2", "two")
    granted = grant(Exactly(SpiffeId.parse("spiffe://example.org/a")), "1")
    catalog.load([one, two], [granted])
    assert catalog.may(entry(), "one") is one
    swapped = {
        "1": (replace(one, spec=replace(one.spec, name="two")), [granted]),
        "2": (replace(two, spec=replace(two.spec, name="one")), []),
    }
    assert catalog.put_all(swapped) == {"one", "two"}
    assert catalog.may(entry(), "one") is None
    assert catalog.may(entry(), "two") is swapped["1"][0]


def test_a_secret_that_is_gone_takes_its_grants_along() -> None:
    catalog = SecretCatalog()
    granted = grant(Below(SpiffeId.parse("spiffe://example.org/a")), "1")
    catalog.load([secret("1", "one")], [granted])
    assert catalog.grant_count == 1
    assert catalog.put("1", None) == {"one"}
    assert (len(catalog), catalog.grant_count) == (0, 0)
    assert catalog.put("1", secret("1", "one")) == {"one"}
    assert catalog.may(entry("/a/b"), "one") is None


def test_loading_again_names_what_was_there_before() -> None:
    catalog = SecretCatalog()
    catalog.load([secret("1", "one")], [])
    assert catalog.load([secret("2", "two")], []) == {"one", "two"}
    assert [one.id for one in catalog.secrets()] == ["2"]
    assert catalog.secret("1") is None


def test_a_grant_without_labels_covers_nobody() -> None:
    catalog = SecretCatalog()
    catalog.load([secret("1", "one")], [grant(Labelled({}), "1")])
    assert catalog.may(entry(app="x"), "one") is None
