"""What stands when a signature fails: the intent and the reason, and a token that is gone with a trace."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from attestation.attestor import Evidence
from attestation.entry import EntrySpec, RegistrationEntry
from attestation.errors import AttestationRefused
from attestation.node.join_token import encode_token, hash_token
from attestation.selector import Selector
from attestation.spiffe_id import SpiffeId
from ca.authority import AuthorityState, SigningAuthority
from ca.csr import build_csr
from ca.errors import AuthorityUnavailable
from ca.issuer import Issuer
from ca.keys import KeyType, PublicKey, generate
from ca.profile import IssuancePolicy
from ca.signer import Scheme, Signer
from sds.audit.event import AuditEvent, Target
from sds.server.authorized import NOT_AUTHORIZED, NotSigned, SignCode
from sds.server.certificates import CertificateJob, Certificates
from sds.server.enrolment import Enrolment, TokenClaim
from sds.server.events import Events, system_actor
from sds.server.identity import AgentCaller
from sds.server.issuance import Issuance
from sds.server.issuing.threads import InThreads
from sds.server.revocation.blocked import NOTHING
from sds.server.signing import BatchSigner, Signed
from sds.store.errors import Reason, StoreUnavailable
from sds.store.records import NO_PROCESS, CertificateStatus
from sds.store.store import Store
from sds.store.unit_of_work import UnitOfWork
from tests.fakes.authorities import alter, install
from tests.fakes.ca import TRUST_DOMAIN, make_authority, serial_source
from tests.fakes.clock import EPOCH, FakeClock

AGENT = SpiffeId(TRUST_DOMAIN, "/sds/agent/a")
CSR = build_csr(generate(KeyType.ECDSA_P256))
TOKEN = encode_token(b"t" * 32)


AUTHORITY = make_authority()


@pytest.fixture(autouse=True)
async def _standing(store: Store, events: Events) -> None:
    await install(store, events, AUTHORITY.authority)


class Flaky:
    """A signer that can be unplugged, and the authorities that hand it out."""

    def __init__(self) -> None:
        self.inner: Signer = AUTHORITY.signer
        self.unplugged = False
        self.signatures = 0
        self.authority = replace(AUTHORITY, signer=self)

    def signing(self) -> SigningAuthority:
        return self.authority

    @property
    def public_key(self) -> PublicKey:
        return self.inner.public_key

    def sign(self, messages: Sequence[bytes], *, scheme: Scheme = Scheme.X509) -> list[bytes]:
        if self.unplugged:
            raise AuthorityUnavailable("the key was unplugged")
        self.signatures += len(messages)
        return self.inner.sign(messages, scheme=scheme)


class Entries:
    """The authorised state."""

    def __init__(self, *entries: RegistrationEntry) -> None:
        self.revision = 1000  # nothing in the store is news
        self.blocked = NOTHING
        self.entries = {entry.id: entry for entry in entries}

    def entry(self, entry_id: str) -> RegistrationEntry | None:
        return self.entries.get(entry_id)


class Counts:
    def __init__(self) -> None:
        self.seen: list[tuple[object, ...]] = []

    def issued(self, profile: str, outcome: str) -> None:
        self.seen.append((profile, outcome))

    def signed(self, profile: str, batch: int, issued: int, refused: int, failed: int, seconds: float) -> None:
        assert profile == "workload"
        self.seen.append((batch, issued, refused, failed))


class Interrupted:
    """A store whose n-th write fails, before it does anything."""

    def __init__(self, inner: Store, fail: int) -> None:
        self.inner = inner
        self.fail = fail
        self.read, self.feed, self.close = inner.read, inner.feed, inner.close

    async def write(self, work: Callable[[UnitOfWork], object]) -> object:
        self.fail -= 1
        if self.fail == 0:
            raise StoreUnavailable(Reason.FULL)
        return await self.inner.write(work)


def issuer() -> Issuer:
    return Issuer(IssuancePolicy(), serial_source)


def enrolment(store: object, key: Flaky, events: Events, clock: FakeClock) -> Enrolment:
    issuance = Issuance(store, issuer(), key, events, clock, Counts())  # type: ignore[arg-type]
    return Enrolment(issuance, events, clock, TRUST_DOMAIN, 16_384)


async def with_token(store: Store, events: Events, agent: SpiffeId = AGENT) -> None:
    def work(uow: UnitOfWork) -> None:
        uow.tokens.create(hash_token(TOKEN), agent, uow.now + timedelta(minutes=5))
        uow.audit.append(events.make(uow.now, "token.create", system_actor(), Target("agent", str(AGENT))))

    await store.write(work)


async def log(store: Store) -> list[AuditEvent]:
    events = [stored.event for stored in await store.read(lambda uow: uow.audit.tail(None))]
    return [event for event in events if event.target.kind != "authority"]


async def attest(enrol: Enrolment, store: Store) -> object:
    return await enrol.attest(TokenClaim(store), Evidence("join_token", TOKEN.encode()), CSR, "192.0.2.1", "request-1")


async def test_attesting_is_one_transaction(store: Store, events: Events, clock: FakeClock) -> None:
    await with_token(store, events)
    issued = await attest(enrolment(store, Flaky(), events, clock), store)
    assert [event.action for event in await log(store)] == ["token.create", "agent.attest", "certificate.issue"]
    record = await store.read(lambda uow: uow.agents.get(AGENT))
    assert record.serial == issued.intent.serial  # type: ignore[attr-defined]
    assert record.attested_at == EPOCH
    with pytest.raises(AttestationRefused):
        await attest(enrolment(store, Flaky(), events, clock), store)


async def test_a_token_whose_certificate_could_not_be_signed_leaves_a_trace(
    store: Store, events: Events, clock: FakeClock
) -> None:
    await with_token(store, events)
    key = Flaky()
    key.unplugged = True
    with pytest.raises(AuthorityUnavailable):
        await attest(enrolment(store, key, events, clock), store)
    *_, attested, issue, failed = await log(store)
    assert [(e.action, str(e.outcome)) for e in (attested, issue, failed)] == [
        ("agent.attest", "success"),
        ("certificate.issue", "success"),
        ("certificate.issue", "failure"),
    ]
    assert failed.reason == "the key was unplugged"
    assert failed.target == issue.target
    certificate = await store.read(lambda uow: uow.certificates.get(issue.target.id))
    assert certificate.status is CertificateStatus.INTENDED


async def test_a_store_that_fails_costs_no_token(store: Store, events: Events, clock: FakeClock) -> None:
    await with_token(store, events)
    key = Flaky()
    with pytest.raises(StoreUnavailable):
        await attest(enrolment(Interrupted(store, 1), key, events, clock), store)
    assert key.signatures == 0
    await attest(enrolment(store, key, events, clock), store)


async def test_nothing_leaves_that_is_not_recorded_as_signed(store: Store, events: Events, clock: FakeClock) -> None:
    await with_token(store, events)
    key = Flaky()
    with pytest.raises(StoreUnavailable):
        await attest(enrolment(Interrupted(store, 2), key, events, clock), store)
    issue = (await log(store))[-1]
    assert issue.action == "certificate.issue"
    assert (await store.read(lambda uow: uow.certificates.get(issue.target.id))).der is None


async def test_a_token_for_the_servers_own_name_is_refused(store: Store, events: Events, clock: FakeClock) -> None:
    await with_token(store, events, SpiffeId(TRUST_DOMAIN, "/sds/server"))
    with pytest.raises(AttestationRefused, match="names no agent"):
        await attest(enrolment(store, Flaky(), events, clock), store)


# Batches


def entry(name: str, parent: SpiffeId = AGENT) -> RegistrationEntry:
    spec = EntrySpec(SpiffeId(TRUST_DOMAIN, f"/{name}"), parent, frozenset({Selector("unix", "uid:1")}))
    return RegistrationEntry(name, 1, EPOCH, EPOCH, spec)


CALLER = AgentCaller(
    AGENT, "aa", EPOCH + timedelta(days=1), EPOCH, since=0, address="192.0.2.1", peer="", request_id="r"
)


def job(name: str = "web") -> CertificateJob:
    return CertificateJob(CALLER, name, CSR, NO_PROCESS)


class Bench:
    def __init__(self, store: object, events: Events, clock: FakeClock) -> None:
        self.key = Flaky()
        self.counts = Counts()
        self.executor = ThreadPoolExecutor(2)
        self.signer = BatchSigner(
            Certificates(InThreads(issuer(), self.executor, 16_384), self.key, events),
            store,  # type: ignore[arg-type]
            Entries(entry("web"), entry("api")),
            clock,
            self.counts,
            max_batch=100,
            max_waiting=1000,
            max_of_one_agent=250,
        )


async def test_concurrent_calls_share_two_transactions(store: Store, events: Events, clock: FakeClock) -> None:
    counted = Interrupted(store, -1)
    bench = Bench(counted, events, clock)
    answers = await asyncio.gather(*(bench.signer.sign([job("web"), job("api")]) for _ in range(20)))
    assert counted.fail == -3
    assert bench.counts.seen == [(40, 40, 0, 0)]
    names = [[str(a.issued.intent.spiffe_id) for a in pair if isinstance(a, Signed)] for pair in answers]
    assert names == [["spiffe://example.org/web", "spiffe://example.org/api"]] * 20
    assert len({a.issued.intent.serial for pair in answers for a in pair if isinstance(a, Signed)}) == 40
    assert len([event for event in await log(store) if event.action == "certificate.issue"]) == 40


async def test_an_unplugged_key_is_an_answer_and_an_event(store: Store, events: Events, clock: FakeClock) -> None:
    bench = Bench(store, events, clock)
    bench.key.unplugged = True
    (answer,) = await bench.signer.sign([job()])
    assert answer == NotSigned(SignCode.UNAVAILABLE, "the key was unplugged")
    assert [str(event.outcome) for event in await log(store)] == ["success", "failure"]
    bench.key.unplugged = False
    (answer,) = await bench.signer.sign([job()])
    assert isinstance(answer, Signed)


@pytest.mark.parametrize("write", [1, 2])
async def test_a_store_that_fails_gives_nothing_out(
    store: Store, events: Events, clock: FakeClock, *, write: int
) -> None:
    bench = Bench(Interrupted(store, write), events, clock)
    answers = await bench.signer.sign([job(), job("unknown")])
    assert [a.code for a in answers if isinstance(a, NotSigned)] == [SignCode.UNAVAILABLE, SignCode.NOT_AUTHORIZED]
    assert bench.key.signatures == (0 if write == 1 else 1)
    assert bench.counts.seen == [(2, 0, 1, 1)]


@pytest.mark.parametrize("changes", [{"tainted": True}, {"state": AuthorityState.OLD}, {"revoked": True}])
async def test_an_authority_that_another_replica_has_just_retired_signs_nothing(
    store: Store, events: Events, clock: FakeClock, changes: dict[str, Any]
) -> None:
    """This process still has it open; the transaction knows better."""
    bench = Bench(store, events, clock)
    await with_token(store, events)
    await alter(store, events, AUTHORITY.authority, replace(AUTHORITY.authority, **changes))
    (answer,) = await bench.signer.sign([job()])
    assert isinstance(answer, NotSigned)
    assert (answer.code, "just been replaced" in answer.message) == (SignCode.UNAVAILABLE, True)
    with pytest.raises(AuthorityUnavailable, match="just been replaced"):
        await attest(enrolment(store, bench.key, events, clock), store)
    assert bench.key.signatures == 0
    assert [event.action for event in await log(store)] == ["token.create"]


async def test_no_transaction_for_what_nobody_may_have(store: Store, events: Events, clock: FakeClock) -> None:
    counted = Interrupted(store, -1)
    bench = Bench(counted, events, clock)
    await bench.signer.sign([job("unknown"), CertificateJob(CALLER, "web", b"rubbish", NO_PROCESS)])
    assert counted.fail == -1


async def test_one_agent_cannot_fill_the_queue(store: Store, events: Events, clock: FakeClock) -> None:
    bench = Bench(store, events, clock)
    theirs = replace(CALLER, agent_id=SpiffeId(TRUST_DOMAIN, "/sds/agent/hostile"))
    rubbish = [CertificateJob(theirs, "web", b"", NO_PROCESS)] * 50
    flood = asyncio.gather(*(bench.signer.sign(rubbish) for _ in range(40)))
    await asyncio.sleep(0)
    (ours,) = await bench.signer.sign([job()])
    assert isinstance(ours, Signed)
    codes = [{answer.code for answer in answers if isinstance(answer, NotSigned)} for answers in await flood]
    assert codes == [{SignCode.NOT_AUTHORIZED}] * 5 + [{SignCode.UNAVAILABLE}] * 35
    (again,) = await bench.signer.sign(rubbish[:1])
    assert again == NOT_AUTHORIZED


async def test_closing_refuses_and_finishes(store: Store, events: Events, clock: FakeClock) -> None:
    bench = Bench(store, events, clock)
    running = asyncio.create_task(bench.signer.sign([job()]))
    await asyncio.sleep(0)
    await bench.signer.close()
    assert isinstance((await running)[0], Signed)
    (late,) = await bench.signer.sign([job()])
    assert isinstance(late, NotSigned)
    assert late.code is SignCode.UNAVAILABLE
