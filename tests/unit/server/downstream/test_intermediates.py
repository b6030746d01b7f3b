"""Signing certificates for servers below: only for those that were enrolled as such, within limits, on record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509

from attestation.selector import Selector
from attestation.spiffe_id import SpiffeId
from ca.authority import SigningAuthority
from ca.chains.checks import check_minted
from ca.csr import build_csr
from ca.errors import AuthorityUnavailable, CsrRefused, IssuanceRefused
from ca.keys import KeyType, PublicKey, generate
from ca.signer import Scheme
from ca.upstream import Minted
from ca.upstreams.issuing import PROFILE
from sds.audit.event import AuditEvent, Outcome, Target
from sds.server.downstream.intermediates import (
    SHARE,
    IntermediatePolicy,
    Intermediates,
    NotDownstream,
    TooMany,
)
from sds.server.downstream.lists import forget_expired, issuers_below
from sds.server.events import Events, system_actor
from sds.server.identity import AgentCaller
from sds.store.errors import Reason, StoreUnavailable
from sds.store.records import AgentRecord, CertificateFilter, CertificateRecord
from sds.store.store import Store
from sds.store.unit_of_work import UnitOfWork
from tests.fakes.authorities import alter, install
from tests.fakes.ca import TRUST_DOMAIN, make_authority, serial_source
from tests.fakes.clock import EPOCH, FakeClock

AGENT = SpiffeId(TRUST_DOMAIN, "/sds/agent/below")
KEY = generate(KeyType.ECDSA_P256)
CSR = build_csr(KEY)
DAY = timedelta(days=1)
CALLER = AgentCaller(AGENT, "0a", EPOCH + DAY, EPOCH, 0, "192.0.2.7", "peer", "request-7")
RECORD = AgentRecord(
    spiffe_id=AGENT,
    attestation_type="join_token",
    selectors=frozenset({Selector("join_token", "x")}),
    serial="0a",
    not_after=EPOCH + DAY,
    key_hash="kk",
    attested_at=EPOCH,
    downstream=True,
)
POLICY = IntermediatePolicy(TRUST_DOMAIN, 7 * DAY, 30 * DAY, 0, timedelta(seconds=10), 16_384)


class Key:
    """Our authority's key, which can be made to fail."""

    def __init__(self, inner: SigningAuthority) -> None:
        self._inner = inner.signer
        self.broken = False
        self.signatures = 0
        self.authority = replace(inner, signer=self)

    @property
    def public_key(self) -> PublicKey:
        return self._inner.public_key

    def sign(self, messages: Sequence[bytes], *, scheme: Scheme = Scheme.X509) -> list[bytes]:
        if self.broken:
            raise AuthorityUnavailable("the key was unplugged")
        self.signatures += len(messages)
        return self._inner.sign(messages, scheme=scheme)


class Server:
    """What signs, with its surroundings."""

    def __init__(self, store: Any, events: Events, clock: FakeClock, policy: IntermediatePolicy = POLICY) -> None:
        self.key = Key(make_authority())
        self.known: AgentRecord | None = RECORD
        self.counts: list[tuple[str, str]] = []
        self.store = store
        root = self.key.authority.authority.certificate
        self.intermediates = Intermediates(
            store, self, self, policy, lambda: (root,), serial_source, events, clock, self
        )

    def signing(self) -> SigningAuthority:
        return self.key.authority

    def agent(self, agent_id: SpiffeId) -> AgentRecord | None:
        return self.known if agent_id == AGENT else None

    def issued(self, profile: str, outcome: str) -> None:
        self.counts.append((profile, outcome))

    async def sign(self, csr: bytes = CSR, ttl: timedelta | None = None, caller: AgentCaller = CALLER) -> Minted:
        return await self.intermediates.sign(caller, csr, ttl)


@pytest.fixture
async def server(store: Store, events: Events, clock: FakeClock) -> Server:
    return await standing(Server(store, events, clock), store, events)


