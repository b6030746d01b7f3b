"""Which tokens may be given out, which are replaced, and which go first when there are too many."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ca.bundle import JwtKey, TrustBundle
from ca.masked import Masked
from sds.agent.jwt.shelf import HASTE, LATE_SHARE, MAX_PER_ENTRY, HeldToken, Key, Shelf, Standing, standing
from tests.fakes.clock import EPOCH
from tests.unit.agent.entries import TRUST_DOMAIN, entry

WEB = entry("web")
KEYS = tuple(JwtKey(name, b"spki") for name in ("k1", "k2"))
BUNDLE = TrustBundle(TRUST_DOMAIN, (b"x",), 1, jwt_keys=KEYS)
LIFE = timedelta(minutes=8)


def token(name: str = "t", *, key: str = "k1", start: datetime = EPOCH, life: timedelta = LIFE) -> HeldToken:
    return HeldToken(Masked(name), WEB.spiffe_id, key, start, start + life, start + life / 2)


def after(minutes: float) -> datetime:
    return EPOCH + timedelta(minutes=minutes)


def key(name: str = "a", entry_id: str = "web") -> Key:
    return entry_id, (name,)


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [
        (0, Standing.GOOD),
        (3.99, Standing.GOOD),
        (4, Standing.STALE),
        (6.9, Standing.STALE),
        (7.01, Standing.DOUBTFUL),
        (7.99, Standing.DOUBTFUL),
        (8, Standing.NONE),
        (99, Standing.NONE),
    ],
)
def test_the_life_of_a_token(minutes: float, expected: Standing) -> None:
    assert standing(token(), WEB, BUNDLE, after(minutes)) is expected


def test_what_is_not_there_or_is_somebody_elses() -> None:
    assert standing(None, WEB, BUNDLE, EPOCH) is Standing.NONE
    moved = replace(WEB, spec=replace(WEB.spec, spiffe_id=entry("other").spiffe_id))
    assert standing(token(), moved, BUNDLE, EPOCH) is Standing.NONE


def test_of_a_revoked_authority_nothing_is_given_out_and_of_a_tainted_one_only_in_need() -> None:
    revoked = replace(BUNDLE, jwt_keys=KEYS[1:])
    assert standing(token(), WEB, revoked, EPOCH) is Standing.NONE
    assert standing(token(key="k2"), WEB, revoked, EPOCH) is Standing.GOOD
    tainted = replace(BUNDLE, tainted=frozenset({"k1"}))
    assert standing(token(), WEB, tainted, EPOCH) is Standing.DOUBTFUL
    assert standing(token(key="k2"), WEB, tainted, EPOCH) is Standing.GOOD
    assert standing(token(), WEB, None, EPOCH) is Standing.NONE


def test_another_lifetime_is_wanted() -> None:
    longer = replace(WEB, spec=replace(WEB.spec, jwt_svid_ttl=timedelta(minutes=30)))
    assert standing(token(), longer, BUNDLE, EPOCH) is Standing.STALE


@settings(max_examples=200)
@given(st.integers(1, 10_000), st.integers(-100, 12_000), st.floats(0, 0.5), st.booleans())
def test_nothing_expired_ever_leaves(life: int, age: int, share: float, tainted: bool) -> None:
    end = EPOCH + timedelta(seconds=life)
    held = replace(token(), expires_at=end, refresh_at=EPOCH + timedelta(seconds=life * share))
    bundle = replace(BUNDLE, tainted=frozenset({"k1"})) if tainted else BUNDLE
    now = EPOCH + timedelta(seconds=age)
    verdict = standing(held, WEB, bundle, now)
    assert (verdict is Standing.NONE) == (end <= now)
    if verdict in (Standing.GOOD, Standing.STALE):
        assert end - now >= (end - EPOCH) / LATE_SHARE
        assert not tainted


# The shelf


def shelf(*names: str, capacity: int = 100) -> Shelf:
    made = Shelf(capacity)
    for name in names:
        made.put(key(name), token(name), used=False)
    return made


def names(of: Shelf, *wanted: str) -> list[str]:
    return [name for name in wanted if of.use(key(name)) is not None]


def test_the_one_used_longest_ago_goes_first() -> None:
    full = shelf("a", "b", capacity=2)
    full.use(key("a"))
    full.put(key("c"), token("c"), used=False)
    assert names(full, "a", "b", "c") == ["a", "c"]
    assert len(full) == 2


def test_one_entry_pushes_out_only_its_own() -> None:
    full = Shelf(10_000)
    full.put(key("x", "other"), token("x"), used=False)
    for number in range(MAX_PER_ENTRY + 50):
        full.put(key(str(number)), token(str(number)), used=True)
    assert len(full) == MAX_PER_ENTRY + 1
    assert full.use(key("x", "other")) is not None
    assert names(full, "0", "49", "50") == ["50"]


def test_only_what_was_used_is_renewed_by_itself() -> None:
    some = shelf("used", "idle")
    some.use(key("used"))
    assert some.due(after(3)) == []
    assert some.due(after(4)) == [key("used")]
    some.put(key("used"), token("new", start=after(4)), used=False)
    assert some.due(after(8)) == [], "nobody has used the new one"


def test_the_first_to_expire_is_renewed_first() -> None:
    some = Shelf(100)
    for name, start in (("late", after(1)), ("early", after(-1))):
        some.put(key(name), token(name, start=start), used=True)
    assert some.due(after(6)) == [key("early"), key("late")]


def test_what_may_not_be_given_out_is_forgotten() -> None:
    some = shelf("a", "b")
    some.put(key("x", "gone"), token("x"), used=True)
    some.put(key("c"), token("c", key="k2"), used=True)
    some.put(key("d"), token("d", life=timedelta(minutes=1)), used=True)
    assert some.prune({"web": WEB}, replace(BUNDLE, jwt_keys=KEYS[:1]), after(2)) == 3
    assert names(some, "a", "b", "c", "d") == ["a", "b"]
    assert some.prune({}, BUNDLE, after(2)) == 2
    assert (len(some), some.due(after(99)), some.next_look(EPOCH)) == (0, [], None)


def test_the_next_look() -> None:
    some = shelf("a")
    assert some.next_look(EPOCH) == after(8), "unused: it will only expire"
    some.use(key("a"))
    assert some.next_look(EPOCH) == after(4)
    assert some.next_look(after(4)) == after(8)
    assert some.next_look(after(8)) is None


@pytest.mark.parametrize(("jitter", "seconds"), [(0.0, 0), (0.5, 15), (0.999, 29.97)])
def test_a_tainted_authoritys_tokens_are_replaced_soon(jitter: float, seconds: float) -> None:
    some = shelf("a")
    some.put(key("b"), token("b", key="k2"), used=True)
    some.use(key("a"))
    some.hasten(frozenset({"k1"}), EPOCH, jitter)
    some.hasten(frozenset({"k1"}), EPOCH + timedelta(seconds=1), 0.999)  # the next look puts nothing off
    assert some.due(EPOCH + timedelta(seconds=seconds)) == [key("a")]
    assert seconds == 0 or some.due(EPOCH + timedelta(seconds=seconds - 1)) == []
    assert timedelta(seconds=seconds) <= HASTE


def test_a_token_is_in_no_repr() -> None:
    assert "canary" not in repr(token("canary"))
