"""What every implementation of the inventory does."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from types import MappingProxyType

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from ca.keys import key_hash
from ca.revocation import Reason
from sds.admin.access.roles import ALL_RIGHTS, Right, Role, Scope
from sds.admin.errors import Forbidden, InvalidInput
from sds.admin.services import AdminCall, StreamInfo, local_caller
from sds.admin.services.certificates import CertificateInfo, CertificateOrder, CertificateQuery, CertificateState
from sds.store.errors import InvalidCursor, NotFound
from sds.store.records import CertificateRecord, ResourceRecord
from sds.store.revocation.records import RevocationRecord
from tests.contract.admin.conftest import Faked, Real, Subject, on_databases
from tests.contract.store import samples
from tests.contract.store.samples import AGENT, OTHER_AGENT, later, spec, spiffe
from tests.fakes.clock import EPOCH

CALL = AdminCall(local_caller(1000, 42, "alice"), "request-0001", ALL_RIGHTS)
KEY = ec.generate_private_key(ec.SECP256R1())
ISSUER = "ef" * 20


def within(*scopes: Scope, role: Role = Role.VIEWER) -> AdminCall:
    return replace(CALL, rights=tuple(Right(role, scope) for scope in scopes))


@cache  # a signature has randomness in it
def der_of(serial: int) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    builder = x509.CertificateBuilder(name, name, KEY.public_key(), serial, EPOCH, later(3600))
    builder = builder.add_extension(x509.AuthorityKeyIdentifier(bytes.fromhex(ISSUER), None, None), critical=False)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)


def pem_of(serial: int) -> str:
    return x509.load_der_x509_certificate(der_of(serial)).public_bytes(Encoding.PEM).decode()


async def put(
    subject: Subject,
    record: CertificateRecord,
    *,
    signed: bool = True,
    revoked: bool = False,
    owner: str = "",
    labels: dict[str, str] | None = None,
) -> None:
    """Make the certificate stand; `owner` and `labels` are its entry's."""
    if isinstance(subject, Faked):
        expired = record.not_after < EPOCH
        state = CertificateState.ACTIVE if signed else CertificateState.INTENDED
        state = CertificateState.REVOKED if revoked else state
        state = CertificateState.EXPIRED if expired else state
        record = replace(record, issued_at=EPOCH if signed else None)
        subject.fakes.certificates.rows.append(
            CertificateInfo(
                record, state, owner, MappingProxyType(labels or {}), EPOCH if revoked else None,
                "key-compromise" if revoked else "", "b1" if revoked else "",
            )
        )  # fmt: skip
        subject.fakes.certificates.chains[record.serial] = pem_of(int(record.serial, 16)) if signed else ""
        return
    assert isinstance(subject, Real)

    def work(uow: samples.UnitOfWork) -> None:
        uow.audit.append(samples.event("certificate.issue"))
        if (owner or labels) and record.entry_id:
            try:
                uow.entries.get(record.entry_id)
            except NotFound:
                entry = spec(record.spiffe_id.path, f"unix:uid:{record.entry_id}", owner=owner, labels=labels or {})
                uow.entries.create(entry, record.entry_id)
        uow.certificates.add_intents([record])
        if signed:
            uow.certificates.mark_issued([(record.serial, der_of(int(record.serial, 16)))])
        if revoked:
            uow.revocations.add(
                [
                    RevocationRecord(
                        record.serial, record.authority_id, record.not_after, Reason.KEY_COMPROMISE, EPOCH, "b1"
                    )
                ]
            )

    await subject.store.write(work)


async def found(subject: Subject, call: AdminCall = CALL, **wanted: object) -> list[str]:
    page = await subject.services.certificates.find(call, CertificateQuery(**wanted))
    return [each.record.serial for each in page.items]


def certificate(serial: str, moment: float = 0, life: float = 3600, **changes: object) -> CertificateRecord:
    return samples.certificate(serial, requested_at=later(moment), not_after=later(life), **changes)


@pytest.fixture
async def stocked(subject: Subject) -> Subject:
    """Five certificates that differ in everything."""
    web, api = spiffe("/payments/web"), spiffe("/payments-test")
    await put(subject, certificate("01", 1, spiffe_id=web, entry_id="e1"), owner="ann", labels={"team": "a", "x": "1"})
    await put(subject, certificate("02", 2, 60, spiffe_id=web, entry_id="e1", key_hash="aa" * 32), owner="ann", labels={"team": "a", "x": "1"}, revoked=True)  # fmt: skip
    await put(subject, certificate("03", 3, -5, spiffe_id=api, entry_id="e2", agent_id=OTHER_AGENT), owner="bob", labels={"team": "b"}, revoked=True)  # fmt: skip
    await put(subject, certificate("04", 4, 900, spiffe_id=api, entry_id="e2", authority_id="bb" * 20), owner="bob", labels={"team": "b"}, signed=False)  # fmt: skip
    await put(subject, certificate("05", 5, 7200, spiffe_id=AGENT, entry_id="", agent_id=None, profile="agent"))
    return subject