async def standing(server: Server, store: Store, events: Events, record: AgentRecord = RECORD) -> Server:
    await install(store, events, server.key.authority.authority)
    await attested(store, events, record)
    return server


async def attested(store: Store, events: Events, record: AgentRecord) -> None:
    def work(uow: UnitOfWork) -> None:
        uow.agents.upsert(record)
        uow.audit.append(events.make(uow.now, "agent.attest", system_actor(), Target("agent", str(AGENT))))

    await store.write(work)


async def issue_events(store: Store) -> list[AuditEvent]:
    stored = await store.read(lambda uow: uow.audit.tail(None))
    return [one.event for one in stored if one.event.action == "certificate.issue"]


async def recorded(store: Store) -> list[CertificateRecord]:
    found = await store.read(lambda uow: uow.certificates.search(CertificateFilter(profile=PROFILE)))
    return list(found.items)


async def test_a_downstream_server_gets_a_certificate_that_stands_below_our_root(server: Server, store: Store) -> None:
    minted = await server.sign()
    check_minted(minted, KEY.public_key(), TRUST_DOMAIN, EPOCH)
    ours = server.key.authority
    assert minted.roots == (ours.authority.certificate,)
    assert minted.chain == (minted.certificate,)
    certificate = x509.load_der_x509_certificate(minted.certificate)
    certificate.verify_directly_issued_by(ours.certificate)
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    assert (minted.not_before, minted.not_after) == (EPOCH - timedelta(seconds=10), EPOCH + 7 * DAY)
    (event,) = await issue_events(store)
    assert (event.actor.id, event.request_id, event.outcome) == (str(AGENT), "request-7", Outcome.SUCCESS)
    assert event.details["profile"] == PROFILE
    (record,) = await recorded(store)
    assert (record.agent_id, record.spiffe_id, record.der) == (AGENT, TRUST_DOMAIN.id, minted.certificate)
    assert record.authority_id == ours.authority.id
    assert server.counts == [(PROFILE, "success")]


@pytest.mark.parametrize(
    ("asked", "given"),
    [(None, 7 * DAY), (timedelta(hours=1), timedelta(hours=1)), (365 * DAY, 30 * DAY), (timedelta.max, 30 * DAY)],
)
async def test_lifetimes_are_cut_to_the_limit(server: Server, asked: timedelta | None, given: timedelta) -> None:
    assert (await server.sign(ttl=asked)).not_after == EPOCH + given


async def test_it_never_outlives_our_own_authority(server: Server, clock: FakeClock) -> None:
    clock.advance(80 * DAY.total_seconds())
    caller = replace(CALLER, not_after=EPOCH + 100 * DAY)
    assert (await server.sign(caller=caller, ttl=30 * DAY)).not_after == EPOCH + 90 * DAY


@pytest.mark.parametrize("ttl", [timedelta(0), timedelta(seconds=-5), timedelta(seconds=59), timedelta.min])
async def test_too_short_a_life_is_refused(server: Server, store: Store, ttl: timedelta) -> None:
    with pytest.raises(IssuanceRefused, match="a minute"):
        await server.sign(ttl=ttl)
    assert not await recorded(store)


async def test_an_ordinary_agent_gets_nothing(server: Server, store: Store) -> None:
    server.known = replace(RECORD, downstream=False)
    with pytest.raises(NotDownstream, match="--downstream"):
        await server.sign()
    assert not await recorded(store)
    assert server.key.signatures == 0


@pytest.mark.parametrize("known", [RECORD, None])
@pytest.mark.parametrize(
    "standing_record",
    [replace(RECORD, downstream=False), replace(RECORD, attested_at=EPOCH + timedelta(seconds=1)), None],
)
async def test_what_memory_does_not_know_yet_the_transaction_does(
    store: Store, events: Events, clock: FakeClock, known: AgentRecord | None, standing_record: AgentRecord | None
) -> None:
    server = Server(store, events, clock)
    server.known = known
    await install(store, events, server.key.authority.authority)
    if standing_record is not None:
        await attested(store, events, standing_record)
    with pytest.raises(NotDownstream):
        await server.sign()
    assert not await recorded(store)
    assert server.key.signatures == 0


