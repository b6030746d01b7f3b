"""Who calls, against tables of agents that change while a connection lives."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import grpc
import pytest

from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.bundle import to_pem
from ca.csr import VerifiedCsr
from ca.intent import IssueRequest
from ca.issuer import Issuer
from ca.keys import KeyType, generate
from ca.profile import IssuancePolicy, ProfileName
from ca.svid import X509Svid, parse_svid
from sds.server.identity import CallerCheck, Unwelcome
from sds.server.revocation.blocked import NOTHING, Blocked
from sds.server.rpc import Call, CallRefused
from sds.store.records import AgentRecord
from tests.fakes.ca import TRUST_DOMAIN, make_authority, serial_source
from tests.fakes.clock import EPOCH, FakeClock

AGENT = SpiffeId(TRUST_DOMAIN, "/sds/agent/a")
CA = make_authority()


def svid(spiffe_id: SpiffeId = AGENT, profile: ProfileName = ProfileName.AGENT) -> X509Svid:
    request = IssueRequest(profile, spiffe_id, VerifiedCsr.of_own_key(generate(KeyType.ECDSA_P256)))
    issuer = Issuer(IssuancePolicy(), serial_source)
    (prepared,) = issuer.prepare([request], CA, EPOCH)
    (issued,) = issuer.issue([prepared])  # type: ignore[list-item]
    return parse_svid(issued.chain)  # type: ignore[union-attr]


SVID = svid()


def record(serial: str = SVID.serial, *, attested: float = 0, banned: bool = False) -> AgentRecord:
    return AgentRecord(
        AGENT,
        "join_token",
        frozenset(),
        serial,
        SVID.not_after,
        SVID.key_hash,
        EPOCH + timedelta(seconds=attested),
        banned_at=EPOCH if banned else None,
    )


class World:
    """Memory and store, which may differ for a moment."""

    def __init__(self, clock: FakeClock) -> None:
        self.memory: dict[SpiffeId, AgentRecord] = {}
        self.stored: dict[SpiffeId, AgentRecord] = {}
        self.issued_at: dict[str, datetime] = {}
        self.revision = 5
        self.newest = 5
        self.blocked = NOTHING
        self.reads = 0
        self.check = CallerCheck(self, self.Store(self), TRUST_DOMAIN, clock, lambda _: "192.0.2.1")

    def agent(self, agent_id: SpiffeId) -> AgentRecord | None:
        return self.memory.get(agent_id)

    class Store:
        def __init__(self, world: World) -> None:
            self.world = world

        async def agent(self, agent_id: SpiffeId) -> tuple[AgentRecord | None, int]:
            self.world.reads += 1
            return self.world.stored.get(agent_id), self.world.newest

        async def issued(self, record: AgentRecord, serial: str) -> datetime | None:
            self.world.reads += 1
            when = self.world.issued_at.get(serial)
            return when if when is not None and when >= record.attested_at else None


@pytest.fixture
def world(clock: FakeClock) -> World:
    return World(clock)


def call(shown: X509Svid = SVID, **auth: list[bytes]) -> Call:
    return Call("Renew", "unix:/x/c-1", auth or {"x509_pem_cert": [shown.pem() + b"\0"]}, "request-1")


def refused(caught: pytest.ExceptionInfo[CallRefused]) -> grpc.StatusCode:
    return caught.value.status


async def test_an_agent_is_known_by_its_certificate(world: World) -> None:
    world.memory[AGENT] = record()
    caller = await world.check.identify(call())
    assert (caller.agent_id, caller.serial, caller.address) == (AGENT, SVID.serial, "192.0.2.1")
    assert (caller.not_after, caller.request_id) == (SVID.not_after, "request-1")
    world.check.check(caller)
    assert world.reads == 0


async def test_no_certificate_and_rubbish(world: World) -> None:
    other_ca = to_pem(CA.authority.certificate)
    for auth in (
        {"none": [b""]},
        {"x509_pem_cert": [b"rubbish"]},
        {"x509_pem_cert": [b""]},
        {"x509_pem_cert": [other_ca]},
    ):
        with pytest.raises(CallRefused) as caught:
            await world.check.identify(call(**auth))
        assert refused(caught) is grpc.StatusCode.UNAUTHENTICATED


async def test_another_trust_domain(clock: FakeClock, world: World) -> None:
    world.memory[AGENT] = record()
    elsewhere = CallerCheck(world, World.Store(world), TrustDomain("other.org"), clock, lambda _: "")
    with pytest.raises(CallRefused) as caught:
        await elsewhere.identify(call())
    assert refused(caught) is grpc.StatusCode.UNAUTHENTICATED


async def test_expiry_is_looked_at_on_every_call(world: World, clock: FakeClock) -> None:
    world.memory[AGENT] = record()
    caller = await world.check.identify(call())
    clock.advance((SVID.not_after - EPOCH).total_seconds() - 0.001)
    world.check.check(caller)
    clock.advance(0.001)
    with pytest.raises(CallRefused) as caught:
        world.check.check(caller)
    assert refused(caught) is grpc.StatusCode.UNAUTHENTICATED
    with pytest.raises(CallRefused) as caught:
        await world.check.identify(call())
    assert refused(caught) is grpc.StatusCode.UNAUTHENTICATED


async def test_a_ban_a_deletion_and_a_new_attestation_end_a_caller(world: World) -> None:
    world.memory[AGENT] = record()
    caller = await world.check.identify(call())
    for now in (record(banned=True), record("bb", attested=1), None):
        if now is None:
            del world.memory[AGENT]
        else:
            world.memory[AGENT] = now
        with pytest.raises(CallRefused) as caught:
            world.check.check(caller)
        assert refused(caught) is grpc.StatusCode.PERMISSION_DENIED


async def test_a_renewal_does_not_end_a_caller(world: World) -> None:
    world.memory[AGENT] = record()
    caller = await world.check.identify(call())
    world.memory[AGENT] = replace(record("bb"), renewed_at=EPOCH + timedelta(seconds=9))
    world.check.check(caller)
    world.memory[AGENT] = record("cc", attested=10)
    with pytest.raises(CallRefused):
        world.check.check(caller)


async def test_an_earlier_certificate_of_this_attestation_is_good_and_is_asked_for_once(world: World) -> None:
    world.memory[AGENT] = record("bb")
    world.issued_at[SVID.serial] = EPOCH
    for _ in range(50):
        caller = await world.check.identify(call())
    assert (caller.issued_at, world.reads) == (EPOCH, 1)
    world.memory[AGENT] = record("cc", attested=1)
    with pytest.raises(Unwelcome):
        await world.check.identify(call())


async def test_a_certificate_renewed_at_another_replica_outlives_that_attestation_being_learnt(world: World) -> None:
    """Memory has the old attestation, the certificate is of the new one: the caller stays when memory catches up."""
    world.memory[AGENT] = record("old")
    world.issued_at[SVID.serial] = EPOCH + timedelta(seconds=5)
    caller = await world.check.identify(call())
    world.memory[AGENT] = record(SVID.serial, attested=5)
    world.check.check(caller)
    world.memory[AGENT] = record("newer", attested=6)
    with pytest.raises(CallRefused):
        world.check.check(caller)


async def test_an_agent_that_memory_does_not_know_yet(world: World) -> None:
    world.stored[AGENT] = record()
    world.newest = 9
    caller = await world.check.identify(call())
    world.check.check(caller)
    world.revision = 9  # memory has caught up, and if the agent is not there now, it is gone
    with pytest.raises(CallRefused):
        world.check.check(caller)
    world.memory[AGENT] = record()
    world.check.check(caller)


async def test_a_banned_agent_is_unwelcome_also_from_the_store(world: World) -> None:
    world.stored[AGENT] = record(banned=True)
    with pytest.raises(Unwelcome, match="banned"):
        await world.check.identify(call())


async def test_strangers_cost_little(world: World, clock: FakeClock) -> None:
    """A workload that hammers is refused from memory; after a while it is looked up again."""
    workload = svid(SpiffeId(TRUST_DOMAIN, "/web"), ProfileName.WORKLOAD)
    for _ in range(1000):
        with pytest.raises(Unwelcome) as caught:
            await world.check.identify(call(workload))
        assert caught.value.svid == workload
    assert world.reads == 1
    clock.advance(3)
    with pytest.raises(Unwelcome):
        await world.check.identify(call(workload))
    assert world.reads == 2


async def test_strangers_with_many_certificates_cost_little_too(world: World) -> None:
    path = SpiffeId(TRUST_DOMAIN, "/web")
    statuses = []
    for shown in [svid(path, ProfileName.WORKLOAD) for _ in range(15)]:
        with pytest.raises(CallRefused) as caught:
            await world.check.identify(call(shown))
        statuses.append(refused(caught))
    assert world.reads == 10
    assert statuses[-1] is grpc.StatusCode.UNAVAILABLE


async def test_a_revoked_certificate_is_refused_at_once_and_no_other(world: World) -> None:
    world.memory[AGENT] = record()
    caller = await world.check.identify(call())
    world.blocked = Blocked(agent_serials=frozenset({"0a"}))
    world.check.check(caller)
    world.blocked = Blocked(agent_serials=frozenset({SVID.serial}))
    with pytest.raises(CallRefused, match="revoked") as live:
        world.check.check(caller)
    with pytest.raises(Unwelcome, match="revoked") as new:
        await world.check.identify(call())
    assert refused(live) == refused(new) == grpc.StatusCode.PERMISSION_DENIED