FILTERS: list[tuple[dict[str, object], list[str]]] = [
    ({}, ["05", "04", "03", "02", "01"]),
    ({"serial": "03"}, ["03"]),
    ({"spiffe_id": spiffe("/payments/web")}, ["02", "01"]),
    ({"below": spiffe("/payments")}, ["02", "01"]),
    ({"below": spiffe("/payments/web")}, ["02", "01"]),
    ({"key_hash": "aa" * 32}, ["02"]),
    ({"owner": "bob"}, ["04", "03"]),
    ({"owner": "nobody"}, []),
    ({"labels": {"team": "a"}}, ["02", "01"]),
    ({"labels": {"team": "a", "x": "1"}}, ["02", "01"]),
    ({"labels": {"team": "a", "x": "2"}}, []),
    ({"labels": {"tea": "a"}}, []),
    ({"entry_id": "e2"}, ["04", "03"]),
    ({"agent_id": OTHER_AGENT}, ["03"]),
    ({"authority_id": "bb" * 20}, ["04"]),
    ({"profile": "agent"}, ["05"]),
    ({"state": CertificateState.ACTIVE}, ["05", "01"]),
    ({"state": CertificateState.REVOKED}, ["02"]),
    ({"state": CertificateState.EXPIRED}, ["03"]),
    ({"state": CertificateState.INTENDED}, ["04"]),
    ({"expires_after": later(0), "expires_before": later(900)}, ["02"]),
    ({"expires_after": later(900)}, ["05", "04", "01"]),
    ({"issued_after": later(2), "issued_before": later(4)}, ["03", "02"]),
    ({"owner": "ann", "state": CertificateState.ACTIVE}, ["01"]),
    ({"order": CertificateOrder.OLDEST}, ["01", "02", "03", "04", "05"]),
    ({"order": CertificateOrder.EXPIRES_FIRST}, ["03", "02", "04", "01", "05"]),
    ({"order": CertificateOrder.EXPIRES_LAST}, ["05", "01", "04", "02", "03"]),
]


async def test_every_filter_and_order(stocked: Subject) -> None:
    for wanted, serials in FILTERS:
        assert await found(stocked, **wanted) == serials, wanted


async def test_what_is_said_of_one(stocked: Subject) -> None:
    (revoked,) = (await stocked.services.certificates.find(CALL, CertificateQuery(serial="02"))).items
    assert (revoked.state, revoked.owner, revoked.labels) == (CertificateState.REVOKED, "ann", {"team": "a", "x": "1"})
    assert (revoked.revoked_at, revoked.revoked_reason, revoked.block_id) == (EPOCH, "key-compromise", "b1")
    assert revoked.record.issued_at == EPOCH
    (intended,) = (await stocked.services.certificates.find(CALL, CertificateQuery(serial="04"))).items
    assert (intended.record.issued_at, intended.revoked_at, intended.block_id) == (None, None, "")