async def test_a_banned_server_gets_nothing(server: Server, store: Store, events: Events) -> None:
    def ban(uow: UnitOfWork) -> None:
        uow.agents.ban(AGENT, "stolen")
        uow.audit.append(events.make(uow.now, "agent.ban", system_actor(), Target("agent", str(AGENT))))

    await store.write(ban)
    with pytest.raises(NotDownstream):
        await server.sign()
    assert server.key.signatures == 0


async def test_a_tainted_authority_signs_for_nobody(server: Server, store: Store, events: Events) -> None:
    ours = server.key.authority.authority
    await alter(store, events, ours, replace(ours, tainted=True))
    with pytest.raises(AuthorityUnavailable):
        await server.sign()
    assert server.key.signatures == 0


async def test_csrs_are_judged(server: Server) -> None:
    for csr in (b"junk", b"\x30" * 20_000):
        with pytest.raises(CsrRefused):
            await server.sign(csr)
    assert server.counts == [(PROFILE, "refused")] * 2


async def test_one_server_cannot_ask_for_ever(server: Server, store: Store, clock: FakeClock) -> None:
    for _ in range(SHARE.burst):
        await server.sign()
    with pytest.raises(TooMany):
        await server.sign()
    assert len(await recorded(store)) == SHARE.burst
    clock.advance(31)
    await server.sign()


async def test_a_signature_that_fails_leaves_its_reason(server: Server, store: Store) -> None:
    server.key.broken = True
    with pytest.raises(AuthorityUnavailable, match="unplugged"):
        await server.sign()
    intended, failed = await issue_events(store)
    assert (intended.outcome, failed.outcome, failed.target) == (Outcome.SUCCESS, Outcome.FAILURE, intended.target)
    (record,) = await recorded(store)
    assert record.der is None
    assert server.counts == [(PROFILE, "failure")]


async def test_nothing_is_signed_that_is_not_on_record(store: Store, events: Events, clock: FakeClock) -> None:
    class Down:
        read, feed, close = store.read, store.feed, store.close

        async def write(self, work: object) -> object:
            raise StoreUnavailable(Reason.FULL)

    server = await standing(Server(Down(), events, clock), store, events)
    with pytest.raises(StoreUnavailable):
        await server.sign()
    assert server.key.signatures == 0


@pytest.mark.parametrize(("levels", "below"), [(0, 0), (2, 2)])
async def test_levels_below_are_the_configurations(
    store: Store, events: Events, clock: FakeClock, levels: int, below: int
) -> None:
    server = await standing(Server(store, events, clock, replace(POLICY, path_length=levels)), store, events)
    certificate = x509.load_der_x509_certificate((await server.sign()).certificate)
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == below


async def test_no_authority_no_certificate(server: Server, store: Store) -> None:
    class Nobody:
        def signing(self) -> SigningAuthority:
            raise AuthorityUnavailable("there is no active authority")

    server.intermediates._authorities = Nobody()
    with pytest.raises(AuthorityUnavailable):
        await server.sign()
    assert not await recorded(store)


async def test_while_a_server_below_may_issue_the_bundle_has_no_lists(
    server: Server, store: Store, clock: FakeClock
) -> None:
    """A verifier with our list alone would refuse what the server below issues."""

    async def bundle() -> tuple[int, bool]:
        return await store.read(lambda uow: (uow.authorities.bundle_sequence, issuers_below(uow)))

    before, below = await bundle()
    assert not below
    await server.sign(ttl=DAY)
    assert await bundle() == (before + 1, True)
    await server.sign(ttl=2 * DAY)
    await server.sign(ttl=DAY)
    assert await bundle() == (before + 1, True)
    clock.advance(1.5 * DAY.total_seconds())
    assert not await store.write(forget_expired)
    clock.advance(DAY.total_seconds())
    assert await store.write(forget_expired)
    assert await bundle() == (before + 2, False)
    assert not await store.write(forget_expired)
