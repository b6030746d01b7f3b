"""One agent's wants: what it is told, once; and what it may not have it is never told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sds.server.secrets.news import Absence, Told
from sds.server.secrets.watch import SecretWatcher, TooManyWanted
from sds.server.watch import WatchEnded
from tests.unit.server.secrets.kit import AGENT, OTHER, Kit, make_entry, until


def absences(kit: Kit, watcher: SecretWatcher) -> list[Absence]:
    news = watcher.take(kit.clock.now(), 100)
    assert news.deliveries == []
    return news.absences


async def given(kit: Kit, watcher: SecretWatcher) -> list[tuple[str, str, list[str]]]:
    """The next values, taken as sent: name, version at the source, entries."""
    found: list[tuple[str, str, list[str]]] = []
    while not found:
        assert await watcher.wait(10), "nothing came"
        news = watcher.take(kit.clock.now(), 100)
        assert [one for one in news.absences if one.told is not Told.UNAVAILABLE] == []
        for one in news.deliveries:
            still = watcher.still(one, kit.clock.now())
            assert still is not None
            watcher.told_value(still)
            found.append((one.secret.name, one.held.version, sorted(entry.id for entry in still.entries)))
    return found


async def fetched(kit: Kit, watcher: SecretWatcher, values: int = 1) -> None:
    """Until so many values that the watcher wants are there."""
    assert watcher.take(kit.clock.now(), 100).deliveries == []
    await until(lambda: sum(slot.held is not None for slot in kit.shelf.slots()) == values)


async def test_a_granted_value_comes_once_and_again_when_it_changes() -> None:
    kit = Kit()
    kit.register(make_entry("web"), make_entry("db"))
    secret = kit.define("s", "web", "db")
    kit.embedded.put("s", "1")
    watcher = kit.watches.open(AGENT)
    watcher.want("web", "s", "")
    watcher.want("db", "s", "")
    assert await given(kit, watcher) == [("s", "1", ["db", "web"])]
    kit.shelf.changed(secret)
    await until(lambda: len(kit.embedded.fetches) == 2)
    assert not await watcher.wait(0.05)
    kit.embedded.put("s", "2")
    kit.shelf.changed(secret)
    assert await given(kit, watcher) == [("s", "2", ["db", "web"])]
    watcher.close()
    assert list(kit.shelf.slots()) == []
    assert (len(kit.watches), kit.watches.wanted) == (0, 0)


async def test_no_grant_and_no_secret_look_the_same_to_agents_and_differ_for_operators() -> None:
    kit = Kit()
    kit.register(make_entry("web"), make_entry("theirs", OTHER))
    kit.define("s", "theirs")
    watcher = kit.watches.open(AGENT)
    for entry_id, name in (("web", "s"), ("web", "none"), ("theirs", "s"), ("nobody", "s")):
        watcher.want(entry_id, name, "")
    news = watcher.take(kit.clock.now(), 100)
    assert {(one.name, one.told) for one in news.absences} == {("s", Told.NOT_GRANTED), ("none", Told.NOT_GRANTED)}
    assert {(one.entry_id, one.name): one.why for one in news.refused} == {
        ("web", "s"): "no grant covers this identity",
        ("web", "none"): "there is no such secret",
        ("theirs", "s"): "no such entry for this agent",
        ("nobody", "s"): "no such entry for this agent",
    }
    assert kit.embedded.fetches == []
    watcher.close()


async def test_a_grant_that_goes_takes_the_value_along_and_one_that_comes_brings_it() -> None:
    kit = Kit()
    kit.register(make_entry("web"), make_entry("db"))
    kit.define("s", "web", "db")
    kit.embedded.put("s", "1")
    watcher = kit.watches.open(AGENT)
    watcher.want("web", "s", "")
    watcher.want("db", "s", "")
    await given(kit, watcher)
    kit.define("s", "db")
    assert absences(kit, watcher) == [Absence("s", Told.NOT_GRANTED, ("web",))]
    assert watcher.take(kit.clock.now(), 100).refused == []
    kit.define("s", "db", "web")
    assert await given(kit, watcher) == [("s", "1", ["web"])]
    kit.catalog.put("id-s", None)
    kit.watches.names_changed(["s"])
    (absence,) = absences(kit, watcher)
    assert (absence.told, sorted(absence.entry_ids)) == (Told.NOT_GRANTED, ["db", "web"])
    assert list(kit.shelf.slots()) == []
    watcher.close()


async def test_an_entry_that_goes_or_moves_takes_the_value_along() -> None:
    kit = Kit()
    kit.register(make_entry("web"))
    kit.define("s", "web")
    kit.embedded.put("s", "1")
    watcher = kit.watches.open(AGENT)
    watcher.want("web", "s", "")
    await given(kit, watcher)
    kit.register(make_entry("web", OTHER))
    assert absences(kit, watcher) == [Absence("s", Told.NOT_GRANTED, ("web",))]
    kit.register(make_entry("web"))
    assert await given(kit, watcher) == [("s", "1", ["web"])]
    del kit.entries["web"]
    kit.watches.entry_changed(None)
    assert absences(kit, watcher) == [Absence("s", Told.NOT_GRANTED, ("web",))]
    watcher.close()


async def test_what_is_revoked_while_its_delivery_is_being_audited_is_not_sent() -> None:
    kit = Kit()
    kit.register(make_entry("web"), make_entry("db"))
    kit.define("s", "web", "db")
    kit.embedded.put("s", "1")
    watcher = kit.watches.open(AGENT)
    watcher.want("web", "s", "")
    watcher.want("db", "s", "")
    await fetched(kit, watcher)
    (delivery,) = watcher.take(kit.clock.now(), 100).deliveries
    kit.define("s", "db")
    still = watcher.still(delivery, kit.clock.now())
    assert still is not None
    assert [entry.id for entry in still.entries] == ["db"]
    kit.define("s")
    assert watcher.still(delivery, kit.clock.now()) is None
    watcher.close()


async def test_what_could_not_be_sent_is_found_again() -> None:
    kit = Kit()
    kit.register(make_entry("web"))
    kit.define("s", "web")
    kit.embedded.put("s", "1")
    watcher = kit.watches.open(AGENT)
    watcher.want("web", "s", "")
    await fetched(kit, watcher)
    news = watcher.take(kit.clock.now(), 100)
    watcher.put_back(news.deliveries)
    assert not await watcher.wait(0.01), "a stream that cannot audit must not spin"
    assert len(watcher.take(kit.clock.now(), 100).deliveries) == 1
    watcher.close()


async def test_a_version_that_is_held_is_not_sent_again() -> None:
    kit = Kit()
    kit.register(make_entry("web"))
    kit.define("s", "web")
    kit.embedded.put("s", "1")
    first = kit.watches.open(AGENT)
    first.want("web", "s", "")
    await fetched(kit, first)
    (delivery,) = first.take(kit.clock.now(), 100).deliveries
    version = delivery.held.value.version
    second = kit.watches.open(AGENT)
    second.want("web", "s", version)
    assert absences(kit, second) == [Absence("s", Told.UNCHANGED, ("web",))]
    second.want("web", "s", "another")
    assert await given(kit, second) == [("s", "1", ["web"])]
    first.close()
    second.close()


async def test_the_same_version_of_another_secret_is_another_version() -> None:
    kit = Kit()
    kit.register(make_entry("web"))
    secret = kit.define("s", "web")
    kit.embedded.put("s", "1")
    watcher = kit.watches.open(AGENT)
    watcher.want("web", "s", "")
    await given(kit, watcher)
    (slot,) = kit.shelf.slots()
    assert slot.held is not None
    before = slot.held.value.version
    granted = kit.catalog.granting(kit.entries["web"].spec, secret.id)
    assert granted is not None
    new = replace(secret, id="id-new")
    names = kit.catalog.put_all({secret.id: (None, ()), new.id: (new, [replace(granted, secret_id=new.id)])})
    kit.watches.names_changed(names)
    assert await given(kit, watcher) == [("s", "1", ["web"])]
    (slot,) = kit.shelf.slots()
    assert slot.held is not None
    assert slot.held.value.version != before
    watcher.close()


async def test_what_cannot_be_had_is_told_once_and_comes_when_it_can() -> None:
    kit = Kit()
    kit.register(make_entry("web"))
    kit.define("s", "web")
    watcher = kit.watches.open(AGENT)
    watcher.want("web", "s", "")
    assert absences(kit, watcher) == []
    assert await watcher.wait(10)
    assert absences(kit, watcher) == [Absence("s", Told.UNAVAILABLE, ("web",))]
    await until(lambda: len(kit.embedded.fetches) > 3)
    assert absences(kit, watcher) == []
    kit.embedded.put("s", "1")
    assert await given(kit, watcher) == [("s", "1", ["web"])]
    watcher.close()


async def test_what_is_wanted_no_more_is_forgotten_on_both_sides() -> None:
    kit = Kit()
    kit.register(make_entry("web"))
    kit.define("s", "web")
    kit.embedded.put("s", "1")
    watcher = kit.watches.open(AGENT)
    watcher.want("web", "s", "")
    await given(kit, watcher)
    watcher.unwant("web", "s")
    watcher.unwant("web", "s")
    assert list(kit.shelf.slots()) == []
    assert len(watcher) == kit.watches.wanted == 0
    kit.define("s")
    assert absences(kit, watcher) == []
    watcher.close()


async def test_wants_are_bounded() -> None:
    kit = Kit(max_wanted=3)
    watcher = kit.watches.open(AGENT)
    for number in range(3):
        watcher.want("web", f"s{number}", "")
    watcher.want("web", "s0", "")
    with pytest.raises(TooManyWanted):
        watcher.want("web", "s3", "")
    watcher.unwant("web", "s0")
    watcher.want("web", "s3", "")
    watcher.close()


async def test_a_server_that_ends_ends_all_watches() -> None:
    kit = Kit()
    watcher = kit.watches.open(AGENT)
    kit.watches.end("ending")
    with pytest.raises(WatchEnded, match="ending"):
        watcher.take(kit.clock.now(), 1)
    watcher.close()
    watcher.close()


async def test_credentials_of_one_identity_never_reach_another() -> None:
    kit = Kit()
    kit.register(make_entry("web"), make_entry("db"))
    kit.define("s", "web", "db", per_identity=True)
    kit.database.put("s", "1", field="password")
    watcher = kit.watches.open(AGENT)
    watcher.want("web", "s", "")
    watcher.want("db", "s", "")
    await fetched(kit, watcher, 2)
    deliveries = watcher.take(kit.clock.now(), 100).deliveries
    assert sorted([entry.id for entry in one.entries] for one in deliveries) == [["db"], ["web"]]
    for one in deliveries:
        watcher.told_value(one)
    kit.define("s", "db", per_identity=True)
    assert absences(kit, watcher) == [Absence("s", Told.NOT_GRANTED, ("web",))]
    await until(lambda: kit.database.released == [("s", kit.entries["web"].spiffe_id)])
    watcher.close()
