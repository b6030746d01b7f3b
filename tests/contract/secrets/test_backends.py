"""What every source of secrets is held to, whatever it is (sds.secrets.backend.SecretBackend)."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from sds.secrets.backend import Fetched
from sds.secrets.errors import SecretDenied, SecretError, SecretMalformed, SecretMissing, SecretUnavailable
from sds.secrets.judge import Limits, judge
from sds.secrets.secret import Secret
from tests.contract.secrets.harness import CANARY, DB, WEB, Ability, Harness, needs
from tests.fakes.clock import FakeClock


async def fetch(harness: Harness, secret: Secret) -> Fetched:
    return await harness.backend.fetch(secret, harness.receiver())


async def newest(harness: Harness, *secrets: Secret) -> list[object]:
    """Of each secret the version, or the kind of error; None where the source says nothing."""
    found = await harness.backend.newest(secrets)
    assert set(found) <= {secret.id for secret in secrets}
    told = [found.get(secret.id) for secret in secrets]
    return [type(one) if isinstance(one, SecretError) else one for one in told]


def fields(fetched: Fetched) -> dict[str, bytes]:
    return {name: value.reveal() for name, value in fetched.fields.items()}


def shows_nothing(harness: Harness, shown: object, fetched: Fetched | None = None) -> None:
    text = f"{shown!r} {shown}"
    hidden = [CANARY] + (harness.secrets_in(fetched) if fetched is not None else [])
    for value in hidden:
        assert value.decode("latin-1") not in text


async def test_a_value_is_fit_to_be_sent(harness: Harness, clock: FakeClock) -> None:
    secret = await harness.define()
    await harness.fill(secret)
    fetched = await fetch(harness, secret)
    value = judge(secret.spec.kind, fetched, clock.now(), Limits())
    assert value.fields
    assert value.version == fetched.version != ""
    shows_nothing(harness, fetched, fetched)
    shows_nothing(harness, value, fetched)
    for hidden in harness.secrets_in(fetched):
        assert hidden.decode("latin-1") not in fetched.version


async def test_a_value_that_stays_keeps_its_version(harness: Harness) -> None:
    secret = await harness.define()
    await harness.fill(secret)
    first, second = await fetch(harness, secret), await fetch(harness, secret)
    assert first.version == second.version
    assert fields(first) == fields(second)
    assert await newest(harness, secret) in ([first.version], [None])


@needs(Ability.PUT)
async def test_what_is_put_is_what_comes(harness: Harness) -> None:
    secret = await harness.define()
    given = {"": CANARY + bytes(range(1, 128))}
    await harness.put(secret, given)
    assert list(fields(await fetch(harness, secret)).values()) == list(given.values())


@needs(Ability.CHANGE)
@pytest.mark.both_vaults
async def test_another_value_has_another_version(harness: Harness) -> None:
    secret = await harness.define()
    await harness.fill(secret)
    before = await fetch(harness, secret)
    await harness.change(secret)
    after = await fetch(harness, secret)
    assert before.version != after.version
    assert fields(before) != fields(after)
    assert await newest(harness, secret) in ([after.version], [None])


@needs(Ability.CHANGE)
async def test_one_change_is_seen_among_many(harness: Harness) -> None:
    secrets = [await harness.define(f"s{number}") for number in range(5)]
    for secret in secrets:
        await harness.fill(secret)
        await fetch(harness, secret)
    before = await newest(harness, *secrets)
    await harness.change(secrets[2])
    await fetch(harness, secrets[2])
    after = await newest(harness, *secrets)
    assert [one for one in range(5) if before[one] != after[one]] in ([2], [])
    assert after[2] is None or after[2] != before[2]


@needs(Ability.EMPTY)
async def test_there_may_be_nothing(harness: Harness) -> None:
    secret = await harness.define()
    with pytest.raises(SecretMissing):
        await fetch(harness, secret)
    assert await newest(harness, secret) in ([SecretMissing], [None])
    assert await harness.backend.versions(secret) == ()


@needs(Ability.EMPTY)
async def test_what_is_deleted_is_missing_until_it_comes_again(harness: Harness) -> None:
    secret = await harness.define()
    await harness.fill(secret)
    before = await fetch(harness, secret)
    await harness.delete(secret)
    with pytest.raises(SecretMissing) as refused:
        await fetch(harness, secret)
    shows_nothing(harness, refused.value, before)
    assert await newest(harness, secret) in ([SecretMissing], [None])
    await harness.fill(secret)
    assert (await fetch(harness, secret)).version != before.version


@needs(Ability.SPOIL)
async def test_what_is_not_fit_is_told_without_being_shown(harness: Harness, clock: FakeClock) -> None:
    secret = await harness.define()
    await harness.fill(secret)
    before = await fetch(harness, secret)
    await harness.spoil(secret)
    with pytest.raises(SecretMalformed) as refused:
        judge(secret.spec.kind, await fetch(harness, secret), clock.now(), Limits())
    shows_nothing(harness, refused.value, before)
    await harness.fill(secret)
    judge(secret.spec.kind, await fetch(harness, secret), clock.now(), Limits())


@needs(Ability.DENY)
@pytest.mark.both_vaults
async def test_a_refusal_is_told_apart(harness: Harness) -> None:
    secret, other = await harness.define("s1"), await harness.define("s2")
    for one in (secret, other):
        await harness.fill(one)
        await fetch(harness, one)
    await harness.deny(secret)
    with pytest.raises(SecretDenied) as refused:
        await fetch(harness, secret)
    shows_nothing(harness, refused.value)
    told = await newest(harness, secret, other)
    assert told[0] in (SecretDenied, None)
    await fetch(harness, other)
    await harness.allow(secret)
    assert (await fetch(harness, secret)).fields


@needs(Ability.CUT)
async def test_a_source_out_of_reach_comes_back(harness: Harness) -> None:
    secret = await harness.define()
    await harness.fill(secret)
    before = await fetch(harness, secret)
    await harness.cut()
    with pytest.raises(SecretUnavailable) as refused:
        await fetch(harness, secret)
    shows_nothing(harness, refused.value, before)
    try:
        told = await newest(harness, secret)
    except SecretUnavailable:
        told = [SecretUnavailable]
    assert told[0] in (SecretUnavailable, None)
    await harness.mend()
    after = await fetch(harness, secret)
    assert (after.version, fields(after)) == (before.version, fields(before))


@needs(Ability.VERSIONS)
async def test_versions_are_known_newest_first(harness: Harness) -> None:
    secret = await harness.define()
    given = []
    for _ in range(3):
        await (harness.change(secret) if given else harness.fill(secret))
        given.append(await fetch(harness, secret))
    known = await harness.backend.versions(secret)
    assert [one.version for one in known] == [one.version for one in reversed(given)]
    assert {one.state for one in known} == {"live"}
    assert all(one.created_at is not None for one in known)
    shows_nothing(harness, known, given[-1])


@needs(Ability.VERSIONS)
async def test_a_pinned_version_is_given_until_it_is_not(harness: Harness) -> None:
    secret = await harness.define()
    await harness.fill(secret)
    first = await fetch(harness, secret)
    await harness.change(secret)
    second = await fetch(harness, secret)
    pinned = replace(secret, pinned=int(first.version))
    again = await fetch(harness, pinned)
    assert (again.version, fields(again)) == (first.version, fields(first))
    assert await newest(harness, pinned) in ([first.version], [None])
    assert (await fetch(harness, secret)).version == second.version


@needs(Ability.VERSIONS)
async def test_a_destroyed_version_is_missing_and_known(harness: Harness) -> None:
    secret = await harness.define()
    await harness.fill(secret)
    first = await fetch(harness, secret)
    await harness.change(secret)
    second = await fetch(harness, secret)
    await harness.destroy(secret, first.version)
    states = {one.version: one.state for one in await harness.backend.versions(secret)}
    assert states == {first.version: "destroyed", second.version: "live"}
    for gone in (int(first.version), 4711):
        pinned = replace(secret, pinned=gone)
        with pytest.raises(SecretMissing):
            await fetch(harness, pinned)
        assert await newest(harness, pinned) in ([SecretMissing], [None])
    assert (await fetch(harness, secret)).version == second.version


@needs(Ability.EMPTY)
async def test_one_that_is_missing_hides_no_other(harness: Harness) -> None:
    there, gone = await harness.define("there"), await harness.define("gone")
    await harness.fill(there)
    fetched = await fetch(harness, there)
    told = await newest(harness, gone, there)
    assert told[0] in (SecretMissing, None)
    assert told[1] in (fetched.version, None)


async def test_many_ask_at_once(harness: Harness) -> None:
    secret = await harness.define()
    await harness.fill(secret)
    fetched = await asyncio.gather(*(fetch(harness, secret) for _ in range(8)))
    assert len({one.version for one in fetched}) == 1


async def test_who_asked_may_go_away(harness: Harness) -> None:
    secret = await harness.define()
    await harness.fill(secret)
    asked = asyncio.create_task(harness.backend.fetch(secret, harness.receiver()))
    await asyncio.sleep(0)
    asked.cancel()
    await asyncio.wait([asked])
    assert (await fetch(harness, secret)).fields


async def test_giving_back_is_idempotent(harness: Harness) -> None:
    secret = await harness.define()
    await harness.backend.release(secret, harness.receiver())
    await harness.fill(secret)
    await fetch(harness, secret)
    for _ in range(2):
        await harness.backend.release(secret, harness.receiver())
    assert (await fetch(harness, secret)).fields


@needs(Ability.SHARED)
async def test_one_value_serves_all(harness: Harness) -> None:
    assert not harness.backend.per_identity
    secret = await harness.define()
    await harness.fill(secret)
    versions = {(await harness.backend.fetch(secret, receiver)).version for receiver in (None, WEB, DB)}
    assert len(versions) == 1


@needs(Ability.RECEIVERS)
async def test_each_receiver_has_its_own(harness: Harness) -> None:
    assert harness.backend.per_identity
    secret = await harness.define()
    await harness.fill(secret)
    web, db = await harness.backend.fetch(secret, WEB), await harness.backend.fetch(secret, DB)
    assert fields(web) != fields(db)
    assert fields(await harness.backend.fetch(secret, WEB)) == fields(web)
    await harness.backend.release(secret, DB)
    assert fields(await harness.backend.fetch(secret, WEB)) == fields(web)


async def test_a_backend_has_a_name(harness: Harness) -> None:
    assert harness.backend.name == harness.name
