"""Values in memory: fetched once for all, kept when their source fails, gone when nobody wants them."""

from __future__ import annotations

import asyncio
import gc
import weakref
from datetime import timedelta

from ca.masked import Masked
from sds.secrets.errors import SecretDenied, SecretMissing, SecretUnavailable
from tests.unit.server.secrets.kit import Kit, User, make_entry, make_secret, until

WEB = make_entry("web").spiffe_id
DB = make_entry("db").spiffe_id


async def test_one_fetch_serves_all() -> None:
    kit = Kit()
    kit.embedded.put("s", "1")
    secret, users = make_secret("s"), [User() for _ in range(50)]
    kit.embedded.gate.clear()
    slots = {kit.shelf.hold(secret, WEB if n % 2 else DB, user) for n, user in enumerate(users)}
    await asyncio.sleep(0)
    kit.embedded.gate.set()
    await until(lambda: all(user.told for user in users))
    assert len(slots) == 1
    assert kit.embedded.fetches == [("s", None)]
    (slot,) = slots
    assert slot.held is not None
    assert slot.held.version == "1"
    assert slot.held.value.version.startswith("1.")
    await kit.shelf.close()


async def test_who_comes_later_gets_what_is_there() -> None:
    kit = Kit()
    kit.embedded.put("s", "1")
    secret = make_secret("s")
    slot = kit.shelf.hold(secret, WEB, User())
    await until(lambda: slot.held)
    assert kit.shelf.hold(secret, DB, User()) is slot
    assert len(kit.embedded.fetches) == 1
    await kit.shelf.close()


async def test_no_reference_to_a_value_remains_when_nobody_wants_it() -> None:
    kit = Kit()
    kit.embedded.put("s", "1", b"canary")
    secret, user, other = make_secret("s"), User(), User()
    slot = kit.shelf.hold(secret, WEB, user)
    kit.shelf.hold(secret, WEB, other)
    await until(lambda: user.told)
    assert slot.held is not None
    gone = weakref.ref(slot)
    kit.shelf.drop(slot, user)
    assert slot.held is not None
    kit.shelf.drop(slot, other)
    del slot
    await until(lambda: gone() is None)
    gc.collect()
    kept = [one for one in gc.get_objects() if isinstance(one, Masked) and one.reveal() == b"canary"]
    assert kept == []
    assert list(kit.shelf.slots()) == []
    await kit.shelf.close()


async def test_a_value_that_arrives_after_the_last_user_left_is_dropped() -> None:
    kit = Kit()
    kit.embedded.put("s", "1", b"canary-late")
    user = User()
    kit.embedded.gate.clear()
    slot = kit.shelf.hold(make_secret("s"), WEB, user)
    await until(lambda: kit.embedded.fetches)
    kit.shelf.drop(slot, user)
    kit.embedded.gate.set()
    await until(lambda: slot.task is None)
    assert slot.held is None
    assert user.told == 0
    gc.collect()
    assert not [one for one in gc.get_objects() if isinstance(one, Masked) and one.reveal() == b"canary-late"]
    await kit.shelf.close()


async def test_the_last_good_value_stays_when_the_source_fails_and_returns() -> None:
    kit = Kit()
    kit.embedded.put("s", "1")
    secret, user = make_secret("s"), User()
    slot = kit.shelf.hold(secret, WEB, user)
    await until(lambda: slot.held)
    for problem in (SecretUnavailable("away"), SecretDenied("no"), SecretMissing("gone")):
        kit.embedded.problems["s"] = problem
        kit.shelf.changed(secret)
        await until(lambda problem=problem: slot.problem is not None and slot.problem.code == problem.code)
        assert slot.held is not None
        assert slot.held.version == "1"
        assert kit.notes.states["s"].problem == str(problem)
    del kit.embedded.problems["s"]
    kit.embedded.put("s", "2", b"new")
    await until(lambda: slot.held is not None and slot.held.version == "2")
    assert slot.problem is None
    assert kit.notes.states["s"].problem_code == ""
    await kit.shelf.close()


