"""Tokens for agents: nothing is signed that is not audited, nothing for whom it is not meant, and batches share one write."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from attestation.entry import EntrySpec, RegistrationEntry
from attestation.selector import Selector
from attestation.spiffe_id import SpiffeId
from ca.authority import AuthorityState
from ca.errors import AuthorityUnavailable
from ca.jwt_svid import JwtIssuer, JwtPolicy, JwtSigningAuthority
from ca.jwt_verify import validate
from ca.keys import PublicKey
from ca.signer import Scheme, Signer
from sds.audit.event import AuditEvent
from sds.server.authorized import CHANGED, NOT_AUTHORIZED, NotSigned, SignCode
from sds.server.events import Events
from sds.server.identity import AgentCaller
from sds.server.jwt.signing import JwtJob, Tokens
from sds.server.revocation.blocked import Blocked
from sds.server.signing import BatchSigner, Signed
from sds.server.stages import Stage
from sds.store.errors import Reason, StoreUnavailable
from sds.store.records import NO_PROCESS
from sds.store.store import Store
from sds.store.unit_of_work import UnitOfWork
from tests.fakes.authorities import alter, install
from tests.fakes.ca import TRUST_DOMAIN
from tests.fakes.clock import EPOCH, FakeClock
from tests.fakes.jwt import bundles_of, counted_ids, make_jwt_authority

AGENT = SpiffeId(TRUST_DOMAIN, "/sds/agent/a")
AUTHORITY = make_jwt_authority()
CALLER = AgentCaller(
    AGENT, "aa", EPOCH + timedelta(days=1), EPOCH, since=0, address="192.0.2.1", peer="", request_id="r"
)


class Key:
    """A signer that can be unplugged, and the authority that it is of."""

    def __init__(self) -> None:
        self.inner: Signer = AUTHORITY.signer
        self.unplugged = False
        self.signatures = 0
        self.authority = replace(AUTHORITY, signer=self)
        self.gone = ""

    def signing_jwt(self) -> JwtSigningAuthority:
        if self.gone:
            raise AuthorityUnavailable(self.gone)
        return self.authority

    @property
    def public_key(self) -> PublicKey:
        return self.inner.public_key

    def sign(self, messages: Sequence[bytes], *, scheme: Scheme = Scheme.X509) -> list[bytes]:
        if self.unplugged:
            raise AuthorityUnavailable("the key was unplugged")
        self.signatures += len(messages)
        return self.inner.sign(messages, scheme=scheme)


class State:
    """The authorised state."""

    def __init__(self, *entries: RegistrationEntry) -> None:
        self.revision = 1000  # nothing in the store is news
        self.entries = {entry.id: entry for entry in entries}
        self.blocked = Blocked()

    def entry(self, entry_id: str) -> RegistrationEntry | None:
        return self.entries.get(entry_id)


class Writes:
    """A store whose n-th write from now fails, before it does anything; and how many there were."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.fail_in = -1
        self.count = 0
        self.read, self.feed, self.close = inner.read, inner.feed, inner.close

    async def write(self, work: Callable[[UnitOfWork], object]) -> object:
        self.count += 1
        self.fail_in -= 1
        if self.fail_in == 0:
            raise StoreUnavailable(Reason.FULL)
        return await self.inner.write(work)


def entry(name: str, parent: SpiffeId = AGENT, **spec: Any) -> RegistrationEntry:
    made = EntrySpec(SpiffeId(TRUST_DOMAIN, f"/{name}"), parent, frozenset({Selector("unix", "uid:1")}), **spec)
    return RegistrationEntry(name, 1, EPOCH, EPOCH, made)


def job(name: str = "web", *audience: str, caller: AgentCaller = CALLER) -> JwtJob:
    return JwtJob(caller, name, audience or ("reports",), NO_PROCESS)


