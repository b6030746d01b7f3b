"""What every implementation of `sds.admin.services.RevocationAdmin` does."""

from __future__ import annotations

from datetime import timedelta

import pytest

from attestation.spiffe_id import SpiffeId
from ca.revocation import Reason
from sds.admin.access.roles import ALL_RIGHTS
from sds.admin.errors import InvalidInput
from sds.admin.services import AdminCall, AdminServices, AuditQuery, local_caller
from sds.admin.services.revocations import BlockQuery, RevocationOrder, RevocationQuery
from sds.store.errors import NotFound
from sds.store.revocation.records import BlockKind
from tests.contract.admin.conftest import Subject
from tests.contract.store.samples import spiffe
from tests.fakes.clock import EPOCH, FakeClock

CALL = AdminCall(local_caller(1000, 42, "alice"), "request-0001", ALL_RIGHTS)
ENTRY = "e00000001"
SERIAL = f"0{ENTRY}"
WEB = str(spiffe("/web"))


def order(kind: BlockKind = BlockKind.SERIAL, value: str = SERIAL, **more: object) -> RevocationOrder:
    return RevocationOrder(kind, value, **{"dry_run": False, **more})  # type: ignore[arg-type]


async def actions(services: AdminServices) -> list[str]:
    rows = await services.audit.tail(AuditQuery(limit=1000), timedelta(0))
    found = [row.event.action for row in rows]
    return [action for action in found if action.startswith(("revocation.", "block."))]


async def test_a_dry_run_says_what_it_would_hit_and_changes_nothing(subject: Subject) -> None:
    services = subject.services.revocations
    await subject.issued(ENTRY, EPOCH + timedelta(hours=1))
    tried = await services.revoke(CALL, order(dry_run=True))
    assert (tried.block, tried.radius.certificates, tried.radius.fresh) == (None, 1, 1)
    assert any("open now" in note for note in tried.radius.notes)
    assert (await services.blocks(BlockQuery())).items == ()
    assert (await services.revocations(RevocationQuery())).items == ()
    assert await actions(subject.services) == []


async def test_revoking_is_remembered_and_done_once(subject: Subject) -> None:
    services = subject.services.revocations
    await subject.issued(ENTRY, EPOCH + timedelta(hours=1))
    done = await services.revoke(CALL, order(value=SERIAL.upper(), reason=Reason.KEY_COMPROMISE, incident="INC-1"))
    assert done.block is not None
    assert done.problem == ""
    assert (done.block.kind, done.block.value, done.block.incident) == (BlockKind.SERIAL, SERIAL, "INC-1")
    assert (done.block.created_by, done.block.created_at, done.block.standing) == ("uid:1000", EPOCH, True)
    (revoked,) = (await services.revocations(RevocationQuery())).items
    assert (revoked.serial, revoked.reason, revoked.block_id) == (SERIAL, Reason.KEY_COMPROMISE, done.block.id)
    again = await services.revoke(CALL, order(reason=Reason.KEY_COMPROMISE))
    assert again.block == done.block
    assert again.radius.fresh == 0
    assert await actions(subject.services) == ["revocation.create"]
    assert await services.block(done.block.id) == done.block


async def test_an_identity_takes_all_its_certificates(subject: Subject) -> None:
    services = subject.services.revocations
    for number in (1, 2):
        await subject.issued(f"e0000000{number}", EPOCH + timedelta(hours=1))
    done = await services.revoke(CALL, order(BlockKind.SPIFFE_ID, WEB))
    assert done.radius.fresh == 2
    assert done.block is not None
    found = await services.revocations(RevocationQuery(block_id=done.block.id))
    assert [one.serial for one in found.items] == ["0e00000002", "0e00000001"]
    assert (await services.revocations(RevocationQuery(authority_id="none"))).items == ()


async def test_what_does_not_exist_can_be_blocked_by_name_and_key_only(services: AdminServices) -> None:
    for kind, value in ((BlockKind.SPIFFE_ID, WEB), (BlockKind.KEY, "AB" * 32)):
        done = await services.revocations.revoke(CALL, order(kind, value))
        assert done.block is not None
        assert done.block.value == (value.lower() if kind is BlockKind.KEY else value)
    with pytest.raises(NotFound):
        await services.revocations.revoke(CALL, order())


