from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.entry import EntrySpec, RegistrationEntry, explain, match
from attestation.selector import Selector, Selectors
from attestation.spiffe_id import SpiffeId, TrustDomain

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TD = TrustDomain("example.org")
AGENT = SpiffeId(TD, "/sds/agent/a")


def entry(
    number: int, selectors: Selectors, *, hint: str = "", age: int = 0, expires_in: int | None = None
) -> RegistrationEntry:
    spec = EntrySpec(
        SpiffeId(TD, f"/w{number}"),
        AGENT,
        selectors,
        hint=hint,
        expires_at=None if expires_in is None else NOW + timedelta(seconds=expires_in),
    )
    created = NOW - timedelta(seconds=age)
    return RegistrationEntry(f"id-{number}", 1, created, created, spec)


SELECTORS = st.frozensets(st.integers(0, 5).map(lambda n: Selector("t", str(n))), max_size=4)
ENTRIES = st.lists(
    st.tuples(SELECTORS, st.sampled_from(["", "default", "other"]), st.integers(0, 3), st.none() | st.integers(-1, 1)),
    max_size=8,
).map(
    lambda rows: [
        entry(number, selectors, hint=hint, age=age, expires_in=expires)
        for number, (selectors, hint, age, expires) in enumerate(rows)
    ]
)


def naively_matches(e: RegistrationEntry, held: Selectors, now: datetime) -> bool:
    """The oracle: one question after the other, no sets."""
    if e.spec.expires_at is not None and e.spec.expires_at <= now:
        return False
    wanted = list(e.spec.selectors)
    if len(wanted) == 0:
        return False
    for w in wanted:  # noqa: SIM110  as plain as can be
        if not any(w.type == h.type and w.value == h.value for h in held):
            return False
    return True


@settings(max_examples=300)
@given(ENTRIES, SELECTORS, st.randoms(use_true_random=False))
def test_match_is_what_the_oracle_says(entries: list[RegistrationEntry], held: Selectors, random: object) -> None:
    found = match(entries, held, NOW)
    assert {e.id for e in found} == {e.id for e in entries if naively_matches(e, held, NOW)}
    shuffled = list(entries)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert match(shuffled, held, NOW) == found
    hints = [e.spec.hint == "default" for e in found]
    assert hints == sorted(hints, reverse=True)


@settings(max_examples=300)
@given(ENTRIES, SELECTORS)
def test_explain_names_the_near_misses_and_only_them(entries: list[RegistrationEntry], held: Selectors) -> None:
    misses = explain(entries, held, NOW)
    named = {miss.entry.id for miss in misses}
    assert named.isdisjoint({e.id for e in match(entries, held, NOW)})
    for e in entries:
        shares = any(s in held for s in e.selectors)
        lacks = [s for s in e.selectors if s not in held]
        assert (e.id in named) == (shares and bool(lacks) and e.live(NOW))
    for miss in misses:
        assert miss.missing == frozenset(s for s in miss.entry.selectors if s not in held)
        assert naively_matches(miss.entry, held | miss.missing, NOW)
    assert [len(miss.missing) for miss in misses] == sorted(len(miss.missing) for miss in misses)


@settings(max_examples=100)
@given(ENTRIES, SELECTORS)
def test_a_younger_entry_never_changes_the_default(entries: list[RegistrationEntry], held: Selectors) -> None:
    before = match(entries, held, NOW)
    younger = entry(99, frozenset({Selector("t", "0")}), age=-1)
    after = match([*entries, younger], held | {Selector("t", "0")}, NOW)
    if before and match(entries, held | {Selector("t", "0")}, NOW) == before:
        assert after[0] == before[0]


def test_no_selectors_match_nobody() -> None:
    assert match([entry(1, frozenset())], frozenset({Selector("t", "1")}), NOW) == ()
    assert match([entry(1, frozenset())], frozenset(), NOW) == ()


def test_expiry_is_exclusive() -> None:
    e = entry(1, frozenset({Selector("t", "1")}), expires_in=10)
    assert e.live(NOW + timedelta(seconds=9.999))
    assert not e.live(NOW + timedelta(seconds=10))


def test_issues_like() -> None:
    one = entry(1, frozenset({Selector("t", "1")}))
    assert one.issues_like(entry(1, frozenset({Selector("t", "2")}), hint="x"))
    assert not one.issues_like(entry(2, frozenset({Selector("t", "1")})))
