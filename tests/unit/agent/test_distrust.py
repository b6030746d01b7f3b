"""Which held certificates a new bundle takes back, and when each is replaced."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from ca.bundle import TrustBundle
from sds.agent.cache import Cache
from sds.agent.distrust import SPREAD_SHARE, STEPS, URGENT, Leaf, Verdict, judge, judge_svid, read, replace_at
from sds.agent.doubts import BundleReader
from sds.agent.renewal import CATCH_UP, Attempt, catch_up, failed
from sds.logs import get_logger
from tests.fakes.ca import Holder, make_authority, make_bundle_of, make_crl, make_svid
from tests.fakes.clock import EPOCH, FakeClock
from tests.unit.agent.entries import entry
from tests.unit.agent.entries import svid as held_svid

OLD, NEW = make_authority(), make_authority()
BOTH = make_bundle_of(OLD, NEW, sequence=2)
WEB, DB = make_svid(authority=OLD), make_svid("spiffe://example.org/db", OLD)
API = make_svid("spiffe://example.org/api", NEW)
NOW = EPOCH + timedelta(minutes=1)


def leaf(of: Holder) -> Leaf:
    svid = of.svid
    return Leaf(svid.authority_id, svid.serial, svid.not_before, svid.not_after, svid.pem())


HELD = {"web": leaf(WEB), "db": leaf(DB), "api": leaf(API)}


def verdicts(bundle: TrustBundle) -> dict[str, Verdict]:
    found = judge(HELD, read(bundle), NOW)
    for name, one in (("web", WEB), ("db", DB), ("api", API)):
        assert judge_svid(one.svid, read(bundle), NOW) is found.get(name)
    return found


def test_a_leaf_names_the_authority_that_issued_it() -> None:
    assert WEB.svid.authority_id == OLD.authority.id and API.svid.authority_id == NEW.authority.id


def test_a_sound_bundle_takes_nothing_back() -> None:
    assert verdicts(BOTH) == {}
    assert verdicts(replace(BOTH, crls=(make_crl(OLD), make_crl(NEW)))) == {}


def test_everything_below_a_tainted_authority_and_nothing_else() -> None:
    tainted = replace(BOTH, tainted=frozenset({OLD.authority.id}))
    assert verdicts(tainted) == {"web": Verdict.TAINTED, "db": Verdict.TAINTED}


def test_a_serial_counts_on_the_list_of_its_own_authority_alone() -> None:
    revoked = replace(BOTH, crls=(make_crl(OLD, WEB.svid.serial, "0b"), make_crl(NEW)))
    assert verdicts(revoked) == {"web": Verdict.REVOKED}
    other = replace(BOTH, crls=(make_crl(OLD), make_crl(NEW, WEB.svid.serial)))
    assert verdicts(other) == {}


def test_what_is_revoked_is_so_although_its_authority_is_tainted() -> None:
    both = replace(BOTH, crls=(make_crl(OLD, WEB.svid.serial),), tainted=frozenset({OLD.authority.id}))
    assert verdicts(both) == {"web": Verdict.REVOKED, "db": Verdict.TAINTED}


def test_an_authority_that_is_gone() -> None:
    assert verdicts(make_bundle_of(NEW)) == {"web": Verdict.UNTRUSTED, "db": Verdict.UNTRUSTED}


def test_one_path_is_verified_once_however_many_hang_on_it() -> None:
    unread = replace(leaf(DB), chain_pem=b"would not verify if anybody tried")
    assert judge({"web": leaf(WEB), "db": unread}, read(BOTH), NOW) == {}
    assert judge({"db": unread}, read(BOTH), NOW) == {"db": Verdict.UNTRUSTED}


def test_what_is_not_valid_now_condemns_nobody_else() -> None:
    """The clock was set back, or one has just expired: that is no matter of its authority."""
    late = {"first": replace(leaf(WEB), not_after=NOW - timedelta(seconds=1)), "db": leaf(DB)}
    assert judge(late, read(BOTH), NOW) == {}


def test_a_list_is_parsed_once_and_a_broken_one_is_told() -> None:
    old, new, newer = make_crl(OLD, WEB.svid.serial), make_crl(NEW), make_crl(NEW, API.svid.serial, number=2)
    first = read(replace(BOTH, crls=(old, new, b"rubbish")))
    assert len(first.problems) == 1 and set(first.revoked) == {OLD.authority.id, NEW.authority.id}
    second = read(replace(BOTH, crls=(bytes(bytearray(old)), newer)), first)
    assert second.lists[old] is first.lists[old]
    assert second.of(NEW.authority.id, API.svid.serial) is Verdict.REVOKED
    assert second.of(OLD.authority.id, WEB.svid.serial) is Verdict.REVOKED
    assert not second.problems


async def test_the_reader_reads_each_bundle_once_for_all_who_ask() -> None:
    with ThreadPoolExecutor(1) as executor:
        reader = BundleReader(executor, get_logger("test"))
        first, second = await asyncio.gather(reader.doubts(BOTH), reader.doubts(replace(BOTH)))
        assert first is second, "an equal bundle is the same one"
        assert await reader.doubts(replace(BOTH, sequence=3)) is not first


moments = st.timedeltas(timedelta(seconds=-10), timedelta(days=400))


@given(st.sampled_from(Verdict), moments, st.timedeltas(timedelta(0), timedelta(days=1)), st.floats(0, 0.999))
def test_it_is_replaced_in_time_and_never_before_now(
    verdict: Verdict, left: timedelta, spread: timedelta, jitter: float
) -> None:
    due = replace_at(verdict, NOW + left, NOW, spread, jitter) - NOW
    assert timedelta(0) <= due
    if verdict is Verdict.TAINTED:
        assert due <= min(spread, max(left, timedelta(0)) / SPREAD_SHARE)
    else:
        assert due <= URGENT


def test_a_spread_is_a_few_moments_and_covers_all_of_it() -> None:
    life, spread = timedelta(hours=1), timedelta(minutes=5)
    due = {replace_at(Verdict.TAINTED, NOW + life, NOW, spread, number / 1000) - NOW for number in range(1000)}
    assert (len(due), max(due)) == (STEPS, spread)


# In the cache


def holding(*names: str) -> Cache:
    cache = Cache(FakeClock())
    cache.apply([entry(name) for name in names])
    cache.put({name: held_svid(entry(name)) for name in names})
    return cache


def test_times_stay_when_the_next_bundle_says_the_same_and_go_when_it_does_not() -> None:
    cache = holding("a", "b")
    cache.distrust(["a", "b"], {"a": NOW}, ())
    cache.distrust(["a", "b"], {"a": NOW + timedelta(hours=1)}, ())
    assert cache.replace_at == {"a": NOW}
    cache.distrust(["a", "b"], {"b": NOW}, ())
    assert cache.replace_at == {"b": NOW}, "the authority of a is back"
    assert cache.facts().replace_at == cache.replace_at


def test_what_was_replaced_dropped_or_deleted_is_not_to_be_replaced() -> None:
    cache = holding("a", "b", "c", "d")
    cache.distrust(["a", "b", "c", "gone"], dict.fromkeys(["a", "b", "c", "gone"], NOW), ())
    assert set(cache.replace_at) == {"a", "b", "c"}
    cache.put({"a": held_svid(entry("a"), "02")})
    cache.drop(["b"])
    cache.apply((), ["c"])
    assert not cache.replace_at


def test_a_certificate_that_expires_is_not_to_be_replaced_any_more() -> None:
    clock = FakeClock()
    cache = Cache(clock)
    cache.apply([entry("a")])
    cache.put({"a": held_svid(entry("a"))})
    cache.distrust(["a"], {"a": EPOCH + timedelta(minutes=1)}, ())
    clock.advance(3601)
    cache.expire()
    assert not cache.replace_at


def test_what_is_urgent_waits_for_no_spread_but_for_its_failures() -> None:
    cache = holding("a", "b", "c")
    spread, failing = Attempt(retry_at=NOW + CATCH_UP), failed(None, CATCH_UP, NOW, "away")
    cache.note({"a": spread, "b": failing, "c": spread})
    cache.distrust(["a", "b", "c"], dict.fromkeys("abc", NOW), {"a", "b"})
    assert dict(cache.attempts) == {"b": failing, "c": spread}
    assert catch_up(cache.facts(), NOW, 0.5) == {}, "nobody uses them"