@pytest.mark.parametrize(
    ("kind", "value", "more"),
    [
        (BlockKind.SERIAL, "xyz", {}),
        (BlockKind.SERIAL, "", {}),
        (BlockKind.SERIAL, "00", {}),
        (BlockKind.SERIAL, "ff" * 21, {}),
        (BlockKind.SPIFFE_ID, "spiffe://other.org/web", {}),
        (BlockKind.SPIFFE_ID, "spiffe://example.org", {}),
        (BlockKind.SPIFFE_ID, "spiffe://example.org/sds/server", {}),
        (BlockKind.SPIFFE_ID, "spiffe://example.org/sds/agent/one", {}),
        (BlockKind.SPIFFE_ID, "web", {}),
        (BlockKind.AGENT, "spiffe://other.org/sds/agent/one", {}),
        (BlockKind.KEY, "ab", {}),
        (BlockKind.ENTRY, "../x", {}),
        (BlockKind.AUTHORITY, "not hex", {}),
        (BlockKind.AUTHORITY, "ab" * 20, {"reason": Reason.CERTIFICATE_HOLD}),
        (BlockKind.KEY, "ab" * 32, {"issuer": "ab" * 20}),
        (BlockKind.SERIAL, SERIAL, {"issuer": "no hex"}),
    ],
)
async def test_what_makes_no_sense_is_refused(
    services: AdminServices, kind: BlockKind, value: str, more: dict[str, object]
) -> None:
    for dry_run in (True, False):
        with pytest.raises(InvalidInput):
            await services.revocations.revoke(CALL, order(kind, value, dry_run=dry_run, **more))
    assert (await services.revocations.blocks(BlockQuery())).items == ()


async def test_a_block_is_lifted_once_and_what_was_revoked_for_good_stays_so(
    subject: Subject, clock: FakeClock
) -> None:
    services = subject.services.revocations
    await subject.issued(ENTRY, EPOCH + timedelta(hours=1))
    done = await services.revoke(CALL, order(BlockKind.SPIFFE_ID, WEB))
    assert done.block is not None
    clock.advance(5)
    lifted = await services.lift(CALL, done.block.id)
    assert (lifted.released, lifted.block.lifted_at) == (False, EPOCH + timedelta(seconds=5))
    assert lifted.block.lifted_by == "uid:1000"
    assert await services.lift(CALL, done.block.id) == lifted
    assert [one.serial for one in (await services.revocations(RevocationQuery())).items] == [SERIAL]
    assert await actions(subject.services) == ["revocation.create", "block.lift"]
    assert (await services.blocks(BlockQuery(standing=True))).items == ()
    assert (await services.blocks(BlockQuery(standing=False))).items == (lifted.block,)
    anew = await services.revoke(CALL, order(BlockKind.SPIFFE_ID, WEB))
    assert anew.block is not None
    assert anew.block.id != done.block.id
    with pytest.raises(NotFound):
        await services.lift(CALL, "nobody")


async def test_a_hold_is_given_back(subject: Subject) -> None:
    services = subject.services.revocations
    await subject.issued(ENTRY, EPOCH + timedelta(hours=1))
    held = await services.revoke(CALL, order(reason=Reason.CERTIFICATE_HOLD))
    assert held.block is not None
    lifted = await services.lift(CALL, held.block.id)
    assert lifted.released
    assert (await services.revocations(RevocationQuery())).items == ()


async def test_a_certificate_revoked_for_good_has_nothing_to_lift(subject: Subject) -> None:
    services = subject.services.revocations
    await subject.issued(ENTRY, EPOCH + timedelta(hours=1))
    done = await services.revoke(CALL, order())
    assert done.block is not None
    with pytest.raises(InvalidInput):
        await services.lift(CALL, done.block.id)


async def test_blocks_are_listed_by_kind_and_page(services: AdminServices) -> None:
    for number in range(5):
        await services.revocations.revoke(CALL, order(BlockKind.KEY, f"{number:064x}"))
    await services.revocations.revoke(CALL, order(BlockKind.SPIFFE_ID, WEB))
    first = await services.revocations.blocks(BlockQuery(kind=BlockKind.KEY, limit=3))
    rest = await services.revocations.blocks(BlockQuery(kind=BlockKind.KEY, limit=3, cursor=first.next_cursor))
    found = [block.value for block in first.items + rest.items]
    assert found == [f"{number:064x}" for number in reversed(range(5))]
    assert rest.next_cursor is None
    assert SpiffeId.parse(WEB).path == "/web"
