"""What every keeper of keys does, and what the database adds."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from sds.admin.access.roles import ALL_RIGHTS
from sds.admin.errors import KeyReused, OutcomeUnknown, StillInProgress
from sds.admin.services import AdminCall, local_caller
from sds.admin.services.idempotency import GivenAnswer
from sds.server.services.idempotency import ABANDONED, KEPT
from tests.contract.admin.conftest import Subject, on_databases
from tests.fakes.clock import FakeClock

CALL = AdminCall(local_caller(1000, 42, "alice"), "request-0001", ALL_RIGHTS)
OTHER = replace(CALL, caller=local_caller(1001, 42, "bob"))
ANSWER = GivenAnswer(201, {"etag": '"1"', "content-type": "application/json"}, b'{"a":1}')


async def test_the_first_does_it_and_the_second_is_told(subject: Subject) -> None:
    keys = subject.services.idempotency
    assert await keys.claim(CALL, "k", "d") is None
    with pytest.raises(StillInProgress):
        await keys.claim(CALL, "k", "d")
    with pytest.raises(KeyReused):
        await keys.claim(CALL, "k", "other")
    await keys.keep(CALL, "k", ANSWER)
    assert await keys.claim(CALL, "k", "d") == ANSWER
    with pytest.raises(KeyReused):
        await keys.claim(CALL, "k", "other")


async def test_keys_are_their_callers(subject: Subject) -> None:
    keys = subject.services.idempotency
    assert await keys.claim(CALL, "k", "d") is None
    assert await keys.claim(OTHER, "k", "other") is None


async def test_what_was_not_done_may_be_tried_again(subject: Subject) -> None:
    keys = subject.services.idempotency
    assert await keys.claim(CALL, "k", "d") is None
    await keys.release(CALL, "k")
    assert await keys.claim(CALL, "k", "other") is None


async def test_an_answer_that_was_not_kept(subject: Subject) -> None:
    keys = subject.services.idempotency
    await keys.claim(CALL, "k", "d")
    await keys.keep(CALL, "k", GivenAnswer(201, {"etag": '"1"'}, None))
    assert await keys.claim(CALL, "k", "d") == GivenAnswer(201, {"etag": '"1"'}, None)


async def test_of_two_at_once_one_does_it(subject: Subject) -> None:
    keys = subject.services.idempotency
    found = await asyncio.gather(*(keys.claim(CALL, "k", "d") for _ in range(5)), return_exceptions=True)
    assert [each for each in found if each is None] == [None]
    assert sum(isinstance(each, StillInProgress) for each in found) == 4


@on_databases
async def test_what_its_server_did_not_survive(subject: Subject, clock: FakeClock) -> None:
    keys = subject.services.idempotency
    await keys.claim(CALL, "k", "d")
    clock.advance((ABANDONED + timedelta(seconds=1)).total_seconds())
    with pytest.raises(OutcomeUnknown):
        await keys.claim(CALL, "k", "d")


@on_databases
async def test_keys_expire(subject: Subject, clock: FakeClock) -> None:
    keys = subject.services.idempotency
    await keys.claim(CALL, "k", "d")
    await keys.keep(CALL, "k", ANSWER)
    await keys.claim(CALL, "young", "d")
    clock.advance((KEPT + timedelta(seconds=1)).total_seconds())
    assert await keys.claim(CALL, "k", "other") is None  # and it is the other's now
    await keys.claim(CALL, "new", "d")
    purged = await subject.store.write(lambda uow: uow.idempotency.purge(clock.now() - KEPT))
    assert purged == 1
    with pytest.raises(StillInProgress):
        await keys.claim(CALL, "new", "d")


@on_databases
async def test_keys_do_not_lie_there_in_clear(subject: Subject) -> None:
    await subject.services.idempotency.claim(CALL, "canary-key", "d")
    assert await subject.store.write(lambda uow: uow.idempotency.claim(CALL.caller.id, "canary-key", "d")) is None
