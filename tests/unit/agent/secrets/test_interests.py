"""Who wants what, who sees what, who is woken: the cache with secrets, without a server."""

from __future__ import annotations

import pytest

from sds.agent.secrets.shelf import Standing
from sds.agent.secrets.values import NotGranted, Unavailable, Unchanged
from sds.delivery.errors import LimitExceeded
from sds.delivery.view import Absence
from sds.secrets.secret import SecretValue
from tests.unit.agent.entries import entry, selectors, svid
from tests.unit.agent.secrets.interests_kit import Kit, Stream


@pytest.fixture
def kit() -> Kit:
    return Kit()


def test_what_wants_no_secrets_is_asked_of_nobody(kit: Kit) -> None:
    kit.entries(entry())
    stream = Stream(kit.workload())
    stream.want("default", "ROOTCA", "ALL", "spiffe://example.org/e1", "file-cert:/x")
    assert (kit.shelf.size, kit.shelf.news()) == (0, ([], []))


def test_each_entry_of_a_workload_is_asked_for(kit: Kit) -> None:
    kit.entries(entry("e1"), entry("e2"), entry("e3", "unix:uid:5"))
    stream = Stream(kit.workload())
    stream.want("password", "default")
    assert kit.shelf.news() == ([("e1", "password"), ("e2", "password")], [])
    stream.want("password", "token")
    assert kit.shelf.news() == ([("e1", "token"), ("e2", "token")], [])
    stream.want("token")
    assert kit.shelf.news() == ([], [("e1", "password"), ("e2", "password")])


def test_the_last_stream_ends_the_interest(kit: Kit) -> None:
    kit.entries(entry())
    workload = kit.workload()
    one, two = Stream(workload), Stream(kit.workload(pid=2))
    one.want("password")
    two.want("password")
    assert kit.shelf.news() == ([("e1", "password")], [])
    kit.give("password", "1", "e1")
    one.close()
    assert kit.shelf.news() == ([], [])
    assert workload.view().resolve("password") is not None
    two.close()
    assert kit.shelf.news() == ([], [("e1", "password")])
    assert workload.view().resolve("password") is None


def test_what_was_dropped_and_is_wanted_again_is_asked_for_anew(kit: Kit) -> None:
    kit.entries(entry())
    stream = Stream(kit.workload())
    stream.want("password")
    kit.shelf.news()
    kit.give("password", "1", "e1")
    stream.want()
    stream.want("password")
    assert kit.shelf.news() == ([("e1", "password")], [("e1", "password")])
    assert kit.shelf.everything() == [(("e1", "password"), "")]


def test_a_want_that_was_never_told_is_taken_back_silently(kit: Kit) -> None:
    kit.entries(entry())
    stream = Stream(kit.workload())
    stream.want("password")
    stream.want()
    assert kit.shelf.news() == ([], [])


def test_a_change_builds_one_view_and_wakes_only_who_wants_it(kit: Kit) -> None:
    kit.entries(entry())
    streams = [Stream(kit.workload(pid=pid)) for pid in range(1, 5)]
    other = Stream(kit.workload("unix:uid:1000", "unix:gid:7", pid=9))
    for stream in streams[:2]:
        stream.want("password")
    other.want("token")
    kit.give("token", "1", "e1")
    before = [stream.wakes for stream in (*streams, other)]
    kit.give("password", "1", "e1")
    assert [stream.wakes for stream in (*streams, other)] == [before[0] + 1, before[1] + 1, *before[2:]]
    views = {id(stream.workload.view()) for stream in (*streams, other)}
    assert len(views) == 1
    kit.give("password", "1", "e1")
    assert {id(stream.workload.view()) for stream in streams} == views, "the same once more is no change"


def test_one_resource_for_all_entries(kit: Kit) -> None:
    kit.entries(entry("e1"), entry("e2", "unix:uid:5"))
    one, two = kit.workload(), kit.workload("unix:uid:5", pid=2)
    for workload in (one, two):
        Stream(workload).want("password")
    kit.give("password", "1", "e1")
    kit.give("password", "1", "e2")
    assert one.view().resolve("password") is two.view().resolve("password") is not None


def test_values_of_one_version_may_differ_between_identities(kit: Kit) -> None:
    kit.entries(entry("e1"), entry("e2", "unix:uid:5"))
    one, two = kit.workload(), kit.workload("unix:uid:5", pid=2)
    for workload in (one, two):
        Stream(workload).want("login")
    kit.give("login", "1", "e1", value=b"of one")
    kit.give("login", "1", "e2", value=b"of two")
    assert (kit.value(one, "login"), kit.value(two, "login")) == (b"of one", b"of two")


def test_the_first_entry_that_has_it_counts(kit: Kit) -> None:
    kit.entries(entry("e1"), entry("e2"))
    workload = kit.workload()
    Stream(workload).want("password")
    kit.give("password", "of-2", "e2")
    assert workload.view().awaits("password"), "the first has not been answered"
    assert kit.desk.find(workload, "password") is None
    kit.give("password", "of-1", "e1")
    assert kit.value(workload, "password") == b"of-1"
    kit.desk.apply([NotGranted("password", ("e1",))])
    assert kit.value(workload, "password") == b"of-2"
    kit.desk.apply([NotGranted("password", ("e2",))])
    assert kit.desk.find(workload, "password") == Absence("unknown or not granted")


