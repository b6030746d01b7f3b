"""Which parameters of a relationship are accepted, and what an administrator's word does to the poller."""

from __future__ import annotations

from collections import Counter

import pytest

from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.bundle import make_bundle
from sds.admin.errors import InvalidInput
from sds.admin.services import AdminCall, local_caller
from sds.server.events import Events
from sds.server.federation.poller import Caller
from sds.server.federation.service import FederationService
from sds.server.services.common import Desk
from sds.store.federations import BundleSource, EndpointProfile, FederationRecord
from sds.store.records import AuditFilter
from sds.store.store import Store
from tests.fakes.ca import make_authority

OWN, OTHER, THIRD = (TrustDomain(f"{name}.example") for name in ("own", "other", "third"))
CALL = AdminCall(local_caller(0, 7, "root"), "r1")
WEB = BundleSource(EndpointProfile.HTTPS_WEB, "https://other.example/bundle")
SERVER = SpiffeId(OTHER, "/sds/server")
SPIFFE = BundleSource(EndpointProfile.HTTPS_SPIFFE, "https://10.0.0.1:8446/", SERVER)
BY_THIRD = BundleSource(EndpointProfile.HTTPS_SPIFFE, "https://a/", SpiffeId(THIRD, "/server"))
STATIC = BundleSource(EndpointProfile.STATIC)


def pem(domain: TrustDomain = OTHER) -> bytes:
    return make_bundle(domain, [make_authority(domain).authority.certificate], 1).pem()


class Polls:
    """Remembers what it was told; a poll answers with what stands."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.wakes = 0
        self.polled: list[tuple[TrustDomain, Caller]] = []

    def wake(self) -> None:
        self.wakes += 1

    async def poll(self, trust_domain: TrustDomain, caller: Caller) -> FederationRecord:
        self.polled.append((trust_domain, caller))
        return await self._store.read(lambda uow: uow.federations.get(trust_domain))


async def _settled(_seconds: float) -> bool:
    return True


@pytest.fixture
def polls(store: Store) -> Polls:
    return Polls(store)


@pytest.fixture
def service(store: Store, events: Events, polls: Polls) -> FederationService:
    return FederationService(Desk(store, events, _settled), polls, OWN, lambda: Counter({OTHER: 3}))


@pytest.mark.parametrize(
    ("source", "given", "fields"),
    [
        (BundleSource(EndpointProfile.HTTPS_WEB), False, ["endpoint_url"]),
        (BundleSource(EndpointProfile.HTTPS_WEB, "http://a/"), False, ["endpoint_url"]),
        (BundleSource(EndpointProfile.HTTPS_WEB, "https://u:p@a/"), False, ["endpoint_url"]),
        (BundleSource(EndpointProfile.HTTPS_WEB, "https://a/", SERVER), False, ["endpoint_id"]),
        (BundleSource(EndpointProfile.HTTPS_SPIFFE, "https://a/"), True, ["endpoint_id"]),
        (BundleSource(EndpointProfile.HTTPS_SPIFFE, "https://a/", OTHER.id), True, ["endpoint_id"]),
        (BundleSource(EndpointProfile.HTTPS_SPIFFE, "ftp://a/"), True, ["endpoint_url", "endpoint_id"]),
        (SPIFFE, False, ["bundle"]),
        (BY_THIRD, True, ["endpoint_id"]),
        (STATIC, False, ["bundle"]),
        (BundleSource(EndpointProfile.STATIC, "https://a/"), True, ["endpoint_url"]),
    ],
)
async def test_parameters_are_checked(
    service: FederationService, store: Store, source: BundleSource, given: bool, fields: list[str]
) -> None:
    """Federation 5.1, 5.2: all problems at once, and nothing is stored."""
    with pytest.raises(InvalidInput) as caught:
        await service.create(CALL, OTHER, source, pem() if given else None)
    assert [problem.field for problem in caught.value.problems] == fields
    assert await service.all() == ()
    assert await store.read(lambda uow: uow.audit.count()) == 0


async def test_a_bundle_to_start_from_needs_an_x509_authority(service: FederationService) -> None:
    with pytest.raises(InvalidInput, match="no X\\.509 authority"):
        await service.create(CALL, OTHER, SPIFFE, b'{"keys": []}')


async def test_an_endpoint_in_a_third_trust_domain_needs_that_ones_bundle(service: FederationService) -> None:
    """Federation 5.2.2.2: one that is not self-serving; ours is always known."""
    await service.create(CALL, THIRD, STATIC, pem(THIRD))
    assert (await service.create(CALL, OTHER, BY_THIRD, None)).created
    own = BundleSource(EndpointProfile.HTTPS_SPIFFE, "https://a/", SpiffeId(OWN, "/mirror"))
    assert (await service.update(CALL, OTHER, own)).record.source == own


async def test_the_poller_is_woken_and_asked_on_behalf_of_who_asks(service: FederationService, polls: Polls) -> None:
    created = await service.create(CALL, OTHER, WEB, None)
    assert created.federation.entries == 3
    assert polls.wakes == 1
    await service.update(CALL, OTHER, SPIFFE)
    assert polls.wakes == 2
    await service.refresh(CALL, OTHER)
    ((domain, caller),) = polls.polled
    assert (domain, caller.actor.id, caller.request_id) == (OTHER, "uid:0", "r1")


async def test_what_changes_nothing_is_no_event(service: FederationService, store: Store) -> None:
    document = make_bundle(OTHER, [make_authority(OTHER).authority.certificate], 4).spiffe_json()
    await service.create(CALL, OTHER, WEB, None)
    await service.update(CALL, OTHER, WEB)
    for _ in range(2):
        await service.set_bundle(CALL, OTHER, document)
    rows = await store.read(lambda uow: uow.audit.tail(0, 100, AuditFilter(action="federation.")))
    assert [row.event.action for row in rows] == ["federation.create", "federation.bundle"]


async def test_the_event_of_a_deletion_says_who_loses_a_bundle(service: FederationService, store: Store) -> None:
    await service.create(CALL, OTHER, WEB, None)
    await service.delete(CALL, OTHER)
    rows = await store.read(lambda uow: uow.audit.tail(0, 100, AuditFilter(action="federation.delete")))
    (event,) = [row.event for row in rows]
    assert event.details["entries"] == 3
    assert event.details["endpoint_url"] == WEB.endpoint_url


async def test_relationships_are_bounded(store: Store, events: Events, polls: Polls) -> None:
    service = FederationService(Desk(store, events, _settled), polls, OWN, Counter, most=2)
    for number in range(2):
        await service.create(CALL, TrustDomain(f"d{number}.example"), WEB, None)
    with pytest.raises(InvalidInput, match="one more than the 2"):
        await service.create(CALL, OTHER, WEB, None)
