"""Which answer takes the place of which bundle."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestation.spiffe_id import TrustDomain
from ca.bundle import MAX_SEQUENCE, TrustBundle, make_bundle
from sds.server.federation.judge import Verdict, judge
from tests.fakes.ca import make_authority

OTHER = TrustDomain("other.example")
ONE, TWO = (make_authority(OTHER).authority.certificate for _ in range(2))
sequences = st.integers(0, MAX_SEQUENCE)
bundles = st.builds(
    lambda ders, sequence, hint: TrustBundle(OTHER, ders, sequence, timedelta(seconds=hint)),
    st.sampled_from([(), (ONE,), (ONE, TWO), (TWO,)]),
    sequences,
    st.integers(0, 3),
)


def bundle(*ders: bytes, sequence: int) -> TrustBundle:
    return make_bundle(OTHER, ders, sequence)


@pytest.mark.parametrize(
    ("held", "answered", "verdict"),
    [
        (None, bundle(ONE, sequence=3), Verdict.FIRST),
        (None, bundle(sequence=0), Verdict.FIRST),
        (bundle(ONE, sequence=3), bundle(ONE, sequence=3), Verdict.UNCHANGED),
        (bundle(ONE, sequence=3), bundle(ONE, TWO, sequence=4), Verdict.NEWER),
        (bundle(ONE, sequence=3), bundle(sequence=4), Verdict.NEWER),
        (bundle(ONE, TWO, sequence=4), bundle(ONE, sequence=3), Verdict.OLDER),
        (bundle(TWO, sequence=4), bundle(TWO, sequence=3), Verdict.OLDER),
        (bundle(ONE, sequence=3), bundle(TWO, sequence=3), Verdict.SAME_SEQUENCE),
        (bundle(ONE, sequence=3), bundle(TWO, sequence=0), Verdict.UNNUMBERED),
        (bundle(ONE, sequence=0), bundle(TWO, sequence=1), Verdict.NEWER),
    ],
)
def test_verdicts(held: TrustBundle | None, answered: TrustBundle, verdict: Verdict) -> None:
    assert judge(held, answered) is verdict


def test_a_new_hint_is_news() -> None:
    held = bundle(ONE, sequence=3)
    assert judge(held, replace(held, refresh_hint=timedelta(seconds=1))).taken


@given(bundles, bundles)
def test_a_numbered_sequence_never_goes_back(held: TrustBundle, answered: TrustBundle) -> None:
    verdict = judge(held, answered)
    if verdict.taken:
        assert answered.sequence == 0 or answered.sequence >= held.sequence
    else:
        assert held == answered or answered.sequence < held.sequence


@given(st.lists(bundles, max_size=20))
def test_every_replica_that_sees_all_answers_comes_to_hold_the_same(answers: list[TrustBundle]) -> None:
    """Asked twice in a row, an endpoint's answer is unchanged the second time."""
    held: TrustBundle | None = None
    for answered in answers:
        if judge(held, answered).taken:
            held = answered
        assert judge(held, answered) in {Verdict.UNCHANGED, Verdict.OLDER}
