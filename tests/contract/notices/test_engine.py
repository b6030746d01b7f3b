"""The engine on real databases: looks, keeps on record, sends, puts off, gives up; one replica at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import count

from prometheus_client import CollectorRegistry

from sds.metrics.notices import NOTICE_KINDS, NoticeMetrics
from sds.notices.notice import Channel, Kind, Notice
from sds.notices.plan import Every, Mode
from sds.notices.recipients import Recipients
from sds.notices.rules import Policy
from sds.server.events import Events
from sds.server.notices.engine import NoticeEngine, NoticeParts, NoticeRules
from sds.server.notices.outgoing import Outgoing, SendFailed
from sds.store.store import Store
from tests.contract.store.samples import AGENT, agent, certificate, change, later, spec
from tests.fakes.clock import FakeClock

OPS, TEAM = "ops@example.org", "team@example.org"
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


class Post:
    """A channel that keeps what it is given, or fails by `problem`; `hold` keeps it waiting."""

    def __init__(self) -> None:
        self.sent: list[Outgoing] = []
        self.tries = 0
        self.problem: Callable[[Outgoing], SendFailed | None] = lambda _: None
        self.hold = asyncio.Event()
        self.hold.set()
        self.waiting = asyncio.Event()

    async def send(self, outgoing: Outgoing) -> None:
        self.tries += 1
        self.waiting.set()
        await self.hold.wait()
        problem = self.problem(outgoing)
        if problem is not None:
            raise problem
        self.sent.append(outgoing)

    def told(self) -> list[tuple[str, Mode, list[tuple[str, int, bool]]]]:
        return [
            (each.recipient, each.mode, [(one.kind.value, one.stage, one.ended_at is not None) for one in each.notices])
            for each in self.sent
        ]


class Replica:
    def __init__(self, store: Store, clock: FakeClock, post: Post, name: str = "a", **rules: object) -> None:
        self.collectors = CollectorRegistry()
        numbers = count(1)
        self.engine = NoticeEngine(
            NoticeParts(
                store=store,
                events=Events("host"),
                clock=clock,
                metrics=NoticeMetrics(self.collectors),
                senders={Channel.MAIL: post},
                new_id=lambda: f"{name}{next(numbers)}",
                holder=name,
            ),
            replace(
                NoticeRules(
                    policy=Policy(),
                    recipients=Recipients((OPS,), {"team": (TEAM,)}),
                    digest=Every(HOUR),
                    pause=5 * MINUTE,
                    interval=MINUTE,
                    settle=timedelta(0),
                    attempts=3,
                    most=100,
                    keep=timedelta(days=1),
                    enabled=True,
                    trust_domain="example.org",
                    node="host",
                ),
                **rules,
            ),
        )

    async def tick(self) -> None:
        await self.engine.look()
        await self.engine.send()

    def metric(self, name: str, **labels: str) -> float | None:
        return self.collectors.get_sample_value(name, labels)


async def silent_agent(store: Store) -> None:
    await change(store, lambda unit: unit.agents.upsert(agent(not_after=later(7 * 86400))))


async def actions(store: Store) -> list[tuple[str, str, str]]:
    found = await store.read(lambda unit: unit.audit.tail(None, 100))
    return [
        (one.event.action, one.event.target.id, one.event.reason)
        for one in found
        if one.event.action.startswith("notice.")
    ]


async def standing(store: Store) -> tuple[Notice, ...]:
    return await store.read(lambda unit: unit.notices.standing())


async def test_a_silent_agent_is_told_by_stages_and_then_that_it_is_back(store: Store, clock: FakeClock) -> None:
    await silent_agent(store)
    post = Post()
    one = Replica(store, clock, post)
    await one.tick()
    assert post.sent == []
    clock.advance(3600)
    await one.tick()
    clock.advance(3600)
    await one.tick()
    assert post.told() == [(OPS, Mode.DIGEST, [("agent_silent", 0, False)])]
    assert one.metric("sds_server_notices", kind="agent_silent") == 1
    clock.advance(22 * 3600 + 60)
    await one.tick()
    assert post.told()[1:] == [(OPS, Mode.URGENT, [("agent_silent", 1, False)])]
    await store.write(lambda unit: unit.agents.seen([(AGENT, unit.now)]))
    clock.advance(600)
    await one.tick()
    assert post.told()[2:] == [(OPS, Mode.URGENT, [("agent_silent", 1, True)])]
    assert await standing(store) == ()
    assert await actions(store) == [("notice.send", OPS, "")] * 3
    assert one.metric("sds_server_notices", kind="agent_silent") == 0


async def test_a_restart_and_another_replica_are_quiet(store: Store, clock: FakeClock) -> None:
    await silent_agent(store)
    clock.advance(2 * 86400)
    post = Post()
    await Replica(store, clock, post).tick()
    for name in "aba":
        clock.advance(86400)
        await Replica(store, clock, post, name).tick()
    assert len(post.sent) == 1


async def test_nothing_is_looked_at_before_things_have_settled(store: Store, clock: FakeClock) -> None:
    await silent_agent(store)
    clock.advance(86400)
    post = Post()
    fresh = Replica(store, clock, post, settle=2 * MINUTE)
    await fresh.tick()
    assert await standing(store) == ()
    clock.advance(120)
    await fresh.tick()
    assert len(post.sent) == 1


async def test_one_replica_works_and_another_takes_over(store: Store, clock: FakeClock) -> None:
    await silent_agent(store)
    clock.advance(86400)
    post = Post()
    first, second = Replica(store, clock, post, "a"), Replica(store, clock, post, "b")
    await asyncio.gather(first.tick(), second.tick())
    assert len(post.sent) == 1
    assert len(await standing(store)) == 1
    looked = [one.metric("sds_server_notice_look_timestamp_seconds") for one in (first, second)]
    assert sorted(bool(each) for each in looked) == [False, True]
    worked, waited = (first, second) if looked[0] else (second, first)
    await worked.engine.leave()
    await waited.tick()
    assert waited.metric("sds_server_notices", kind="agent_silent") == 1
    await worked.tick()
    assert worked.metric("sds_server_notices", kind="agent_silent") == 0


async def test_who_cannot_be_reached_is_tried_again_and_given_up(store: Store, clock: FakeClock) -> None:
    await silent_agent(store)
    clock.advance(86400)
    post = Post()
    post.problem = lambda _: SendFailed("450 greylisted")
    one = Replica(store, clock, post)
    await one.tick()
    await one.tick()
    assert post.tries == 1  # back-off
    (notice,) = await standing(store)
    assert (notice.attempts, notice.problem, notice.told) == (1, "450 greylisted", -1)
    clock.advance(60)
    await one.tick()
    assert one.metric("sds_server_notice_recipients_failing") == 1
    clock.advance(3600)
    await one.tick()
    (notice,) = await standing(store)
    assert (post.tries, notice.told, notice.problem) == (3, 1, "450 greylisted")
    clock.advance(86400)
    await one.tick()
    assert post.tries == 3
    assert one.metric("sds_server_notice_messages_total", channel="mail", outcome="given_up") == 1
    assert await actions(store) == [("notice.fail", OPS, "450 greylisted")] * 3


async def test_an_outage_is_met_once_and_told_once(store: Store, clock: FakeClock) -> None:
    """However many recipients there are."""
    owners = {f"team{n}": (f"team{n}@example.org",) for n in range(5)}
    for number, owner in enumerate(owners):
        path = f"/e{number}"
        await change(store, lambda unit, o=owner, p=path, n=number: unit.entries.create(spec(p, owner=o), f"e{n}"))
        made = certificate(f"{number:02x}", entry_id=f"e{number}")
        await change(store, lambda unit, one=made: unit.certificates.add_intents([one]))
    clock.advance(3600)
    post = Post()
    post.problem = lambda _: SendFailed("the mail server cannot be reached", outage=True)
    one = Replica(store, clock, post, recipients=Recipients((OPS,), owners))
    await one.engine.look()
    clock.advance(3600)
    await one.engine.send()
    assert post.tries == 1
    assert {each.problem for each in await standing(store)} == {"the mail server cannot be reached"}
    assert len(await actions(store)) == 1
    post.problem = lambda _: None
    clock.advance(120)
    await one.engine.send()
    assert sorted(each.recipient for each in post.sent) == [f"team{n}@example.org" for n in range(5)]


async def test_one_bad_address_keeps_no_other_from_its_message(store: Store, clock: FakeClock) -> None:
    await silent_agent(store)
    await change(store, lambda unit: unit.entries.create(spec("/x", owner="team"), "e1"))
    clock.advance(40 * 86400)
    post = Post()
    post.problem = lambda outgoing: SendFailed("550 no such user") if outgoing.recipient == OPS else None
    one = Replica(store, clock, post)
    await one.engine.look()
    clock.advance(3600)
    await one.engine.send()
    assert [each.recipient for each in post.sent] == [TEAM]


async def test_one_message_that_cannot_be_made_keeps_no_other_from_being_sent(store: Store, clock: FakeClock) -> None:
    await silent_agent(store)
    await change(store, lambda unit: unit.entries.create(spec("/x", owner="team"), "e1"))
    clock.advance(40 * 86400)
    post = Post()

    def broken(outgoing: Outgoing) -> None:
        if outgoing.recipient == OPS:
            raise UnicodeEncodeError("utf-8", "canary", 0, 1, "surrogates")

    post.problem = broken
    one = Replica(store, clock, post)
    await one.engine.look()
    clock.advance(3600)
    await one.engine.send()
    assert [each.recipient for each in post.sent] == [TEAM]
    assert await actions(store) == [("notice.fail", OPS, "unexpected: UnicodeEncodeError"), ("notice.send", TEAM, "")]


async def test_what_hangs_is_broken_off_at_the_end_and_counts_as_not_sent(store: Store, clock: FakeClock) -> None:
    await silent_agent(store)
    clock.advance(86400)
    post = Post()
    post.hold.clear()
    one = Replica(store, clock, post)
    await one.engine.look()
    sending = asyncio.create_task(one.engine.send())
    await asyncio.wait_for(post.waiting.wait(), 60)
    await one.engine.look()  # goes on meanwhile
    await one.engine.close()
    await asyncio.wait_for(sending, 60)
    (notice,) = await standing(store)
    assert (notice.told, notice.attempts) == (-1, 0)
    await one.engine.leave()
    post.hold.set()
    await Replica(store, clock, post, "b").tick()
    assert len(post.sent) == 1


async def test_the_same_news_has_the_same_id(store: Store, clock: FakeClock) -> None:
    """So that whoever gets a message twice, because its taking over was not recorded, can tell."""
    await silent_agent(store)
    clock.advance(86400)
    ids: list[str] = []
    post = Post()

    def lost(outgoing: Outgoing) -> SendFailed:
        ids.append(outgoing.id)
        return SendFailed("lost")

    post.problem = lost
    one = Replica(store, clock, post)
    await one.tick()
    clock.advance(60)
    await one.tick()
    assert len(ids) == 2
    assert len(set(ids)) == 1


async def test_more_than_is_kept_is_counted(store: Store, clock: FakeClock) -> None:
    for number in range(6):
        await change(store, lambda unit, n=number: unit.entries.create(spec(f"/e{n}"), f"e{n}"))
    clock.advance(31 * 86400)
    one = Replica(store, clock, Post(), most=4)
    await one.engine.look()
    assert len(await standing(store)) == 4
    assert one.metric("sds_server_notices_left_out") == 2


def test_the_kinds_of_the_metrics_are_all_there_are() -> None:
    assert tuple(map(str, Kind)) == NOTICE_KINDS
