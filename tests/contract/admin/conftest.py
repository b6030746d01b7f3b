"""The admin services as the server implements them, on both databases, and as tests fake them: one suite for all."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Protocol

import pytest

from attestation.entry import RegistrationEntry
from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.bundle import TrustBundle
from ca.gate import Holder
from ca.jwt_svid import JwtIssuer, JwtPolicy
from sds.admin.services import AdminServices, AgentInfo, ProcessInfo, StreamInfo
from sds.audit.event import Actor, Target
from sds.secrets.judge import Limits
from sds.secrets.secret import SecretState
from sds.server.audit.log_keys import LogKeys
from sds.server.audit.pruner import Pruner
from sds.server.authority.authorities import Authorities
from sds.server.authority.custody import Custody, open_custody
from sds.server.authority.kek_file import KekFile
from sds.server.events import Events
from sds.server.federation.poller import Caller
from sds.server.federation.service import FederationService
from sds.server.jwt.mint import JwtService
from sds.server.revocation.publisher import CrlPublisher
from sds.server.revocation.service import RevocationParts, RevocationService
from sds.server.secrets.backends import EMBEDDED, SecretBackends
from sds.server.secrets.embedded import EmbeddedBackend, EmbeddedValues
from sds.server.secrets.sealing import Sealer
from sds.server.secrets.versions import SealedVersions
from sds.server.services.agents import AgentService, StreamService
from sds.server.services.audit import AuditService
from sds.server.services.authorities import AuthorityService
from sds.server.services.certificates import CertificateService
from sds.server.services.common import Desk
from sds.server.services.entries import EntryService
from sds.server.services.entry_policy import EntryPolicy
from sds.server.services.explain import ExplainService
from sds.server.services.grants import GrantService
from sds.server.services.idempotency import IdempotencyService
from sds.server.services.ledger import LedgerService
from sds.server.services.secrets import SecretPolicy, SecretService
from sds.server.services.statistics import StatisticsService
from sds.server.services.trust import BundleService, KekService, TokenPolicy, TokenService
from sds.store.federations import FederationRecord
from sds.store.records import ProcessRecord, ResourceRecord, StreamRecord
from sds.store.store import Store, open_store
from tests.contract.conftest import BACKENDS, QUICK
from tests.contract.store import samples
from tests.fakes.admin_entries import PROFILES, TD
from tests.fakes.admin_notices import FakeNotices
from tests.fakes.admin_server import AUTHORITY
from tests.fakes.admin_services import FakeServices
from tests.fakes.admin_sinks import FakeSinks
from tests.fakes.clock import EPOCH, FakeClock
from tests.fakes.jwt import bundles_of, counted_ids, make_jwt_authority
from tests.fakes.rotation import RULES, make_authorities

NO_AGENT: frozenset[RegistrationEntry] = frozenset()


class Subject(Protocol):
    """The services, and ways to make true what only agents can."""

    services: AdminServices

    async def attested(self, agent_id: SpiffeId) -> None: ...

    async def reported(self, agent_id: SpiffeId, stream_id: str, spiffe_id: str) -> None: ...

    async def issued(self, entry_id: str, not_after: datetime) -> None: ...

    async def has_authorities(self) -> None:
        """One of each kind is active."""
        ...

    async def holds(self, agent_id: SpiffeId, bundle_sequence: int) -> None:
        """An agent that has attested says by which bundle it verifies."""
        ...


@dataclass
class Faked:
    fakes: FakeServices

    @property
    def services(self) -> AdminServices:
        return self.fakes.services

    async def attested(self, agent_id: SpiffeId) -> None:
        record = samples.agent(agent_id)
        self.fakes.agents.rows[agent_id] = AgentInfo(
            agent_id, record.attestation_type, record.selectors, record.serial, record.not_after, record.attested_at
        )

    async def reported(self, agent_id: SpiffeId, stream_id: str, spiffe_id: str) -> None:
        resources = (ResourceRecord("default", "v2", "v1", sent_at=EPOCH),)
        process = ProcessInfo(7, 1000, "/usr/bin/envoy")
        stream = StreamInfo(stream_id, agent_id, "delta", process, (spiffe_id,), "n", EPOCH, resources)
        self.fakes.streams.rows.append(stream)

    async def issued(self, entry_id: str, not_after: datetime) -> None:
        self.fakes.entries.expires[entry_id] = not_after
        self.fakes.revocations.certificates[f"0{entry_id}"[:32]] = (samples.spiffe("/web"), not_after)

    async def has_authorities(self) -> None:
        """It has from the beginning."""

    async def holds(self, agent_id: SpiffeId, bundle_sequence: int) -> None:
        self.fakes.authorities.holders = (Holder(agent_id, bundle_sequence),)


class NobodyWatches:
    """No agent is connected to this server."""

    def watching(self, agent_id: SpiffeId) -> int:
        return 0

    def entries_of(self, agent_id: SpiffeId) -> Iterable[RegistrationEntry]:
        return NO_AGENT


async def _settled(_seconds: float) -> bool:
    return True


class Real:
    def __init__(self, store: Store, services: AdminServices, authorities: Authorities) -> None:
        self.store = store
        self.services = services
        self._authorities = authorities

    async def has_authorities(self) -> None:
        await self._authorities.ensure()

    async def holds(self, agent_id: SpiffeId, bundle_sequence: int) -> None:
        await self.store.write(lambda uow: uow.agents.verifies_by(agent_id, bundle_sequence))

    async def attested(self, agent_id: SpiffeId) -> None:
        def work(uow: samples.UnitOfWork) -> None:
            uow.agents.upsert(samples.agent(agent_id))
            uow.audit.append(samples.event("agent.attest"))

        await self.store.write(work)

    async def reported(self, agent_id: SpiffeId, stream_id: str, spiffe_id: str) -> None:
        resources = (ResourceRecord("default", "v2", "v1", sent_at=EPOCH),)
        process = ProcessRecord(7, 1000, "/usr/bin/envoy")
        record = StreamRecord(agent_id, stream_id, "delta", process, (spiffe_id,), "n", EPOCH, resources)
        await self.store.write(lambda uow: uow.streams.upsert([record]))

    async def issued(self, entry_id: str, not_after: datetime) -> None:
        def work(uow: samples.UnitOfWork) -> None:
            uow.certificates.add_intents(
                [samples.certificate(f"0{entry_id}"[:32], entry_id=entry_id, not_after=not_after)]
            )
            uow.audit.append(samples.event("certificate.issue"))

        await self.store.write(work)


class NobodyCounts:
    def issued(self, profile: str, outcome: str) -> None: ...


class NobodyPolls:
    """No endpoint is asked here: tests/unit/server/federation does that."""

    def wake(self) -> None: ...

    async def poll(self, trust_domain: TrustDomain, caller: Caller) -> FederationRecord:
        raise NotImplementedError


class NobodyWatchesSecrets:
    """No agent is connected here, and sources are asked by tests of their own."""

    def __init__(self, store: Store, desk: Desk) -> None:
        self._store = store
        self._desk = desk

    def watchers(self, secret_id: str) -> int:
        asyncio.get_running_loop()  # what is asked here belongs to the event loop's thread
        return 0

    async def refresh(self, secret_id: str, actor: Actor | None = None, request_id: str = "") -> SecretState:
        def work(uow: samples.UnitOfWork) -> SecretState:
            if actor is not None:
                event = self._desk.events.make(uow.now, "secret.refresh", actor, Target("secret", secret_id))
                uow.audit.append(event)
            uow.secrets.note_state(secret_id, SecretState(checked_at=uow.now))
            return uow.secrets.state(secret_id)

        return await self._store.write(work)


def secret_service(store: Store, desk: Desk, custody: Custody) -> SecretService:
    numbers = count(1)
    sealer = Sealer(lambda: custody.manager.ring, TD, os.urandom)
    versions = SealedVersions(sealer, 3)
    return SecretService(
        desk,
        NobodyWatchesSecrets(store, desk),
        SecretBackends({EMBEDDED: EmbeddedBackend(store, versions)}),
        sealer,
        EmbeddedValues(versions, Limits()),
        SecretPolicy(Limits()),
        lambda: f"s{next(numbers):08}",
    )


def jwt_service(store: Store, events: Events, clock: FakeClock) -> JwtService:
    authority = make_jwt_authority(TD)
    policy, bundles = JwtPolicy(), bundles_of(authority)
    issuer, leeway = JwtIssuer(policy, counted_ids()), timedelta(0)
    signs = SimpleNamespace(signing_jwt=lambda: authority)
    return JwtService(store, TD, issuer, policy, signs, events, clock, NobodyCounts(), lambda: bundles, leeway)


class NobodyWatchesLists:
    def lists(self, revoked: int, problem: bool) -> None: ...

    def listed(self, seconds: float) -> None: ...

    def revoked(self, kind: str, certificates: int, seconds: float) -> None: ...


async def _nothing_to_keep() -> None:
    """The journal has tests of its own."""


def revocation_service(
    store: Store, desk: Desk, authorities: Authorities, events: Events, clock: FakeClock
) -> RevocationService:
    numbers, observer = count(1), NobodyWatchesLists()
    publish = CrlPublisher(store, authorities, events, clock, observer).ensure
    return RevocationService(
        RevocationParts(
            desk=desk,
            authorities=authorities,
            publish=publish,
            keep=_nothing_to_keep,
            bundle=lambda: TrustBundle(TD, (AUTHORITY,), 7),
            trust_domain=TD,
            new_id=lambda: f"b{next(numbers):08}",
            clock=clock,
            observer=observer,
        )
    )


async def real(store: Store, clock: FakeClock, folder: Path) -> Real:
    events = Events("test")
    desk = Desk(store, events, _settled)
    numbers = count(1)
    custody = await open_custody(store, KekFile(folder / "kek", os.urandom), TD, events, os.urandom)
    grants = count(1)
    policy = EntryPolicy(TD, PROFILES)
    tokens = TokenPolicy(TD, timedelta(minutes=10), timedelta(days=1))
    authorities = make_authorities(store, custody.manager, events, clock)
    log_keys = LogKeys(store, custody.manager, events, TD)
    services = AdminServices(
        entries=EntryService(desk, policy, lambda: f"e{next(numbers):08}"),
        agents=AgentService(desk, NobodyWatches()),
        streams=StreamService(desk),
        tokens=TokenService(desk, tokens, os.urandom),
        bundle=BundleService(lambda: TrustBundle(TD, (AUTHORITY,), 7)),
        kek=KekService(custody),
        authorities=AuthorityService(desk, authorities, RULES),
        jwt=jwt_service(store, events, clock),
        federations=FederationService(desk, NobodyPolls(), TD, Counter),
        revocations=revocation_service(store, desk, authorities, events, clock),
        secrets=secret_service(store, desk, custody),
        grants=GrantService(desk, TD, 100, lambda: f"g{next(grants):08}"),
        audit=AuditService(desk, clock),
        ledger=LedgerService(desk, log_keys, Pruner(store, log_keys, events, clock), clock),
        sinks=FakeSinks(),
        notices=FakeNotices(),
        certificates=CertificateService(desk),
        explain=ExplainService(desk),
        idempotency=IdempotencyService(store),
        statistics=StatisticsService(
            desk, SimpleNamespace(agents_watching=0), AuthorityService(desk, authorities, RULES), clock.monotonic
        ),
    )
    return Real(store, services, authorities)


on_databases = pytest.mark.parametrize("subject", BACKENDS, indirect=True)
"""Of a test about what the fakes don't have: rows, time, and what is known across nouns."""


@pytest.fixture(params=["fake", *BACKENDS])
async def subject(request: pytest.FixtureRequest, clock: FakeClock, tmp_path: Path) -> AsyncIterator[Subject]:
    if request.param == "fake":
        yield Faked(FakeServices(clock.now, (AUTHORITY,)))
        return
    url = str(request.getfixturevalue(f"{request.param}_url"))
    store = open_store(url, clock=clock, limits=QUICK)
    try:
        folder = tmp_path / "keys"
        folder.mkdir(mode=0o700)
        yield await real(store, clock, folder)
    finally:
        await store.close()


@pytest.fixture
def services(subject: Subject) -> AdminServices:
    return subject.services