class Bench:
    def __init__(self, store: Store, events: Events, clock: FakeClock) -> None:
        self.key = Key()
        self.store = Writes(store)
        self.state = State(
            entry("web"),
            entry("api", jwt_svid_ttl=timedelta(minutes=9)),
            entry("brief", jwt_svid_ttl=timedelta(seconds=5)),
            entry("theirs", SpiffeId(TRUST_DOMAIN, "/sds/agent/b")),
            entry("late", expires_at=EPOCH),
        )
        self.counts: list[tuple[int, ...]] = []
        self.stages: list[Stage] = []
        self.executor = ThreadPoolExecutor(2)
        self.signer = BatchSigner(
            Tokens(JwtIssuer(JwtPolicy(), counted_ids()), self.key, events, self.executor),
            self.store,  # type: ignore[arg-type]
            self.state,
            clock,
            self,
            max_batch=100,
            max_waiting=1000,
            max_of_one_agent=250,
            passing=self.stages.append,
        )

    def signed(self, profile: str, batch: int, issued: int, refused: int, failed: int, seconds: float) -> None:
        assert profile == "jwt"
        self.counts.append((batch, issued, refused, failed))

    async def log(self) -> list[AuditEvent]:
        stored = await self.store.inner.read(lambda uow: uow.audit.tail(None))
        return [one.event for one in stored if one.event.target.kind != "authority"]


@pytest.fixture
async def bench(store: Store, events: Events, clock: FakeClock) -> AsyncIterator[Bench]:
    await install(store, events, AUTHORITY.authority)
    made = Bench(store, events, clock)
    yield made
    await made.signer.close()
    made.executor.shutdown()


async def test_a_token_for_each_and_one_write_for_all(bench: Bench) -> None:
    answers = await asyncio.gather(*(bench.signer.sign([job("web"), job("api")]) for _ in range(20)))
    assert bench.store.count == 1
    assert bench.counts == [(40, 40, 0, 0)]
    assert bench.stages == [Stage.INTENDED, Stage.SIGNED]
    issued = [answer.issued for pair in answers for answer in pair if isinstance(answer, Signed)]
    assert len({one.intent.token_id for one in issued}) == 40
    for one in issued:
        svid = validate(one.token.reveal(), bundles_of(AUTHORITY), "reports", EPOCH)
        assert svid.spiffe_id == one.intent.spiffe_id
    assert {str(one.intent.spiffe_id): one.intent.expires_at - EPOCH for one in issued} == {
        "spiffe://example.org/web": timedelta(minutes=5),
        "spiffe://example.org/api": timedelta(minutes=9),
    }


async def test_the_event_says_everything_but_the_token(bench: Bench) -> None:
    (answer,) = await bench.signer.sign([job("web", "b", "a")])
    assert isinstance(answer, Signed)
    (event,) = await bench.log()
    assert (event.action, str(event.outcome), event.actor.id, event.request_id) == (
        "token.issue",
        "success",
        str(AGENT),
        "r",
    )
    assert event.target.id == answer.issued.intent.token_id
    assert dict(event.details) == {
        "spiffe_id": "spiffe://example.org/web",
        "audience": ["a", "b"],
        "issued_at": "2026-01-01T00:00:00Z",
        "expires_at": "2026-01-01T00:05:00Z",
        "authority_id": AUTHORITY.authority.id,
        "algorithm": "ES256",
        "entry_id": "web",
        "entry_revision": 1,
        "process": {"pid": 0, "uid": 0, "path": ""},
    }
    assert answer.issued.token.reveal() not in repr(event)


@pytest.mark.parametrize("name", ["unknown", "theirs", "late", ""])
async def test_no_token_for_whom_it_is_not_meant(bench: Bench, name: str) -> None:
    assert await bench.signer.sign([job(name)]) == [NOT_AUTHORIZED]
    assert (bench.store.count, bench.key.signatures) == (0, 0)


