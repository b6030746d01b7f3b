"""What every implementation of `sds.admin.services` does."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType

import pytest

from attestation.entry import EntrySpec
from attestation.rules import normalise
from attestation.selector import Selector
from attestation.spiffe_id import SpiffeId
from ca.authority import AuthorityKind, AuthorityState
from ca.errors import RotationRefused
from ca.gate import GateClosed
from sds.admin.errors import InvalidInput
from sds.admin.services import (
    AdminCall,
    AdminServices,
    AgentQuery,
    ApplyChange,
    ApplyItem,
    AuditQuery,
    AuditRow,
    EntryQuery,
    PruneScope,
    StreamQuery,
    local_caller,
)
from sds.store.errors import AlreadyExists, Conflict, InvalidCursor, NotFound
from tests.contract.admin.conftest import Subject
from tests.contract.store.samples import AGENT, OTHER_AGENT, spec, spiffe
from tests.fakes.admin_entries import TD
from tests.fakes.admin_server import AUTHORITY
from tests.fakes.clock import EPOCH, FakeClock

CALL = AdminCall(local_caller(1000, 42, "alice"), "request-0001")
ALL = PruneScope()


async def audited(services: AdminServices, prefix: str = "") -> list[AuditRow]:
    rows = await services.audit.tail(AuditQuery(limit=1000), timedelta(0))
    return [row for row in rows if row.event.action.startswith(prefix)]


async def test_create_get_and_again(services: AdminServices) -> None:
    wanted = spec(dns_names=("A.example.org",), owner=" me ", labels=MappingProxyType({"b": "2", "a": "1"}))
    made = await services.entries.create(CALL, wanted)
    assert made.created
    assert made.entry.revision == 1
    assert made.entry.spec == normalise(wanted)
    assert (made.entry.created_at, made.entry.updated_at) == (EPOCH, EPOCH)
    again = await services.entries.create(CALL, wanted)
    assert (again.created, again.entry) == (False, made.entry)
    assert await services.entries.get(made.entry.id) == made.entry
    (event,) = [row.event for row in await audited(services, "entry.")]
    assert (event.action, event.target.id, event.request_id) == ("entry.create", made.entry.id, "request-0001")
    assert (event.actor.kind.value, event.actor.id, event.actor.address) == ("admin", "uid:1000", "pid:42")


async def test_create_of_the_same_key_with_other_values(services: AdminServices) -> None:
    first = (await services.entries.create(CALL, spec())).entry
    with pytest.raises(AlreadyExists) as standing:
        await services.entries.create(CALL, spec(hint="other"))
    assert standing.value.entry == first
    assert await services.entries.get(first.id) == first


BAD = [
    (spec("/sds/server"), {"spiffe_id"}),
    (spec(x509_svid_ttl=timedelta(days=2)), {"x509_ttl"}),
    (spec(dns_names=("x.sds.internal",)), {"dns_names"}),
    (replace(spec(), selectors=frozenset(), owner="\n"), {"selectors", "owner"}),
    (spec(jwt_svid_ttl=timedelta(hours=2)), {"jwt_ttl"}),
    (spec(federates_with=(TD,)), {"federates_with"}),
    (spec(profile="unknown", extra_sans=("x",)), {"profile", "extra_sans"}),
    (spec(extra_sans=("ip:10.0.0.1",), subject="CN=web"), {"extra_sans", "subject"}),
    (
        spec(
            profile="gateway",
            dns_names=("example.com",),
            extra_sans=("ip:10.0.0.1", "ip:8.8.8.8"),
            subject="OU=x",
            x509_svid_ttl=timedelta(hours=3),
        ),
        {"dns_names", "extra_sans", "subject", "x509_ttl"},
    ),
]


@pytest.mark.parametrize(("bad", "fields"), BAD)
async def test_bad_specs_are_told_and_never_stored(services: AdminServices, bad: EntrySpec, fields: set[str]) -> None:
    assert {each.field for each in services.entries.problems(bad)} == fields
    standing = (await services.entries.create(CALL, spec("/standing"))).entry
    with pytest.raises(InvalidInput):
        await services.entries.create(CALL, bad)
    with pytest.raises(InvalidInput):
        await services.entries.update(CALL, standing.id, bad, None)
    assert (await services.entries.find(EntryQuery())).items == (standing,)
    assert len(await audited(services, "entry.")) == 1


async def test_update(services: AdminServices, clock: FakeClock) -> None:
    entry = (await services.entries.create(CALL, spec())).entry
    clock.advance(60)
    same = await services.entries.update(CALL, entry.id, spec(), 1)
    assert same == entry
    changed = await services.entries.update(CALL, entry.id, spec(hint="h"), 1)
    assert (changed.revision, changed.spec.hint) == (2, "h")
    assert (changed.created_at, changed.updated_at) == (EPOCH, EPOCH + timedelta(minutes=1))
    with pytest.raises(Conflict) as conflict:
        await services.entries.update(CALL, entry.id, spec(hint="i"), 1)
    assert conflict.value.current == 2
    other = (await services.entries.create(CALL, spec("/other"))).entry
    with pytest.raises(AlreadyExists):
        await services.entries.update(CALL, other.id, spec(), None)
    with pytest.raises(NotFound):
        await services.entries.update(CALL, "unknown", spec("/x"), None)
    assert [row.event.action for row in await audited(services, "entry.")] == [
        "entry.create",
        "entry.update",
        "entry.create",
    ]


async def test_delete(subject: Subject) -> None:
    services = subject.services
    entry = (await services.entries.create(CALL, spec())).entry
    await subject.issued(entry.id, EPOCH + timedelta(hours=1))
    with pytest.raises(Conflict):
        await services.entries.delete(CALL, entry.id, 2)
    gone = await services.entries.delete(CALL, entry.id, 1)
    assert (gone.entry, gone.last_certificate_expires_at) == (entry, EPOCH + timedelta(hours=1))
    for work in (services.entries.get(entry.id), services.entries.delete(CALL, entry.id, None)):
        with pytest.raises(NotFound):
            await work
    unused = (await services.entries.create(CALL, spec())).entry
    assert (await services.entries.delete(CALL, unused.id, None)).last_certificate_expires_at is None


async def test_find(services: AdminServices) -> None:
    for number in range(5):
        wanted = spec(
            f"/w{number}",
            "unix:uid:1000",
            f"unix:gid:{number}",
            parent=AGENT if number < 3 else OTHER_AGENT,
            owner="even" if number % 2 == 0 else "odd",
            hint="h" if number == 4 else "",
            labels=MappingProxyType({"n": str(number), "all": "yes"}),
        )
        await services.entries.create(CALL, wanted)

    async def found(query: EntryQuery) -> set[str]:
        return {each.spiffe_id.path for each in (await services.entries.find(query)).items}

    assert await found(EntryQuery(parent_id=OTHER_AGENT)) == {"/w3", "/w4"}
    assert await found(EntryQuery(spiffe_id=spiffe("/w1"))) == {"/w1"}
    assert await found(EntryQuery(selector=Selector.parse("unix:gid:2"))) == {"/w2"}
    assert await found(EntryQuery(owner="even", parent_id=AGENT)) == {"/w0", "/w2"}
    assert await found(EntryQuery(hint="h")) == {"/w4"}
    assert await found(EntryQuery(labels=MappingProxyType({"all": "yes", "n": "3"}))) == {"/w3"}
    assert await found(EntryQuery(owner="nobody")) == set()

    seen: list[str] = []
    cursor: str | None = None
    for _ in range(3):
        page = await services.entries.find(EntryQuery(limit=2, cursor=cursor))
        seen += [each.spiffe_id.path for each in page.items]
        cursor = page.next_cursor
    assert cursor is None
    assert sorted(seen) == ["/w0", "/w1", "/w2", "/w3", "/w4"]
    with pytest.raises(InvalidCursor):
        await services.entries.find(EntryQuery(cursor="CANARY"))


def told(changes: tuple[ApplyChange, ...]) -> list[tuple[str, str]]:
    return [(each.action.value, each.spec.spiffe_id.path) for each in changes]


async def test_apply(subject: Subject) -> None:
    services = subject.services
    old = (await services.entries.create(CALL, spec("/old"))).entry
    same = (await services.entries.create(CALL, spec("/same"))).entry
    await subject.issued(old.id, EPOCH + timedelta(hours=1))
    items = [
        ApplyItem(spec("/new")),
        ApplyItem(spec("/same")),
        ApplyItem(spec("/also-new", hint="x")),
    ]
    plan = [("create", "/new"), ("unchanged", "/same"), ("create", "/also-new"), ("delete", "/old")]
    dry = await services.entries.apply(CALL, items, prune=ALL, dry_run=True)
    assert told(dry) == plan
    assert dry[0].entry is None
    assert dry[3].last_certificate_expires_at == EPOCH + timedelta(hours=1)
    assert {each.id for each in (await services.entries.find(EntryQuery())).items} == {old.id, same.id}

    done = await services.entries.apply(CALL, items, prune=ALL, dry_run=False)
    assert told(done) == plan
    assert done[0].entry is not None
    assert (done[0].entry.revision, done[0].entry.spec.spiffe_id.path) == (1, "/new")
    assert done[3].entry == old
    assert done[3].last_certificate_expires_at == EPOCH + timedelta(hours=1)
    again = await services.entries.apply(CALL, items, prune=ALL, dry_run=False)
    assert {each.action.value for each in again} == {"unchanged"}
    assert len(await audited(services, "entry.")) == 2 + 3  # one each for what was changed, none for the rest


async def test_apply_updates_by_id_and_revision(services: AdminServices) -> None:
    entry = (await services.entries.create(CALL, spec())).entry
    moved = ApplyItem(spec("/moved", owner="me"), id=entry.id, revision=1)
    (change,) = await services.entries.apply(CALL, [moved], prune=None, dry_run=False)
    assert change.action.value == "update"
    assert dict(change.changes) == {
        "spiffe_id": (str(spiffe("/web")), str(spiffe("/moved"))),
        "owner": ("", "me"),
    }
    assert change.entry is not None
    assert (change.entry.id, change.entry.revision, change.entry.spec.owner) == (entry.id, 2, "me")
    with pytest.raises(Conflict):
        await services.entries.apply(CALL, [replace(moved, spec=spec("/x"))], prune=None, dry_run=False)


async def test_apply_is_all_or_nothing(services: AdminServices) -> None:
    standing = (await services.entries.create(CALL, spec("/standing"))).entry
    for items, error in (
        ([ApplyItem(spec("/a")), ApplyItem(spec("/sds/x"))], InvalidInput),
        ([ApplyItem(spec("/a")), ApplyItem(spec("/a", hint="x"))], InvalidInput),
        ([ApplyItem(spec("/a")), ApplyItem(spec("/standing", hint="x"), revision=9)], Conflict),
    ):
        with pytest.raises(error):
            await services.entries.apply(CALL, items, prune=ALL, dry_run=False)
    assert (await services.entries.find(EntryQuery())).items == (standing,)


async def test_agents(subject: Subject) -> None:
    services = subject.services
    for agent_id in (AGENT, OTHER_AGENT):
        await subject.attested(agent_id)
    found = await services.agents.find(AgentQuery())
    assert {each.spiffe_id for each in found.items} == {AGENT, OTHER_AGENT}
    banned = await services.agents.ban(CALL, AGENT, "stolen")
    assert (banned.banned_at, banned.banned_reason, banned.connected) == (EPOCH, "stolen", False)
    assert await services.agents.get(AGENT) == banned
    assert [each.spiffe_id for each in (await services.agents.find(AgentQuery(banned=True))).items] == [AGENT]
    assert [each.spiffe_id for each in (await services.agents.find(AgentQuery(banned=False))).items] == [OTHER_AGENT]
    assert (await services.agents.delete(CALL, AGENT)).banned_at == EPOCH
    for work in (
        services.agents.get(AGENT),
        services.agents.ban(CALL, AGENT, ""),
        services.agents.delete(CALL, AGENT),
    ):
        with pytest.raises(NotFound):
            await work
    made = [row.event for row in await audited(services, "agent.") if row.event.actor.id == "uid:1000"]
    assert [(each.action, each.target.id) for each in made] == [("agent.ban", str(AGENT)), ("agent.delete", str(AGENT))]


async def test_streams(subject: Subject) -> None:
    services = subject.services
    for agent_id in (AGENT, OTHER_AGENT):
        await subject.attested(agent_id)
    await subject.reported(AGENT, "s1", "spiffe://example.org/web")
    await subject.reported(OTHER_AGENT, "s2", "spiffe://example.org/db")
    assert {each.id for each in (await services.streams.find(StreamQuery())).items} == {"s1", "s2"}
    (one,) = (await services.streams.find(StreamQuery(agent_id=AGENT))).items
    assert (one.id, one.process.pid, one.resources[0].sent_version, one.resources[0].sent_at) == ("s1", 7, "v2", EPOCH)
    (two,) = (await services.streams.find(StreamQuery(spiffe_id=spiffe("/db")))).items
    assert two.id == "s2"


async def test_tokens(services: AdminServices) -> None:
    default = await services.tokens.create(CALL, None, None)
    assert default.expires_at == EPOCH + timedelta(minutes=10)
    assert default.spiffe_id.below("/sds/agent/join_token")
    named = await services.tokens.create(CALL, timedelta(minutes=1), SpiffeId.parse("spiffe://example.org/node/7"))
    assert (str(named.spiffe_id), named.expires_at) == ("spiffe://example.org/node/7", EPOCH + timedelta(minutes=1))
    assert default.token.reveal() != named.token.reveal()
    with pytest.raises(InvalidInput) as refused:
        await services.tokens.create(CALL, timedelta(days=2), spiffe("/x"))
    assert [each.field for each in refused.value.problems] == ["ttl_seconds"]
    rows = await audited(services, "token.")
    assert len(rows) == 2
    assert default.token.reveal() not in repr(rows)


async def test_bundle(services: AdminServices) -> None:
    bundle = await services.bundle.current()
    assert (bundle.x509_authorities, bundle.sequence) == ((AUTHORITY,), 7)


async def test_the_next_authority_waits_for_who_does_not_have_it_and_then_signs(subject: Subject) -> None:
    await subject.has_authorities()
    await subject.attested(AGENT)
    await subject.holds(AGENT, 0)
    admin = subject.services.authorities
    before = (await admin.overview(AuthorityKind.X509)).authorities[-1]
    assert before.authority.state is AuthorityState.ACTIVE and before.times is not None
    made = await admin.prepare(CALL, AuthorityKind.X509)
    assert made.authority.state is AuthorityState.PREPARED and made.gate is not None and not made.gate.open
    assert [(one.agent_id, one.sequence) for one in made.gate.stragglers] == [(AGENT, 0)]
    with pytest.raises(RotationRefused):
        await admin.prepare(CALL, AuthorityKind.X509)
    with pytest.raises(GateClosed) as closed:
        await admin.activate(CALL, made.authority.id)
    assert closed.value.gate == made.gate
    await subject.holds(AGENT, made.authority.published_sequence)
    waiting = await admin.get(made.authority.id)
    assert waiting.gate is not None and waiting.gate.open
    active = await admin.activate(CALL, made.authority.id, cross_sign=True)
    assert active.authority.state is AuthorityState.ACTIVE and active.authority.chain
    assert (await admin.activate(CALL, made.authority.id)).authority == active.authority, "asked twice is done once"
    old = await admin.get(before.authority.id)
    assert old.authority.state is AuthorityState.OLD and old.kept_until is not None and old.kept_until > EPOCH
    mine = [row.event for row in await audited(subject.services, "authority.") if row.event.actor.id == "uid:1000"]
    assert [event.action for event in mine] == ["authority.prepare", "authority.activate"]
    assert {event.request_id for event in mine} == {"request-0001"}


async def test_taint_and_revoke_of_an_authority(subject: Subject) -> None:
    await subject.has_authorities()
    admin = subject.services.authorities
    made = await admin.prepare(CALL, AuthorityKind.JWT)
    before = next(
        one.authority
        for one in (await admin.overview(AuthorityKind.JWT)).authorities
        if one.authority.state is AuthorityState.ACTIVE
    )
    with pytest.raises(RotationRefused):
        await admin.revoke(CALL, before.id)
    tainted = await admin.taint(CALL, made.authority.id)
    assert tainted.authority.tainted and tainted.gate is None
    with pytest.raises(RotationRefused):
        await admin.activate(CALL, made.authority.id)
    for call in (admin.get("00"), admin.taint(CALL, "00"), admin.revoke(CALL, "00"), admin.activate(CALL, "00")):
        with pytest.raises(NotFound):
            await call


async def test_kek(services: AdminServices) -> None:
    first = await services.kek.rotate(CALL)
    second = await services.kek.rotate(CALL)
    assert first.old_id != first.new_id == second.old_id != second.new_id
    rows = await audited(services, "kek.")
    assert [row.event.request_id for row in rows] == ["request-0001"] * 2


async def test_audit(services: AdminServices) -> None:
    for number in range(4):
        await services.audit.refused(CALL, "entry.create", f"t{number}", "because")
    rows = await audited(services, "entry.")
    numbers = [row.sequence for row in rows]
    assert numbers == sorted(set(numbers))
    assert {(row.event.outcome.value, row.event.reason) for row in rows} == {("refused", "because")}
    newest = await services.audit.tail(AuditQuery(limit=2), timedelta(0))
    assert [row.sequence for row in newest] == numbers[-2:]
    after = await services.audit.tail(AuditQuery(after=numbers[0], limit=2), timedelta(0))
    assert [row.sequence for row in after] == numbers[1:3]
    for query in (AuditQuery(action="entry.create"), AuditQuery(action="entry."), AuditQuery(outcome="refused")):
        assert len(await services.audit.tail(query, timedelta(0))) == 4
    assert await services.audit.tail(AuditQuery(action="token."), timedelta(0)) == ()
    (one,) = await services.audit.tail(AuditQuery(target="t2"), timedelta(0))
    assert one.event.target.id == "t2"
    assert len(await services.audit.tail(AuditQuery(actor="uid:1000"), timedelta(0))) == 4


async def test_a_follower_is_woken(services: AdminServices) -> None:
    waiting = asyncio.ensure_future(services.audit.tail(AuditQuery(after=0, action="entry."), timedelta(seconds=30)))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await services.audit.refused(CALL, "entry.create", "t", "because")
    (row,) = await asyncio.wait_for(waiting, 25)
    assert row.event.target.id == "t"


async def test_a_follower_can_leave(services: AdminServices) -> None:
    waiting = asyncio.ensure_future(services.audit.tail(AuditQuery(after=0, action="no."), timedelta(seconds=30)))
    await asyncio.sleep(0.05)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await services.audit.refused(CALL, "entry.create", "t", "because")
    assert len(await audited(services, "entry.")) == 1
