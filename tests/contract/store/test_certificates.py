from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from sds.store.errors import ConstraintViolated, InvalidCursor, NotFound
from sds.store.records import CertificateFilter, CertificateStatus, Expiry
from sds.store.store import Store
from tests.contract.store.samples import AGENT, OTHER_AGENT, certificate, change, later, spiffe
from tests.fakes.clock import EPOCH, FakeClock


async def test_an_intent_becomes_an_issued_certificate(store: Store, clock: FakeClock) -> None:
    intent = certificate("01")
    await change(store, lambda unit: unit.certificates.add_intents([intent]))
    standing = await store.read(lambda unit: unit.certificates.get("01"))
    assert standing == intent
    assert standing.status is CertificateStatus.INTENDED
    clock.advance(2)
    await store.write(lambda unit: unit.certificates.mark_issued([("01", b"\x30\x00der")]))
    issued = await store.read(lambda unit: unit.certificates.get("01"))
    assert issued == replace(intent, der=b"\x30\x00der", issued_at=later(2))
    assert issued.status is CertificateStatus.ISSUED


async def test_the_least_that_can_be_recorded(store: Store) -> None:
    least = replace(certificate("01"), entry_id="", entry_revision=0, agent_id=None, dns_names=())
    await change(store, lambda unit: unit.certificates.add_intents([least]))
    assert await store.read(lambda unit: unit.certificates.get("01")) == least


async def test_a_serial_is_used_once_and_its_batch_is_all_or_nothing(store: Store) -> None:
    await change(store, lambda unit: unit.certificates.add_intents([certificate("01")]))
    with pytest.raises(ConstraintViolated) as caught:
        await change(store, lambda unit: unit.certificates.add_intents([certificate("02"), certificate("01")]))
    assert "example.org" not in str(caught.value)
    with pytest.raises(NotFound):
        await store.read(lambda unit: unit.certificates.get("02"))


async def test_only_what_was_intended_can_be_issued_and_only_once(store: Store) -> None:
    await change(store, lambda unit: unit.certificates.add_intents([certificate("01")]))
    with pytest.raises(NotFound) as missing:
        await store.write(lambda unit: unit.certificates.mark_issued([("01", b"a"), ("99", b"b")]))
    assert missing.value.key == "99"
    assert (await store.read(lambda unit: unit.certificates.get("01"))).der is None
    await store.write(lambda unit: unit.certificates.mark_issued([("01", b"a")]))
    with pytest.raises(ConstraintViolated):
        await store.write(lambda unit: unit.certificates.mark_issued([("01", b"b")]))
    await store.write(lambda unit: unit.certificates.mark_issued([]))


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (CertificateFilter(), "4321"),
        (CertificateFilter(serial="2"), "2"),
        (CertificateFilter(spiffe_id=spiffe("/web")), "321"),
        (CertificateFilter(entry_id="entry-2"), "4"),
        (CertificateFilter(agent_id=OTHER_AGENT), "2"),
        (CertificateFilter(key_hash="00" * 32), "3"),
        (CertificateFilter(authority_id="nope"), ""),
        (CertificateFilter(profile="agent"), "3"),
        (CertificateFilter(live_at=later(3600)), "4321"),
        (CertificateFilter(live_at=later(3601)), "4"),
        (CertificateFilter(expires_before=later(3601)), "321"),
        (CertificateFilter(spiffe_id=spiffe("/web"), agent_id=AGENT), "31"),
    ],
)
async def test_search(store: Store, filters: CertificateFilter, expected: str) -> None:
    batch = [
        certificate("1"),
        certificate("2", agent_id=OTHER_AGENT),
        certificate("3", key_hash="00" * 32, profile="agent"),
        certificate("4", spiffe_id=spiffe("/api"), entry_id="entry-2", not_after=EPOCH + timedelta(hours=2)),
    ]
    await change(store, lambda unit: unit.certificates.add_intents(batch))
    page = await store.read(lambda unit: unit.certificates.search(filters))
    assert "".join(record.serial for record in page.items) == expected
    walked, cursor = "", None
    while True:
        page = await store.read(lambda unit, c=cursor: unit.certificates.search(filters, cursor=c, limit=1))
        walked += "".join(record.serial for record in page.items)
        if (cursor := page.next_cursor) is None:
            break
    assert walked == expected


async def test_a_made_up_cursor_is_refused(store: Store) -> None:
    with pytest.raises(InvalidCursor):
        await store.read(lambda unit: unit.certificates.search(cursor="00"))


async def test_the_last_expiry_counts_intents(store: Store) -> None:
    batch = [
        certificate("1", not_after=later(10)),
        certificate("2", not_after=later(30)),
        certificate("3", not_after=later(20), entry_id="entry-2", authority_id="aa"),
    ]
    await change(store, lambda unit: unit.certificates.add_intents(batch))
    await store.write(lambda unit: unit.certificates.mark_issued([("1", b"x")]))
    read = store.read
    assert await read(lambda unit: unit.certificates.latest_not_after(entry_id="entry-1")) == later(30)
    assert await read(lambda unit: unit.certificates.latest_not_after(entry_id="entry-2")) == later(20)
    assert await read(lambda unit: unit.certificates.latest_not_after(spiffe_id=spiffe("/web"))) == later(30)
    assert await read(lambda unit: unit.certificates.latest_not_after(entry_id="entry-3")) is None
    assert await read(lambda unit: unit.certificates.latest_not_after(authority_id="aa")) == later(20)


async def test_the_outage_budget_is_the_first_of_the_newest_expiries(store: Store) -> None:
    assert await store.read(lambda unit: unit.certificates.expiry(EPOCH)) == Expiry(0, 0, None)
    batch = [
        certificate("1", not_after=later(10)),
        certificate("2", not_after=later(30)),
        certificate("3", not_after=later(20), spiffe_id=spiffe("/api"), profile="agent"),
        certificate("4", not_after=later(-1), spiffe_id=spiffe("/gone")),
    ]
    await change(store, lambda unit: unit.certificates.add_intents(batch))
    assert await store.read(lambda unit: unit.certificates.expiry(EPOCH)) == Expiry(3, 2, later(20))
    assert await store.read(lambda unit: unit.certificates.expiry(EPOCH, "workload")) == Expiry(2, 1, later(30))


async def test_expired_certificates_are_purged_in_bounded_steps(store: Store) -> None:
    batch = [certificate(str(n), not_after=later(n)) for n in range(5)]
    await change(store, lambda unit: unit.certificates.add_intents(batch))
    await store.write(lambda unit: unit.certificates.mark_issued([("0", b"x")]))
    assert await store.write(lambda unit: unit.certificates.purge(later(3), limit=2)) == 2
    assert await store.write(lambda unit: unit.certificates.purge(later(3), limit=2)) == 1
    page = await store.read(lambda unit: unit.certificates.search())
    assert [record.serial for record in page.items] == ["4", "3"]


async def test_hostile_paths_are_stored(store: Store) -> None:
    process = replace(certificate("1").process, path="/tmp/\0evil\ud800")
    await change(store, lambda unit: unit.certificates.add_intents([certificate("1", process=process)]))
    assert (await store.read(lambda unit: unit.certificates.get("1"))).process.path == "/tmp/\ufffdevil?"