async def test_what_the_ca_refuses_is_an_answer(bench: Bench) -> None:
    answers = await bench.signer.sign([job("brief"), job("web", ""), job("web", "a\n"), job()])
    assert [type(one) for one in answers] == [NotSigned, NotSigned, NotSigned, Signed]
    assert [one.code for one in answers if isinstance(one, NotSigned)] == [SignCode.REFUSED] * 3
    assert bench.counts == [(4, 1, 3, 0)]
    assert len(await bench.log()) == 1


async def test_if_it_cannot_be_audited_nothing_is_signed(bench: Bench) -> None:
    bench.store.fail_in = 1
    answers = await bench.signer.sign([job(), job("unknown")])
    assert answers == [NotSigned(SignCode.UNAVAILABLE, Tokens.store_down), NOT_AUTHORIZED]
    assert bench.key.signatures == 0
    assert bench.stages == []


async def test_an_unplugged_key_is_an_answer_and_an_event(bench: Bench) -> None:
    bench.key.unplugged = True
    (answer,) = await bench.signer.sign([job()])
    assert answer == NotSigned(SignCode.UNAVAILABLE, "the key was unplugged")
    events = await bench.log()
    assert [(e.action, str(e.outcome), e.reason) for e in events] == [
        ("token.issue", "success", ""),
        ("token.issue", "failure", "the key was unplugged"),
    ]
    assert events[0].target == events[1].target
    bench.key.unplugged = False
    assert isinstance((await bench.signer.sign([job()]))[0], Signed)


async def test_without_an_authority_nothing_is_written(bench: Bench) -> None:
    bench.key.gone = "there is no active JWT authority"
    assert await bench.signer.sign([job()]) == [NotSigned(SignCode.UNAVAILABLE, bench.key.gone)]
    assert bench.store.count == 0


@pytest.mark.parametrize("changes", [{"tainted": True}, {"state": AuthorityState.OLD}, {"revoked": True}])
async def test_an_authority_that_another_replica_has_just_retired_signs_nothing(
    bench: Bench, events: Events, changes: dict[str, Any]
) -> None:
    await alter(bench.store.inner, events, AUTHORITY.authority, replace(AUTHORITY.authority, **changes))
    (answer,) = await bench.signer.sign([job()])
    assert isinstance(answer, NotSigned)
    assert (answer.code, bench.key.signatures, await bench.log()) == (SignCode.UNAVAILABLE, 0, [])


async def test_a_change_that_is_not_taken_in_yet_counts(bench: Bench, events: Events) -> None:
    """The store's truth, where it is newer than the memory's: here it has no such agent and no such entry."""
    bench.state.revision = 0
    assert await bench.signer.sign([job()]) == [NOT_AUTHORIZED]
    assert bench.key.signatures == 0
    assert await bench.log() == []
    assert CHANGED.code is SignCode.UNAVAILABLE


async def test_one_agent_cannot_fill_the_queue(bench: Bench) -> None:
    theirs = replace(CALLER, agent_id=SpiffeId(TRUST_DOMAIN, "/sds/agent/hostile"))
    flood = asyncio.gather(*(bench.signer.sign([job(caller=theirs)] * 50) for _ in range(40)))
    await asyncio.sleep(0)
    (ours,) = await bench.signer.sign([job()])
    assert isinstance(ours, Signed)
    codes = [{one.code for one in answers if isinstance(one, NotSigned)} for answers in await flood]
    assert codes == [{SignCode.NOT_AUTHORIZED}] * 5 + [{SignCode.UNAVAILABLE}] * 35


async def test_closing_refuses_and_finishes(bench: Bench) -> None:
    running = asyncio.create_task(bench.signer.sign([job()]))
    await asyncio.sleep(0)
    await bench.signer.close()
    assert isinstance((await running)[0], Signed)
    (late,) = await bench.signer.sign([job()])
    assert isinstance(late, NotSigned)
    assert late.code is SignCode.UNAVAILABLE


async def test_nothing_asked_nothing_answered(bench: Bench) -> None:
    assert await bench.signer.sign([]) == ()