async def test_what_is_not_fit_is_told_to_operators_and_never_held() -> None:
    kit = Kit()
    kit.embedded.put("s", "1", b"x" * 65)
    user = User()
    slot = kit.shelf.hold(make_secret("s"), WEB, user)
    await until(lambda: slot.problem)
    assert slot.held is None
    assert slot.problem is not None
    assert slot.problem.code == "malformed"
    assert slot.seen == "1"
    fetched = len(kit.embedded.fetches)
    kit.shelf.compare(slot, "1", kit.clock.now())
    assert slot.task is None or len(kit.embedded.fetches) >= fetched
    kit.embedded.put("s", "2", b"fine")
    kit.shelf.compare(slot, "2", kit.clock.now())
    await until(lambda: slot.held)
    await kit.shelf.close()


async def test_a_mistake_of_ours_is_a_problem_of_this_secret_alone() -> None:
    kit = Kit()
    kit.embedded.broken = ZeroDivisionError()
    user = User()
    slot = kit.shelf.hold(make_secret("s"), WEB, user)
    await until(lambda: slot.problem)
    assert slot.problem is not None
    assert slot.problem.code == "unavailable"
    kit.embedded.broken = None
    kit.embedded.put("s", "1")
    await until(lambda: slot.held)
    await kit.shelf.close()


async def test_a_look_that_finds_the_same_version_fetches_nothing() -> None:
    kit = Kit()
    kit.embedded.put("s", "1")
    slot = kit.shelf.hold(make_secret("s"), WEB, User())
    await until(lambda: slot.held)
    kit.clock.advance(5)
    kit.shelf.compare(slot, "1", kit.clock.now())
    assert slot.task is None
    assert slot.checked_at == kit.clock.now()
    kit.shelf.compare(slot, SecretUnavailable("away"), kit.clock.now())
    assert slot.problem is not None
    kit.shelf.compare(slot, "1", kit.clock.now())
    await until(lambda: slot.problem is None)
    kit.embedded.put("s", "2")
    kit.shelf.compare(slot, "2", kit.clock.now())
    await until(lambda: slot.held is not None and slot.held.version == "2")
    assert slot.detected is not None
    await kit.shelf.close()


async def test_a_value_that_has_ended_is_not_sent() -> None:
    kit = Kit()
    kit.embedded.put("s", "1")
    user = User()
    slot = kit.shelf.hold(make_secret("s"), WEB, user)
    await until(lambda: slot.held)
    assert slot.held is not None
    value = slot.held.value
    ends = kit.clock.now() + timedelta(seconds=10)
    slot.held = type(slot.held)(type(value)(value.kind, value.version, value.fields, ends), "1", slot.held.changed_at)
    told = user.told
    kit.shelf.expire(kit.clock.now())
    assert user.told == told
    kit.clock.advance(10)
    kit.shelf.expire(kit.clock.now())
    assert user.told == told + 1
    assert slot.problem is not None
    assert not slot.held.fit(kit.clock.now())
    kit.shelf.expire(kit.clock.now())
    assert user.told == told + 1
    await kit.shelf.close()


async def test_each_receiver_has_his_own_and_it_is_given_back_after_he_left() -> None:
    kit = Kit()
    kit.database.put("s", "1", field="password")
    secret, web, db = make_secret("s", per_identity=True), User(), User()
    one, two = kit.shelf.hold(secret, WEB, web), kit.shelf.hold(secret, DB, db)
    assert one is not two
    await until(lambda: one.held and two.held)
    kit.shelf.drop(one, web)
    assert kit.database.released == []
    await until(lambda: kit.database.released == [("s", WEB)])
    kit.shelf.drop(two, db, for_good=True)
    await until(lambda: kit.database.released == [("s", WEB), ("s", DB)])
    await kit.shelf.close()


async def test_who_comes_back_in_time_keeps_what_was_made_for_him() -> None:
    kit = Kit(linger=30.0)
    kit.database.put("s", "1", field="password")
    secret, user = make_secret("s", per_identity=True), User()
    slot = kit.shelf.hold(secret, WEB, user)
    await until(lambda: slot.held)
    kit.shelf.drop(slot, user)
    again = kit.shelf.hold(secret, WEB, user)
    await until(lambda: again.held)
    assert kit.shelf._leaving == {}
    await kit.shelf.close()
    assert kit.database.released == []