@pytest.mark.parametrize("order", list(CertificateOrder))
async def test_pages_have_everything_once(subject: Subject, order: CertificateOrder) -> None:
    for number in range(1, 8):  # several at the same moment
        await put(subject, certificate(f"{number:02x}", number // 3, 100 + number // 2))
    whole = await found(subject, order=order)
    assert len(whole) == 7
    seen, cursor = [], None
    while True:
        page = await subject.services.certificates.find(CALL, CertificateQuery(order=order, limit=2, cursor=cursor))
        seen += [each.record.serial for each in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert sorted(seen) == sorted(whole)
    if isinstance(subject, Real):
        assert seen == whole


async def test_cursors_that_are_none(stocked: Subject) -> None:
    with pytest.raises(InvalidCursor):
        await found(stocked, cursor="nonsense")


@on_databases
async def test_a_cursor_is_of_its_order(stocked: Subject) -> None:
    page = await stocked.services.certificates.find(CALL, CertificateQuery(limit=1))
    with pytest.raises(InvalidCursor):
        await found(stocked, cursor=page.next_cursor, order=CertificateOrder.EXPIRES_FIRST)


@on_databases
async def test_the_owner_of_a_deleted_entry_is_still_known(subject: Subject) -> None:
    odd = {"team": 'a"b\\', "x": "y"}
    entry = (await subject.services.entries.create(CALL, spec("/gone", owner="ann", labels=odd))).entry
    await put(subject, certificate("0a", spiffe_id=spiffe("/gone"), entry_id=entry.id))
    await subject.services.entries.delete(CALL, entry.id, None)
    assert await found(subject, owner="ann") == await found(subject, labels=odd) == ["0a"]
    assert await found(subject, labels={"x": 'y"'}) == await found(subject, labels={"team": "a"}) == []
    (info,) = (await subject.services.certificates.find(CALL, CertificateQuery())).items
    assert (info.owner, info.labels) == ("ann", odd)
    mine = within(Scope(labels=odd))
    assert await found(subject, mine) == ["0a"]


@on_databases
async def test_past_entries_are_forgotten_with_their_certificates(subject: Subject) -> None:
    kept = (await subject.services.entries.create(CALL, spec("/kept", owner="ann"))).entry
    gone = (await subject.services.entries.create(CALL, spec("/gone", owner="ann"))).entry
    await put(subject, certificate("0a", entry_id=kept.id))
    for entry in (kept, gone):
        await subject.services.entries.delete(CALL, entry.id, None)
    assert await subject.store.write(lambda uow: uow.past_entries.purge(EPOCH)) == 0
    assert await subject.store.write(lambda uow: uow.past_entries.purge(later(1))) == 1
    left = await subject.store.read(lambda uow: uow.past_entries.get(kept.id))
    assert (left.owner, left.deleted_at, left.spiffe_id) == ("ann", EPOCH, spiffe("/kept"))


async def test_rights_narrow_what_is_seen(stocked: Subject) -> None:
    payments = Scope(spiffe("/payments"))
    assert await found(stocked, within(payments)) == ["02", "01"]
    assert await found(stocked, within(Scope(labels={"team": "b"}))) == ["04", "03"]
    assert await found(stocked, within(Scope(spiffe("/payments"), {"team": "b"}))) == []
    assert await found(stocked, within(payments, Scope(labels={"team": "b"}))) == ["04", "03", "02", "01"]
    assert await found(stocked, within(payments, Scope())) == ["05", "04", "03", "02", "01"]
    assert (await stocked.services.certificates.get(within(payments), "01")).info.record.serial == "01"
    with pytest.raises(NotFound):
        await stocked.services.certificates.get(within(payments), "03")
    with pytest.raises(Forbidden):
        await found(stocked, replace(CALL, rights=()))
    hidden = await stocked.services.certificates.find_pem(within(payments), pem_of(3))
    assert (hidden.items, [each.serial for each in hidden.unknown]) == ((), ["03"])


async def test_the_detail_has_the_chain_and_the_holders(stocked: Subject) -> None:
    for number, serial in (("s1", "01"), ("s2", "01"), ("s3", "0101")):
        resources = (ResourceRecord("default", "v", "v", sent_serial=serial, acked_serial=serial),)
        if isinstance(stocked, Real):
            record = samples.stream(number, resources=resources)
            await stocked.store.write(lambda uow, record=record: uow.streams.upsert([record]))
        elif isinstance(stocked, Faked):
            stocked.fakes.streams.rows.append(StreamInfo.of(samples.stream(number, resources=resources), EPOCH))
    detail = await stocked.services.certificates.get(CALL, "01")
    assert [each.id for each in detail.holders] == ["s1", "s2"]
    assert detail.holders_total == 2
    assert detail.chain_pem == pem_of(1)  # its authority is forgotten
    assert (await stocked.services.certificates.get(CALL, "04")).chain_pem == ""
    with pytest.raises(NotFound):
        await stocked.services.certificates.get(CALL, "ff")


async def test_a_pasted_chain(stocked: Subject) -> None:
    text = pem_of(1) + "\n" + pem_of(9) + pem_of(3)
    answer = await stocked.services.certificates.find_pem(CALL, text)
    assert [each.record.serial for each in answer.items] == ["03", "01"]
    assert [(each.number, each.serial, each.key_hash) for each in answer.unknown] == [
        (2, "09", key_hash(KEY.public_key()))
    ]


async def test_a_pasted_certificate_is_found_by_its_key(subject: Subject) -> None:
    await put(subject, certificate("0a", key_hash=key_hash(KEY.public_key())))
    answer = await subject.services.certificates.find_pem(CALL, pem_of(7))
    assert [each.record.serial for each in answer.items] == ["0a"]
    assert answer.unknown == ()


async def test_the_same_serial_of_another_issuer_is_another_certificate(subject: Subject) -> None:
    await put(subject, certificate("01", authority_id="dd" * 20))
    answer = await subject.services.certificates.find_pem(CALL, pem_of(1))
    assert (answer.items, [each.serial for each in answer.unknown]) == ((), ["01"])


async def test_what_is_pasted_is_never_repeated(subject: Subject) -> None:
    with pytest.raises(InvalidInput) as refused:
        await subject.services.certificates.find_pem(CALL, "canary-7f3a")
    assert "canary" not in str(refused.value)
