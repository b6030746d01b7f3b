"""Blocks, revoked certificates and lists, on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ca.revocation import Reason, Revoked
from sds.store.errors import Conflict, InvalidCursor, NotFound, UnauditedChange
from sds.store.records import ChangeKind
from sds.store.revocation.records import BlockKind, BlockRecord, CrlRecord, RevocationRecord
from sds.store.store import Store
from tests.contract.store.samples import AGENT, OTHER_AGENT, certificate, change, later, spiffe
from tests.fakes.clock import EPOCH, FakeClock

AUTHORITY, OTHER_AUTHORITY = "ef" * 20, "ee" * 20


def block(identifier: str = "b1", **changes: Any) -> BlockRecord:
    base = BlockRecord(
        id=identifier,
        kind=BlockKind.ENTRY,
        value="entry-1",
        reason=Reason.KEY_COMPROMISE,
        incident="INC-7",
        created_at=EPOCH,
        created_by="uid:0",
    )
    return replace(base, **changes)


def revocation(serial: str = "0a", **changes: Any) -> RevocationRecord:
    base = RevocationRecord(
        serial=serial,
        authority_id=AUTHORITY,
        not_after=later(3600),
        reason=Reason.KEY_COMPROMISE,
        revoked_at=EPOCH,
        block_id="b1",
    )
    return replace(base, **changes)


def crl(number: int, **changes: Any) -> CrlRecord:
    base = CrlRecord(AUTHORITY, number, b"\x00der", "ab" * 32, EPOCH, later(86400))
    return replace(base, **changes)


# Blocks


async def test_blocks_come_back_newest_first_and_tell_the_feed(store: Store) -> None:
    blocks = [block(f"b{n}", kind=kind, created_at=later(n // 2)) for n, kind in enumerate(BlockKind)]
    for one in blocks:
        await change(store, lambda unit, one=one: unit.blocks.add(one))
    assert await store.read(lambda unit: unit.blocks.get("b2")) == blocks[2]
    assert await store.read(lambda unit: unit.blocks.all()) == tuple(blocks)
    found: list[BlockRecord] = []
    cursor: str | None = None
    while True:
        page = await store.read(lambda unit, at=cursor: unit.blocks.list(cursor=at, limit=2))
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == blocks[::-1]
    of_kind = await store.read(lambda unit: unit.blocks.list(kind=BlockKind.KEY))
    assert [one.kind for one in of_kind.items] == [BlockKind.KEY]
    feed = (await store.read(lambda unit: unit.changes.since(0))).changes
    assert [(one.kind, one.key) for one in feed] == [(ChangeKind.BLOCK, one.id) for one in blocks]
    with pytest.raises(InvalidCursor):
        await store.read(lambda unit: unit.blocks.list(cursor="00"))
    with pytest.raises(NotFound):
        await store.read(lambda unit: unit.blocks.get("nobody"))


async def test_a_block_needs_an_audit_event(store: Store) -> None:
    with pytest.raises(UnauditedChange):
        await store.write(lambda unit: unit.blocks.add(block()))
    await change(store, lambda unit: unit.blocks.add(block()))
    with pytest.raises(UnauditedChange):
        await store.write(lambda unit: unit.blocks.lift("b1", "uid:1"))
    with pytest.raises(UnauditedChange):
        await store.write(lambda unit: unit.revocations.add([revocation()]))
    with pytest.raises(UnauditedChange):
        await store.write(lambda unit: unit.crls.put(crl(1), over=None))


async def test_lifting_is_done_once(store: Store, clock: FakeClock) -> None:
    await change(store, lambda unit: unit.blocks.add(block()))
    assert await store.read(lambda unit: unit.blocks.standing()) == (block(),)
    clock.advance(5)
    lifted = await change(store, lambda unit: unit.blocks.lift("b1", "uid:1"))
    assert (lifted.lifted_at, lifted.lifted_by, lifted.standing) == (later(5), "uid:1", False)
    clock.advance(5)
    assert await store.write(lambda unit: unit.blocks.lift("b1", "uid:2")) == lifted  # no change, so no event is needed
    assert await store.read(lambda unit: unit.blocks.standing()) == ()
    assert (await store.read(lambda unit: unit.blocks.list(standing=True))).items == ()
    assert (await store.read(lambda unit: unit.blocks.list(standing=False))).items == (lifted,)
    with pytest.raises(NotFound):
        await change(store, lambda unit: unit.blocks.lift("b2", "uid:1"))


async def test_only_standing_blocks_of_the_same_kind_are_found(store: Store) -> None:
    await change(store, lambda unit: unit.blocks.add(block("b1")))
    await change(store, lambda unit: unit.blocks.add(block("b2", kind=BlockKind.KEY, value="ab")))
    await change(store, lambda unit: unit.blocks.add(block("b3", value="entry-3")))
    await change(store, lambda unit: unit.blocks.lift("b3", "uid:0"))
    asked = [(BlockKind.ENTRY, f"entry-{n}") for n in range(450)] + [(BlockKind.KEY, "ab"), (BlockKind.KEY, "entry-1")]
    found = await store.read(lambda unit: unit.blocks.among(asked))
    assert found == {(BlockKind.ENTRY, "entry-1"), (BlockKind.KEY, "ab")}
    assert await store.read(lambda unit: unit.blocks.among([])) == frozenset()
    for value, reason, identifier in (
        ("entry-1", Reason.KEY_COMPROMISE, "b1"),
        ("entry-1", Reason.SUPERSEDED, None),
        ("entry-3", Reason.KEY_COMPROMISE, None),
    ):
        stands = await store.read(lambda unit, v=value, r=reason: unit.blocks.standing_against(BlockKind.ENTRY, v, r))
        assert (None if stands is None else stands.id) == identifier


# Certificates


async def test_every_kind_of_block_finds_what_it_is_about(store: Store) -> None:
    records = [
        certificate("0a"),
        certificate("0b", spiffe_id=spiffe("/db"), entry_id="entry-2", key_hash="ff" * 32),
        certificate("0c", agent_id=OTHER_AGENT, authority_id=OTHER_AUTHORITY),
        certificate("0d", spiffe_id=AGENT, agent_id=None, entry_id="", profile="agent", key_hash="11" * 32),
        certificate("0e", not_after=EPOCH - timedelta(microseconds=1)),
    ]
    await change(store, lambda unit: unit.certificates.add_intents(records))
    asked = {
        (BlockKind.SERIAL, "0b"): ["0b"],
        (BlockKind.SPIFFE_ID, str(spiffe("/web"))): ["0a", "0c"],
        (BlockKind.KEY, "cd" * 32): ["0a", "0c"],
        (BlockKind.ENTRY, "entry-1"): ["0a", "0c"],
        (BlockKind.AGENT, str(AGENT)): ["0a", "0b", "0d"],
        (BlockKind.AUTHORITY, OTHER_AUTHORITY): ["0c"],
        (BlockKind.SERIAL, "0e"): [],
    }
    for (kind, value), serials in asked.items():
        found = await store.read(lambda unit, k=kind, v=value: unit.revocations.concerned(k, v, limit=10))
        assert [one.serial for one in found] == serials, kind
    first = (await store.read(lambda unit: unit.revocations.concerned(BlockKind.ENTRY, "entry-1", limit=1)))[0]
    assert (first.spiffe_id, first.agent_id, first.profile, first.entry_id, first.authority_id, first.not_after) == (
        spiffe("/web"),
        AGENT,
        "workload",
        "entry-1",
        AUTHORITY,
        later(3600),
    )
    await change(store, lambda unit: unit.revocations.add([revocation("0a")]))
    new = await store.read(lambda unit: unit.revocations.concerned(BlockKind.ENTRY, "entry-1", limit=10, new=True))
    assert [one.serial for one in new] == ["0c"]
    await change(store, lambda unit: unit.revocations.add([revocation("0d", not_after=later(60))]))
    assert await store.read(lambda unit: unit.revocations.of_profile("agent")) == {"0d"}


async def test_a_list_holds_what_is_revoked_and_unexpired(store: Store, clock: FakeClock) -> None:
    records = [
        revocation("0b", reason=Reason.SUPERSEDED),
        revocation("0a", not_after=later(10)),
        revocation("0c", authority_id=OTHER_AUTHORITY),
    ]
    await change(store, lambda unit: unit.revocations.add(records))
    assert await store.read(lambda unit: unit.revocations.under(AUTHORITY)) == (
        Revoked("0a", EPOCH, Reason.KEY_COMPROMISE),
        Revoked("0b", EPOCH, Reason.SUPERSEDED),
    )
    assert await store.read(lambda unit: (unit.revocations.count(), unit.revocations.count(AUTHORITY))) == (3, 2)
    clock.advance(10)
    assert len(await store.read(lambda unit: unit.revocations.under(AUTHORITY))) == 2  # valid to the end of that second
    clock.advance(0.1)
    assert [one.serial for one in await store.read(lambda unit: unit.revocations.under(AUTHORITY))] == ["0b"]
    assert [one.serial for one in await store.read(lambda unit: unit.revocations.all())] == ["0b", "0c"]
    assert await store.write(lambda unit: unit.revocations.purge(clock.now())) == 1
    assert set(await store.read(lambda unit: unit.revocations.find(["0a", "0b", "0f"]))) == {"0b"}


async def test_what_is_revoked_for_good_stays_so(store: Store) -> None:
    await change(store, lambda unit: unit.revocations.add([revocation("0a"), revocation("0b")]))
    again = [
        revocation(serial, reason=Reason.SUPERSEDED, block_id="b2", revoked_at=later(9)) for serial in ("0a", "0b")
    ]
    await change(store, lambda unit: unit.revocations.add(again))
    assert (await store.read(lambda unit: unit.revocations.find(["0a"])))["0a"] == revocation("0a")


async def test_a_hold_can_become_final_or_be_released(store: Store) -> None:
    hold = block("b1", reason=Reason.CERTIFICATE_HOLD)
    held = [revocation(serial, reason=Reason.CERTIFICATE_HOLD) for serial in ("0a", "0b")]
    await change(store, lambda unit: unit.revocations.add(held))
    await change(store, lambda unit: unit.revocations.add([revocation("0a", block_id="b2")]))
    final = (await store.read(lambda unit: unit.revocations.find(["0a"])))["0a"]
    assert final == revocation("0a", block_id="b2")
    await change(store, lambda unit: unit.revocations.add([replace(held[0], block_id="b3")]))  # and not back
    assert (await store.read(lambda unit: unit.revocations.find(["0a"])))["0a"] == final
    assert await change(store, lambda unit: unit.revocations.release(hold)) == {AUTHORITY}
    assert set(await store.read(lambda unit: unit.revocations.find(["0a", "0b"]))) == {"0a"}
    assert await store.write(lambda unit: unit.revocations.release(hold)) == frozenset()


async def test_revocations_are_listed_newest_first(store: Store) -> None:
    records = [revocation(f"{n:02x}", revoked_at=later(n // 2), block_id=f"b{n % 2}") for n in range(5)]
    await change(store, lambda unit: unit.revocations.add(records))
    first = await store.read(lambda unit: unit.revocations.list(limit=3))
    rest = await store.read(lambda unit: unit.revocations.list(limit=3, cursor=first.next_cursor))
    assert [one.serial for one in first.items + rest.items] == ["04", "03", "02", "01", "00"]
    assert rest.next_cursor is None
    of_block = await store.read(lambda unit: unit.revocations.list(block_id="b1", authority_id=AUTHORITY))
    assert [one.serial for one in of_block.items] == ["03", "01"]
    assert (await store.read(lambda unit: unit.revocations.list(authority_id="none"))).items == ()


async def test_what_slipped_past_a_block_is_found(store: Store, clock: FakeClock) -> None:
    held = block("b2", kind=BlockKind.AGENT, value=str(AGENT), created_at=later(1))
    lifted = block("b3", kind=BlockKind.KEY, value="11" * 32)
    everything = block("b4", kind=BlockKind.AUTHORITY, value=AUTHORITY)
    for one in (block(), held, lifted, everything):
        await change(store, lambda unit, one=one: unit.blocks.add(one))
    await change(store, lambda unit: unit.blocks.lift("b3", "uid:0"))
    records = [
        certificate("0a"),
        certificate("0b", agent_id=OTHER_AGENT, entry_id="entry-9"),
        certificate("0c", agent_id=OTHER_AGENT),
        certificate("0d", agent_id=OTHER_AGENT, entry_id="entry-9", key_hash="11" * 32),
        certificate("0e", spiffe_id=AGENT, agent_id=None, entry_id="", profile="agent", not_after=later(5)),
        certificate("0f", entry_id="entry-9"),
    ]
    await change(store, lambda unit: unit.certificates.add_intents(records))
    await change(store, lambda unit: unit.revocations.add([revocation("0c")]))
    found = await store.read(lambda unit: unit.revocations.missed(limit=10))
    assert {(one.certificate.serial, one.block_id) for one in found} == {("0a", "b1"), ("0e", "b2"), ("0f", "b2")}
    assert {one.reason for one in found} == {Reason.KEY_COMPROMISE}
    assert len(await store.read(lambda unit: unit.revocations.missed(limit=2))) == 2
    clock.advance(6)
    assert "0e" not in {
        one.certificate.serial for one in await store.read(lambda unit: unit.revocations.missed(limit=10))
    }


# Lists


async def test_lists_are_swapped_by_number(store: Store) -> None:
    assert not await store.read(lambda unit: unit.crls.wanted)
    await change(store, lambda unit: unit.crls.put(crl(5), over=None))
    assert await store.read(lambda unit: unit.crls.wanted)
    assert await store.read(lambda unit: unit.crls.get(AUTHORITY)) == crl(5)
    with pytest.raises(Conflict):
        await change(store, lambda unit: unit.crls.put(crl(6), over=None))
    await change(store, lambda unit: unit.crls.put(crl(7, der=b"new"), over=crl(5)))
    with pytest.raises(Conflict):
        await change(store, lambda unit: unit.crls.put(crl(8), over=crl(5)))
    with pytest.raises(Conflict):
        await change(store, lambda unit: unit.crls.put(crl(8, authority_id="x"), over=crl(5)))
    with pytest.raises(ValueError, match="grows"):
        await change(store, lambda unit: unit.crls.put(crl(7), over=crl(7)))
    assert await store.read(lambda unit: unit.crls.all()) == {AUTHORITY: crl(7, der=b"new")}
    await store.write(lambda unit: unit.crls.outdate([AUTHORITY, "x"]))
    assert (await store.read(lambda unit: unit.crls.all()))[AUTHORITY].digest == ""
    await change(store, lambda unit: unit.crls.remove(AUTHORITY))
    assert await store.read(lambda unit: unit.crls.all()) == {}


async def test_authorities_have_lists_for_good_once_something_was_revoked(store: Store) -> None:
    await change(store, lambda unit: unit.blocks.add(block()))
    await change(store, lambda unit: unit.blocks.lift("b1", "uid:0"))
    assert await store.read(lambda unit: unit.crls.wanted)
