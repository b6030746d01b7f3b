"""Notices, turns and last uses on both databases."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from ca.authority import AuthorityState
from sds.audit.event import Target
from sds.notices.notice import Kind, Notice
from sds.secrets.grant import Below, Exactly, Labelled
from sds.secrets.secret import EmbeddedSource, SecretKind, SecretSpec
from sds.server.notices.uses import note_uses
from sds.store.errors import InvalidCursor
from sds.store.notices.facts import sidecar
from sds.store.notices.notices import NoticeFilter
from sds.store.notices.uses import ENTRY, GRANT
from sds.store.records import ResourceRecord
from sds.store.store import Store
from tests.contract.store.samples import (
    AGENT,
    agent,
    authority,
    certificate,
    change,
    event,
    later,
    spec,
    spiffe,
    stream,
)
from tests.fakes.admin_notices import notice
from tests.fakes.clock import EPOCH, FakeClock

FULL = replace(
    notice(7, owner="päy\u2028", text="a \x00 text", stage=2, urgent=True, due_at=None, told=1),
    sent_at=later(1),
    ended_at=later(2),
    attempts=3,
    retry_at=later(4),
    problem="no",
)


async def begin(store: Store, *batch: Notice) -> None:
    await store.write(lambda unit: unit.notices.begin(batch))


async def standing(store: Store) -> tuple[Notice, ...]:
    return await store.read(lambda unit: unit.notices.standing())


class TestNotices:
    async def test_they_come_back_and_change(self, store: Store) -> None:
        await begin(store, FULL, notice(1))
        stored = replace(FULL, text="a \ufffd text")
        assert set(await standing(store)) == {stored, notice(1)}
        await store.write(lambda unit: unit.notices.change([replace(stored, told=2), replace(notice(1), closed=True)]))
        assert await standing(store) == (replace(stored, told=2),)
        assert await store.read(lambda unit: unit.notices.some([FULL.id, "notice-1", "no"])) == (
            replace(stored, told=2),
        )

    async def test_of_one_thing_one_stands_for_one_recipient(self, store: Store) -> None:
        again = replace(notice(1), id="other")
        await begin(store, notice(1))
        await begin(store, again, notice(2))
        assert [one.id for one in await standing(store)] == ["notice-1", "notice-2"]
        await store.write(lambda unit: unit.notices.change([replace(notice(1), closed=True, ended_at=EPOCH)]))
        await begin(store, again)
        assert {one.id for one in await standing(store)} == {"other", "notice-2"}

    async def test_pages_and_filters(self, store: Store) -> None:
        rows = [replace(notice(n), first_seen_at=later(n // 2), urgent=n == 3) for n in range(6)]
        await begin(store, *rows, FULL)
        first = await store.read(lambda unit: unit.notices.page(limit=4))
        rest = await store.read(lambda unit: unit.notices.page(limit=4, cursor=first.next_cursor))
        assert [one.id for one in (*first.items, *rest.items)] == [
            "notice-5", "notice-4", "notice-3", "notice-2", "notice-7", "notice-1", "notice-0"
        ]  # fmt: skip
        assert rest.next_cursor is None
        with pytest.raises(InvalidCursor):
            await store.read(lambda unit: unit.notices.page(cursor="00"))

        async def found(**filters: object) -> list[str]:
            chosen = NoticeFilter(**filters)
            return [one.id for one in (await store.read(lambda unit: unit.notices.page(chosen))).items]

        assert await found(over=True) == ["notice-7"]
        assert len(await found(over=False)) == 6
        assert await found(urgent=True, over=False) == ["notice-3"]
        assert await found(failing=True) == ["notice-7"]
        assert await found(subject="subject-2") == ["notice-2"]
        assert await found(kind=Kind.TOKEN) == []
        assert await found(owner="nobody") == []
        assert len(await found(recipient="ops@example.org")) == 7

    async def test_counts_and_last_sent_and_what_is_forgotten(self, store: Store) -> None:
        twice = replace(notice(1), id="more", recipient="pay@example.org", sent_at=later(9))
        await begin(store, notice(1), twice, notice(2, Kind.TOKEN), replace(FULL, closed=True))
        assert await store.read(lambda unit: unit.notices.counts()) == {Kind.CERTIFICATE: 1, Kind.TOKEN: 1}
        last = await store.read(lambda unit: unit.notices.last_sent())
        assert last == {"pay@example.org": later(9), "ops@example.org": later(1)}
        assert await store.write(lambda unit: unit.notices.purge(later(2))) == 0
        assert await store.write(lambda unit: unit.notices.purge(later(3))) == 1


class TestTurns:
    async def test_one_has_it_until_its_time_is_up_or_it_is_given_back(self, store: Store, clock: FakeClock) -> None:
        async def take(holder: str) -> bool:
            return await store.write(lambda unit: unit.notices.take_turn(holder, unit.now + timedelta(minutes=1)))

        assert await take("a")
        assert not await take("b")
        clock.advance(59)
        assert await take("a")
        clock.advance(59)
        assert not await take("b")
        clock.advance(1)
        assert await take("b")
        assert not await take("a")
        await store.write(lambda unit: unit.notices.end_turn("a"))
        assert not await take("a")
        await store.write(lambda unit: unit.notices.end_turn("b"))
        assert await take("a")

    async def test_of_many_who_try_at_once_one_gets_it(self, store: Store) -> None:
        async def take(holder: str) -> bool:
            return await store.write(lambda unit: unit.notices.take_turn(holder, unit.now + timedelta(minutes=1)))

        assert sum(await asyncio.gather(*(take(f"r{n}") for n in range(6)))) == 1


class TestFacts:
    async def test_entries_with_their_newest_certificate(self, store: Store) -> None:
        await change(store, lambda unit: unit.entries.create(spec("/web", owner="web"), "e1"))
        await change(store, lambda unit: unit.entries.create(spec("/api", expires_at=later(99)), "e2"))
        for serial, ends in (("0a", 100), ("0c", 300), ("0b", 200)):
            made = certificate(serial, entry_id="e1", not_after=later(ends))
            await change(store, lambda unit, one=made: unit.certificates.add_intents([one]))
        await store.write(lambda unit: unit.uses.note(ENTRY, {"e2": later(5)}))
        one, two = await store.read(lambda unit: unit.notice_facts.entries("", 10))
        assert (one.id, one.owner, one.not_after, one.used_at) == ("e1", "web", later(300), None)
        assert (two.id, two.not_after, two.used_at, two.ends_at) == ("e2", None, later(5), later(99))
        assert await store.read(lambda unit: unit.notice_facts.entries("e1", 10)) == (two,)
        assert await store.read(lambda unit: unit.notice_facts.owners()) == {str(spiffe("/web")): "web"}

    async def test_agents_that_are_not_banned_and_when_they_were_heard_of(self, store: Store) -> None:
        await change(store, lambda unit: unit.agents.upsert(agent()))
        await store.write(lambda unit: unit.agents.seen([(AGENT, later(7))]))
        (one,) = await store.read(lambda unit: unit.notice_facts.agents())
        assert (one.spiffe_id, one.heard_at) == (str(AGENT), later(7))
        await change(store, lambda unit: unit.agents.ban(AGENT, "gone"))
        assert await store.read(lambda unit: unit.notice_facts.agents()) == ()

    async def test_the_authority_that_signs(self, store: Store) -> None:
        await change(store, lambda unit: unit.authorities.add(authority()))
        await change(store, lambda unit: unit.authorities.add(authority("bb" * 20, state=AuthorityState.ACTIVE)))
        (one,) = await store.read(lambda unit: unit.notice_facts.authorities())
        assert (one.id, one.kind, one.not_before) == ("bb" * 20, "x509", EPOCH)

    def test_what_is_wrong_with_a_stream(self) -> None:
        fact = sidecar(stream(), {str(spiffe("/web")): "web"})
        assert fact is not None
        assert (fact.owner, fact.behind, fact.behind_since, fact.rejected) == ("web", ("default",), EPOCH, ("ROOTCA",))
        assert (
            sidecar(stream(protocol="workload-api", resources=(ResourceRecord("x", "v1", sent_at=EPOCH),)), {}) is None
        )
        assert sidecar(stream(resources=(ResourceRecord("x", "v1", "v1", sent_at=EPOCH),)), {}) is None


class TestUses:
    async def test_entries_by_certificates_and_tokens_and_grants_by_deliveries(self, store: Store) -> None:
        for number, path in enumerate(("/web", "/api"), start=1):
            one = spec(path, labels={"team": path[1:]})
            await change(store, lambda unit, one=one, n=number: unit.entries.create(one, f"e{n}"))
        secret = SecretSpec("db", SecretKind.GENERIC, EmbeddedSource())
        await change(store, lambda unit: unit.secrets.create(secret, "s1"))
        subjects = (Exactly(spiffe("/web")), Below(spiffe("/api")), Labelled({"team": "web"}))
        for number, subject in enumerate(subjects, start=1):
            await change(store, lambda unit, to=subject, n=number: unit.grants.create("s1", to, f"g{n}"))
        made = certificate("0a", entry_id="e1", requested_at=later(10))
        await change(store, lambda unit: unit.certificates.add_intents([made]))
        told = [
            event("token.issue", time=later(20), details={"entry_id": "e2"}),
            event(
                "secret.deliver",
                time=later(30),
                target=Target("secret", "s1"),
                details={"spiffe_ids": (str(spiffe("/web")),)},
            ),
        ]
        await store.write(lambda unit: unit.audit.append_all(told))
        await note_uses(store)
        assert await store.read(lambda unit: unit.uses.of(ENTRY)) == {"e1": later(10), "e2": later(20)}
        assert await store.read(lambda unit: unit.uses.of(GRANT)) == {"g1": later(30), "g3": later(30)}
        (first, *_) = await store.read(lambda unit: unit.notice_facts.grants())
        assert (first.secret, first.subject, first.used_at) == ("db", str(spiffe("/web")), later(30))

        await store.write(lambda unit: unit.uses.note(ENTRY, {"e1": later(1)}))
        await change(store, lambda unit: unit.entries.delete("e2"))
        await note_uses(store)
        assert await store.read(lambda unit: unit.uses.of(ENTRY)) == {"e1": later(10)}

    async def test_many_are_looked_at_in_parts(self, store: Store) -> None:
        batch = [certificate(f"{n:04x}", entry_id=f"e{n % 7}", requested_at=later(n)) for n in range(2500)]
        await change(store, lambda unit: unit.certificates.add_intents(batch))
        left = []
        for _ in range(3):
            seen = await store.read(lambda unit: unit.uses.in_certificates(1000))
            await store.write(lambda unit, found=seen: unit.uses.done(found))
            left.append(seen.left)
        assert left == [500, 0, 0]
        used = await store.read(lambda unit: unit.uses.of(ENTRY))
        assert used == {f"e{n % 7}": later(n) for n in range(2493, 2500)}