def test_a_lost_entry_takes_its_value_along(kit: Kit) -> None:
    kit.entries(entry("e1"), entry("e2", "unix:gid:7"))
    workload = kit.workload("unix:uid:1000", "unix:gid:7")
    Stream(workload).want("password")
    kit.give("password", "1", "e1", "e2")
    kit.shelf.news()
    kit.cache.apply((), ["e1"])
    assert kit.shelf.news() == ([], [("e1", "password")])
    assert kit.value(workload, "password") == b"1"
    workload.move(kit.cache.join(selectors("unix:uid:1000"), workload))
    assert kit.desk.find(workload, "password") is not None


def test_attested_again_a_process_keeps_what_both_have_and_loses_the_rest(kit: Kit) -> None:
    kit.entries(entry("e1"), entry("e2", "unix:gid:7"))
    workload = kit.workload("unix:uid:1000", "unix:gid:7")
    Stream(workload).want("password")
    kit.give("password", "1", "e1", "e2")
    kit.shelf.news()
    former = workload.group
    workload.move(kit.cache.join(selectors("unix:uid:1000"), workload))
    kit.cache.leave(former, workload)
    assert kit.shelf.news() == ([], [("e2", "password")]), "what stays is not asked for again"
    assert kit.value(workload, "password") == b"1"


def test_a_process_id_that_is_used_again_is_another_process(kit: Kit) -> None:
    kit.entries(entry("e1", "unix:uid:1000"), entry("e2", "unix:uid:5"))
    first = kit.workload(pid=77)
    stream = Stream(first)
    stream.want("password")
    kit.give("password", "1", "e1")
    second = kit.workload("unix:uid:5", pid=77, start_time=2, uid=5)
    newcomer = Stream(second)
    newcomer.want("password")
    assert kit.desk.find(second, "password") is None
    assert second.view().resolve("password") is None
    kit.shelf.news()
    first.refuse("the process is gone")
    kit.cache.leave(first.group, first)
    assert ("e1", "password") in kit.shelf.news()[1]
    stream.close()
    assert second.view().resolve("password") is None
    kit.desk.apply([NotGranted("password", ("e2",))])
    assert isinstance(kit.desk.find(second, "password"), Absence)


def test_without_a_certificate_there_is_no_secret(kit: Kit) -> None:
    kit.cache.apply([entry()])
    workload = kit.workload()
    Stream(workload).want("password")
    kit.give("password", "1", "e1")
    assert isinstance(kit.desk.find(workload, "password"), Absence)
    assert workload.view().resolve("password") is None
    kit.cache.put({"e1": svid(entry())})
    assert kit.value(workload, "password") == b"1"


def test_limits_are_for_a_process_a_user_and_all() -> None:
    kit = Kit(per_process=3, per_user=5, total=6)
    kit.entries(entry("e1"), entry("e2", "unix:uid:5"))
    workload = kit.workload()
    stream = Stream(workload)
    stream.want("a", "b", "c")
    Stream(workload).want("a", "b", "c")  # the same names cost nothing more
    with pytest.raises(LimitExceeded, match="more than 3 secrets"):
        stream.want("a", "b", "c", "d")
    second = Stream(kit.workload(pid=2))
    with pytest.raises(LimitExceeded, match="on this node"):
        second.want("a", "b", "c")
    second.want("a", "b")
    third = Stream(kit.workload("unix:uid:5", pid=3, uid=5))
    with pytest.raises(LimitExceeded, match="on this node"):
        third.want("a", "b")
    second.close()
    third.want("a", "b")
    for one in (stream, third):
        one.close()


def test_the_last_good_value_stays_for_an_hour_without_a_server(kit: Kit) -> None:
    kit.entries(entry())
    workload = kit.workload()
    Stream(workload).want("password")
    kit.give("password", "1", "e1")
    for _ in range(60):
        kit.clock.advance(60)
        kit.desk.look()
        kit.desk.apply([Unavailable("password", ("e1",))])
    assert kit.value(workload, "password") == b"1"
    (one,) = kit.desk.list()
    assert (one.standing, one.stale) == (Standing.GIVEN, True)
    assert kit.shelf.everything() == [(("e1", "password"), "1")]
    kit.desk.apply([Unchanged("password", ("e1",))])
    assert not kit.desk.list()[0].stale


def test_what_is_not_answered_is_not_waited_for_for_ever(kit: Kit) -> None:
    kit.entries(entry())
    workload = kit.workload()
    Stream(workload).want("password")
    assert kit.desk.look() == 5.0
    kit.clock.advance(5)
    assert kit.desk.look() is None
    assert kit.desk.find(workload, "password") == Absence("there is no value for it now")
    kit.give("password", "1", "e1")
    assert kit.value(workload, "password") == b"1"


def test_others_use_the_same_interests(kit: Kit) -> None:
    kit.entries(entry())
    woken: list[str] = []
    stand_in = kit.desk.stand_in(selectors("unix:uid:1000"), lambda: woken.append("entries"))
    interest = kit.desk.interest(stand_in, ["password"], lambda: woken.append("value"))
    kit.give("password", "1", "e1")
    assert woken == ["value"]
    found = kit.desk.find(stand_in, "password")
    assert isinstance(found, SecretValue)
    interest.close()
    interest.close()
    assert kit.shelf.size == 0
    stand_in.close()
    assert kit.desk.find(stand_in, "password") == Absence("no entry matches the caller")
