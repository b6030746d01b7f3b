"""What every implementation of explanations and numbers does."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from attestation.selector import parse_selectors
from sds.admin.access.roles import ALL_RIGHTS, Right, Role, Scope
from sds.admin.errors import Forbidden
from sds.admin.services import AdminCall, AdminServices, local_caller
from sds.audit.event import Outcome
from sds.secrets.grant import Below
from sds.secrets.secret import EmbeddedSource, SecretKind, SecretSpec
from sds.store.records import ResourceRecord
from tests.contract.admin.conftest import Subject, on_databases
from tests.contract.store import samples
from tests.contract.store.samples import AGENT, OTHER_AGENT, later, spec, spiffe
from tests.fakes.clock import EPOCH, FakeClock

CALL = AdminCall(local_caller(1000, 42, "alice"), "request-0001", ALL_RIGHTS)


async def test_who_would_get_what(services: AdminServices) -> None:
    web = (await services.entries.create(CALL, spec("/web", "unix:uid:1"))).entry
    near = (await services.entries.create(CALL, spec("/near", "unix:uid:1", "unix:gid:7"))).entry
    other = (await services.entries.create(CALL, spec("/other", "unix:uid:1", parent=OTHER_AGENT))).entry
    await services.entries.create(CALL, spec("/no", "unix:uid:2"))
    await services.entries.create(CALL, spec("/late", "unix:uid:1", "unix:gid:1", expires_at=later(-1)))
    facts = parse_selectors(("unix:uid:1", "unix:gid:1"))
    found = await services.explain.explain(CALL, AGENT, facts)
    assert (found.matching, found.matching_total) == ((web,), 1)
    assert [(each.entry, each.missing, each.parent_differs) for each in found.near] == [
        (near, ("unix:gid:7",), False),
        (other, (), True),
    ]
    assert found.secrets == {web.id: ()}
    anywhere = await services.explain.explain(CALL, None, facts)
    assert {each.id for each in anywhere.matching} == {web.id, other.id}
    assert (await services.explain.explain(CALL, None, parse_selectors(("x:y",)))).matching == ()


@on_databases
async def test_explanations_name_the_secrets(subject: Subject) -> None:
    services = subject.services
    web = (await services.entries.create(CALL, spec("/a/web", "unix:uid:1"))).entry
    db = (await services.entries.create(CALL, spec("/b/db", "unix:uid:1"))).entry
    for name, below in (("tls/z", "/a"), ("tls/a", "/a/web"), ("tls/b", "/b/d")):
        await services.secrets.create(CALL, SecretSpec(name, SecretKind.GENERIC, EmbeddedSource()))
        await services.grants.create(CALL, name, Below(spiffe(below)))
    found = await services.explain.explain(CALL, None, parse_selectors(("unix:uid:1",)))
    assert found.secrets == {web.id: ("tls/a", "tls/z"), db.id: ()}


async def test_explanations_stay_within_rights(services: AdminServices) -> None:
    await services.entries.create(CALL, spec("/a/web", "unix:uid:1"))
    await services.entries.create(CALL, spec("/b/web", "unix:uid:1", labels={"team": "b"}))
    facts = parse_selectors(("unix:uid:1",))
    for scope, wanted in ((Scope(spiffe("/a")), "/a/web"), (Scope(labels={"team": "b"}), "/b/web")):
        limited = replace(CALL, rights=(Right(Role.AUDITOR, scope),))
        found = await services.explain.explain(limited, None, facts)
        assert [each.spiffe_id.path for each in found.matching] == [wanted]
    with pytest.raises(Forbidden):
        await services.explain.explain(replace(CALL, rights=(Right(Role.VIEWER),)), None, facts)


async def test_the_numbers_of_nothing(subject: Subject) -> None:
    found = await subject.services.statistics.overview(CALL)
    assert (found.at, found.entries, found.certificates, found.rotation) == (EPOCH, 0, 0, "steady")
    assert len(found.issued_a_minute) == len(found.refused_a_minute) == 60
    assert found.audit.checkpoint_at is None


@on_databases
async def test_numbers(subject: Subject, clock: FakeClock) -> None:
    now = clock.now()

    def work(uow: samples.UnitOfWork) -> None:
        uow.audit.append(samples.event("x", outcome=Outcome.REFUSED, time=now - timedelta(minutes=3)))
        uow.audit.append(samples.event("x", outcome=Outcome.REFUSED, time=now - timedelta(minutes=61)))
        uow.entries.create(spec("/web"), "e1")
        for number, (path, age, life) in enumerate(
            (("/a", 30, 240), ("/a", 90, 30), ("/b", 3700, 5000), ("/c", 0, -1))
        ):
            record = samples.certificate(f"0{number}", spiffe_id=spiffe(path))
            record = replace(record, requested_at=now - timedelta(seconds=age), not_after=now + timedelta(seconds=life))
            uow.certificates.add_intents([record])
        for number, seen in enumerate((now, now - timedelta(hours=2), now - timedelta(hours=2))):
            agent = samples.agent(spiffe(f"/sds/agent/{number}"), last_seen=seen)
            uow.agents.upsert(agent)
        uow.agents.ban(spiffe("/sds/agent/2"), "")
        waiting = (ResourceRecord("default", "v2", "v1", sent_at=now - timedelta(seconds=9)),)
        rejected = (ResourceRecord("default", "v2", "v1", "v2", "no", sent_at=now),)
        settled = (ResourceRecord("default", "v2", "v2", sent_at=now),)
        for number, resources in enumerate((waiting, rejected, settled)):
            uow.streams.upsert([samples.stream(f"s{number}", resources=resources)])
        uow.streams.upsert([samples.stream("s9", protocol="workload-api", resources=waiting)])

    await subject.store.write(work)
    found = await subject.services.statistics.overview(CALL)
    assert (found.entries, found.identities, found.certificates) == (1, 2, 3)
    assert (found.agents, found.agents_silent, found.agents_banned) == (3, 1, 1)
    assert (found.streams, found.streams_nacked, found.streams_behind) == (4, 1, 1)
    assert (found.issued_a_minute[-2:], sum(found.issued_a_minute)) == ((1, 1), 2)
    assert (found.refused_a_minute[-3], sum(found.refused_a_minute)) == (1, 1)
    assert [(each.end - each.start, each.count) for each in found.expiring if each.count] == [
        (timedelta(minutes=5), 1),
        (timedelta(minutes=30), 1),
    ]
    assert found.expiring[0].start == found.at
    assert found.audit.events_waiting == 2


@on_databases
async def test_numbers_are_remembered_for_some_seconds(subject: Subject, clock: FakeClock) -> None:
    assert (await subject.services.statistics.overview(CALL)).entries == 0
    await subject.services.entries.create(CALL, spec("/web"))
    assert (await subject.services.statistics.overview(CALL)).entries == 0
    clock.advance(6)
    assert (await subject.services.statistics.overview(CALL)).entries == 1
