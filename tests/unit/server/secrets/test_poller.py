"""Looks at sources that have to be asked: together what belongs together, never in a storm, and a failure harms itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from sds.secrets.errors import SecretUnavailable
from sds.server.secrets.poller import SecretPoller
from sds.server.secrets.schedule import PollPolicy
from tests.unit.server.secrets.kit import Kit, User, make_entry, make_secret, until

WEB = make_entry("web").spiffe_id
POLICY = PollPolicy(budget=10, shortest=1, longest=60, retry=1, patience=30)


class Observer:
    def __init__(self) -> None:
        self.interval = 0.0
        self.looks: list[tuple[str, int]] = []

    def secret_interval(self, seconds: float) -> None:
        self.interval = seconds

    def secret_looked(self, outcome: str, count: int) -> None:
        self.looks.append((outcome, count))


async def wanting(kit: Kit, *names: str) -> SecretPoller:
    """A poller over secrets that are wanted and held."""
    for name in names:
        kit.embedded.put(name, "1")
        kit.shelf.hold(make_secret(name), WEB, User())
    await until(lambda: all(slot.held for slot in kit.shelf.slots()))
    kit.observed = Observer()  # type: ignore[attr-defined]
    return SecretPoller(kit.shelf, kit.backends, kit.clock, POLICY, kit.observed)  # type: ignore[attr-defined]


async def step(kit: Kit, poller: SecretPoller, seconds: float) -> None:
    kit.clock.advance(seconds)
    poller.tick()
    await poller.idle()


async def test_a_change_is_found_within_the_interval() -> None:
    kit = Kit()
    poller = await wanting(kit, "s")
    poller.tick()
    kit.embedded.put("s", "2", b"new")
    (slot,) = kit.shelf.slots()
    for _ in range(20):
        await step(kit, poller, 0.1)
    await until(lambda: slot.held is not None and slot.held.version == "2")
    assert kit.embedded.asked
    await kit.shelf.close()


async def test_the_interval_grows_with_what_is_wanted_and_the_budget_is_kept() -> None:
    kit = Kit()
    poller = await wanting(kit, *(f"s{number}" for number in range(50)))
    poller.tick()
    assert kit.observed.interval == 5.0  # type: ignore[attr-defined]
    kit.embedded.asked.clear()
    for _ in range(1000):
        await step(kit, poller, 0.1)
    assert 100 * POLICY.budget * 0.8 <= len(kit.embedded.asked) <= 100 * POLICY.budget * 1.15
    await kit.shelf.close()


async def test_a_secret_s_own_interval_is_kept() -> None:
    kit = Kit()
    kit.embedded.put("slow", "1")
    slow = make_secret("slow")
    kit.shelf.hold(replace(slow, spec=replace(slow.spec, refresh=timedelta(seconds=30))), WEB, User())
    poller = await wanting(kit, "quick")
    for _ in range(600):
        await step(kit, poller, 0.1)
    asked = [name for names in kit.embedded.asked for name in names]
    assert 1 <= asked.count("slow") <= 3
    assert asked.count("quick") >= 40
    await kit.shelf.close()


async def test_a_source_that_is_away_is_asked_ever_less_and_all_come_back_spread() -> None:
    kit = Kit()
    poller = await wanting(kit, "s")
    kit.embedded.broken = SecretUnavailable("away")
    for _ in range(2000):
        await step(kit, poller, 0.1)
    assert 5 <= len(kit.embedded.asked) <= 20
    kit.embedded.broken = None
    kit.embedded.put("s", "2")
    (slot,) = kit.shelf.slots()
    for _ in range(400):
        await step(kit, poller, 0.1)
    await until(lambda: slot.held is not None and slot.held.version == "2")
    await kit.shelf.close()


async def test_nobody_is_asked_for_what_nobody_wants() -> None:
    kit = Kit()
    poller = await wanting(kit)
    for _ in range(50):
        await step(kit, poller, 0.1)
    assert kit.embedded.asked == []
    await kit.shelf.close()


async def test_what_is_being_fetched_for_the_first_time_is_not_looked_at_meanwhile() -> None:
    """Many that are wanted at once would cost twice the requests."""
    kit = Kit()
    poller = await wanting(kit)
    kit.embedded.put("s", "1")
    kit.embedded.gate.clear()
    slot = kit.shelf.hold(make_secret("s"), WEB, User())
    await until(lambda: kit.embedded.fetches)
    for _ in range(100):
        await step(kit, poller, 0.1)
    assert kit.embedded.asked == []
    kit.shelf.compare(slot, "1", kit.clock.now())
    kit.embedded.gate.set()
    await until(lambda: slot.held and slot.task is None)
    assert len(kit.embedded.fetches) == 1
    for _ in range(30):
        await step(kit, poller, 0.1)
    assert kit.embedded.asked, "from then on it is"
    await kit.shelf.close()
