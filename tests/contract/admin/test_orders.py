"""Every list in every order it has: pages of one have everything, once, and turned round it is the reverse."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ca.revocation import Reason
from sds.admin.access.roles import ALL_RIGHTS, Scope
from sds.admin.services import AdminCall, AgentQuery, EntryQuery, Page, StreamInfo, StreamQuery, local_caller
from sds.admin.services.grants import GrantQuery
from sds.admin.services.revocations import BlockQuery, RevocationOrder, RevocationQuery
from sds.admin.services.secrets import SecretQuery
from sds.secrets.grant import Exactly
from sds.secrets.secret import EmbeddedSource, SecretKind, SecretSpec
from sds.store.errors import InvalidCursor
from sds.store.records import ResourceRecord
from sds.store.revocation.records import BlockKind
from tests.contract.admin.conftest import Faked, Real, Subject, on_databases
from tests.contract.store import samples
from tests.contract.store.samples import AGENT, OTHER_AGENT, later, spec, spiffe
from tests.fakes.clock import EPOCH, FakeClock

CALL = AdminCall(local_caller(1000, 42, "alice"), "request-0001", ALL_RIGHTS)


async def paged(find: Callable[[Any], Awaitable[Page[Any]]], query: Any) -> list[Any]:
    found: list[Any] = []
    for _ in range(20):
        page = await find(query)
        assert len(page.items) <= 1
        found += page.items
        if page.next_cursor is None:
            return found
        query = replace(query, cursor=page.next_cursor)
    raise AssertionError("the pages do not end")


async def each_order(
    find: Callable[[Any], Awaitable[Page[Any]]], query: Any, orders: tuple[str, ...], number: int
) -> None:
    for order in orders:
        up = await paged(find, replace(query, order=order, limit=1))
        down = await paged(find, replace(query, order=f"-{order}", limit=1))
        assert len(up) == number
        assert up == down[::-1], order
        whole = await find(replace(query, order=order, limit=100))
        assert list(whole.items) == up


async def test_entries(subject: Subject, clock: FakeClock) -> None:
    for path in ("/c", "/a", "/b"):
        await subject.services.entries.create(CALL, spec(path))
        clock.advance(1)
    await each_order(subject.services.entries.find, EntryQuery(), ("created", "updated", "spiffe_id"), 3)
    found = (await subject.services.entries.find(EntryQuery(order="spiffe_id"))).items
    assert [each.spiffe_id.path for each in found] == ["/a", "/b", "/c"]
    narrowed = (await subject.services.entries.find(EntryQuery(below=spiffe("/a")))).items
    assert [each.spiffe_id.path for each in narrowed] == ["/a"]
    scoped = (await subject.services.entries.find(EntryQuery(scopes=(Scope(spiffe("/b")), Scope(spiffe("/c")))))).items
    assert [each.spiffe_id.path for each in scoped] == ["/c", "/b"]


async def test_expired_entries(subject: Subject, clock: FakeClock) -> None:
    for path, ends in (("/gone", 5.0), ("/later", 50.0), ("/never", None)):
        await subject.services.entries.create(CALL, spec(path, expires_at=None if ends is None else later(ends)))
    clock.advance(10)
    for expired, wanted in ((True, ["/gone"]), (False, ["/later", "/never"]), (None, ["/gone", "/later", "/never"])):
        found = (await subject.services.entries.find(EntryQuery(expired=expired, order="spiffe_id"))).items
        assert [each.spiffe_id.path for each in found] == wanted


async def test_agents(subject: Subject) -> None:
    for path in ("/sds/agent/b", "/sds/agent/a", "/sds/agent/a/c"):
        await subject.attested(spiffe(path))
    find = subject.services.agents.find
    await each_order(find, AgentQuery(), ("spiffe_id",), 3)
    for order in ("attested", "expires"):
        assert len(await paged(find, AgentQuery(order=order, limit=1))) == 3
    for query, wanted in (
        (AgentQuery(below=spiffe("/sds/agent/a")), ["/a", "/a/c"]),
        (AgentQuery(version="none"), []),
        (AgentQuery(downstream=True), []),
        (AgentQuery(downstream=False, silent_since=later(1)), ["/a", "/a/c", "/b"]),
        (AgentQuery(silent_since=EPOCH - timedelta(days=1)), []),
        (AgentQuery(scopes=(Scope(spiffe("/sds/agent/b")),)), ["/b"]),
        (AgentQuery(scopes=(Scope(labels={"team": "a"}),)), []),
    ):
        found = [each.spiffe_id.path.removeprefix("/sds/agent") for each in (await find(query)).items]
        assert found == wanted, query


async def test_streams(subject: Subject) -> None:
    def resource(age: float, acked: str, nacked: str = "") -> tuple[ResourceRecord, ...]:
        return (ResourceRecord("default", "v2", acked, nacked, sent_at=EPOCH - timedelta(seconds=age)),)

    records = [
        samples.stream("s1", resources=resource(5, "v1"), node_id="n1", opened_at=later(2)),
        samples.stream("s2", resources=resource(9, "v1"), protocol="delta", opened_at=later(1)),
        samples.stream("s3", OTHER_AGENT, resources=resource(99, "v1", "v2"), opened_at=later(3)),
        samples.stream("s4", OTHER_AGENT, resources=resource(1, "v1"), protocol="workload-api", opened_at=later(4)),
        samples.stream("s5", OTHER_AGENT, resources=resource(1, "v2", "v1"), spiffe_ids=(str(spiffe("/b/x")),)),
    ]
    if isinstance(subject, Real):
        await subject.store.write(lambda uow: uow.streams.upsert(records))
    elif isinstance(subject, Faked):
        subject.fakes.streams.rows = [StreamInfo.of(each, EPOCH) for each in records]
    find = subject.services.streams.find
    await each_order(find, StreamQuery(), ("agent", "opened"), 5)
    longest = (await find(StreamQuery(order="-lag"))).items
    assert [(each.id, each.lag.total_seconds()) for each in longest[:2]] == [("s2", 9), ("s1", 5)]
    assert {each.id for each in await paged(find, StreamQuery(order="lag", limit=1))} == {"s1", "s2", "s3", "s4", "s5"}
    for query, wanted in (
        (StreamQuery(nacked=True), ["s3"]),
        (StreamQuery(nacked=False), ["s1", "s2", "s4", "s5"]),
        (StreamQuery(behind=True), ["s1", "s2"]),
        (StreamQuery(behind=False), ["s3", "s4", "s5"]),
        (StreamQuery(node_id="n1"), ["s1"]),
        (StreamQuery(protocol="delta"), ["s2"]),
        (StreamQuery(resource="default", agent_id=AGENT), ["s1", "s2"]),
        (StreamQuery(resource="defaul"), []),
    ):
        assert [each.id for each in (await find(query)).items] == wanted, query
    if isinstance(subject, Real):
        within = (await find(StreamQuery(scopes=(Scope(spiffe("/b")),)))).items
        assert [each.id for each in within] == ["s5"]
        with pytest.raises(InvalidCursor):
            first = await find(StreamQuery(limit=1))
            await find(StreamQuery(order="opened", cursor=first.next_cursor))


@on_databases
async def test_streams_of_labelled_identities(subject: Subject) -> None:
    await subject.services.entries.create(CALL, spec("/b/x", labels={"team": "b"}))
    one = samples.stream("s1", spiffe_ids=(str(spiffe("/b/x")),))
    other = samples.stream("s2", spiffe_ids=(str(spiffe("/b/xy")),))
    await subject.store.write(lambda uow: uow.streams.upsert([one, other]))
    scope = Scope(labels={"team": "b"})
    assert [each.id for each in (await subject.services.streams.find(StreamQuery(scopes=(scope,)))).items] == ["s1"]


async def test_secrets_and_grants(subject: Subject, clock: FakeClock) -> None:
    for name in ("b", "a", "c"):
        await subject.services.secrets.create(CALL, SecretSpec(name, SecretKind.GENERIC, EmbeddedSource()))
        await subject.services.grants.create(CALL, name, Exactly(spiffe(f"/{name}")))
        clock.advance(1)
    await subject.services.grants.create(CALL, "b", Exactly(spiffe("/a")))
    await each_order(subject.services.secrets.find, SecretQuery(), ("name",), 3)
    await each_order(subject.services.grants.find, GrantQuery(), ("created",), 4)
    await each_order(subject.services.grants.find, GrantQuery(spiffe_id=spiffe("/a")), ("created",), 2)
    names = [each.secret.spec.name for each in (await subject.services.secrets.find(SecretQuery(order="-name"))).items]
    assert names == ["c", "b", "a"]


async def test_who_loses_with_a_grant(subject: Subject) -> None:
    services = subject.services
    await services.secrets.create(CALL, SecretSpec("s", SecretKind.GENERIC, EmbeddedSource()))
    entry = (await services.entries.create(CALL, spec("/a"))).entry
    grant = (await services.grants.create(CALL, "s", Exactly(spiffe("/a")))).info.grant
    assert (await services.grants.get(grant.id)).secret == "s"
    losing = await services.grants.losing(grant.id)
    assert (losing.info.grant, losing.entries, losing.total) == (grant, (entry,), 1)


async def test_blocks_and_revocations(subject: Subject, clock: FakeClock) -> None:
    for number in range(3):
        await subject.issued(f"e0{number}", EPOCH + timedelta(hours=1))
        order = RevocationOrder(BlockKind.SERIAL, f"0e0{number}", Reason.SUPERSEDED, dry_run=False)
        await subject.services.revocations.revoke(CALL, order)
        clock.advance(1)
    await each_order(subject.services.revocations.blocks, BlockQuery(), ("created",), 3)
    await each_order(subject.services.revocations.revocations, RevocationQuery(), ("revoked",), 3)
    found = await subject.services.revocations.revocations(RevocationQuery(reason=Reason.KEY_COMPROMISE))
    assert found.items == ()
