"""Federation as administrators see it: the server's own over both databases, and the fake."""

from __future__ import annotations

import pytest

from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.bundle import TrustBundle, make_bundle
from sds.admin.errors import AlreadyFederated, InvalidInput
from sds.admin.services import AdminServices
from sds.store.errors import NotFound
from sds.store.federations import BundleSource, EndpointProfile
from tests.contract.admin.test_services import CALL, audited
from tests.fakes.admin_entries import TD
from tests.fakes.ca import make_authority
from tests.fakes.clock import EPOCH

OTHER = TrustDomain("other.example")
WEB = BundleSource(EndpointProfile.HTTPS_WEB, "https://other.example/bundle")
STATIC = BundleSource(EndpointProfile.STATIC)
SERVER = SpiffeId(OTHER, "/sds/server")
SPIFFE = BundleSource(EndpointProfile.HTTPS_SPIFFE, "https://10.0.0.1:8446/", SERVER)


def bundle(sequence: int = 3) -> TrustBundle:
    return make_bundle(OTHER, [make_authority(OTHER).authority.certificate], sequence)


async def test_create_and_again(services: AdminServices) -> None:
    made = await services.federations.create(CALL, OTHER, WEB, None)
    assert made.created
    record = made.federation.record
    assert (record.trust_domain, record.source, record.bundle, record.created_at) == (OTHER, WEB, None, EPOCH)
    again = await services.federations.create(CALL, OTHER, WEB, bundle().spiffe_json())
    assert (again.created, again.federation) == (False, made.federation), "what stands is left alone"
    assert await services.federations.get(OTHER) == made.federation
    assert await services.federations.all() == (made.federation,)
    (event,) = [row.event for row in await audited(services, "federation.")]
    assert (event.action, event.target.id, event.request_id) == ("federation.create", "other.example", CALL.request_id)


async def test_another_endpoint_needs_an_update(services: AdminServices) -> None:
    await services.federations.create(CALL, OTHER, WEB, None)
    with pytest.raises(AlreadyFederated):
        await services.federations.create(CALL, OTHER, SPIFFE, bundle().pem())
    found = await services.federations.update(CALL, OTHER, SPIFFE)
    assert found.record.source == SPIFFE
    assert [row.event.action for row in await audited(services, "federation.")][-1] == "federation.update"


@pytest.mark.parametrize("form", ["pem", "spiffe_json"])
async def test_a_bundle_may_be_pem_or_a_spiffe_document(services: AdminServices, form: str) -> None:
    first = bundle()
    await services.federations.create(CALL, OTHER, SPIFFE, getattr(first, form)())
    found = await services.federations.bundle(OTHER)
    assert found.x509_authorities == first.x509_authorities
    assert found.sequence == (3 if form == "spiffe_json" else 0)


async def test_a_bundle_set_by_hand_counts_whatever_its_sequence(services: AdminServices) -> None:
    """Federation 4.2: what to do when the other side has been restored from a backup."""
    await services.federations.create(CALL, OTHER, STATIC, bundle(9).spiffe_json())
    lower = bundle(2)
    found = await services.federations.set_bundle(CALL, OTHER, lower.spiffe_json())
    assert found.record.bundle == lower
    assert await services.federations.bundle(OTHER) == lower
    assert [row.event.action for row in await audited(services, "federation.")] == [
        "federation.create",
        "federation.bundle",
    ]


async def test_delete(services: AdminServices) -> None:
    made = await services.federations.create(CALL, OTHER, WEB, None)
    assert await services.federations.delete(CALL, OTHER) == made.federation
    assert await services.federations.all() == ()
    assert [row.event.action for row in await audited(services, "federation.")][-1] == "federation.delete"


async def test_what_is_not_there(services: AdminServices) -> None:
    for work in (
        services.federations.get(OTHER),
        services.federations.bundle(OTHER),
        services.federations.update(CALL, OTHER, WEB),
        services.federations.set_bundle(CALL, OTHER, bundle().pem()),
        services.federations.refresh(CALL, OTHER),
        services.federations.delete(CALL, OTHER),
    ):
        with pytest.raises(NotFound):
            await work
    await services.federations.create(CALL, OTHER, WEB, None)
    with pytest.raises(NotFound):
        await services.federations.bundle(OTHER)


@pytest.mark.parametrize("unverified", [b"", b"no", b"{}", b'{"keys": 1}', b"\xff"])
async def test_a_bundle_that_is_none(services: AdminServices, unverified: bytes) -> None:
    with pytest.raises(InvalidInput, match="bundle"):
        await services.federations.create(CALL, OTHER, SPIFFE, unverified)
    await services.federations.create(CALL, OTHER, WEB, None)
    with pytest.raises(InvalidInput, match="bundle"):
        await services.federations.set_bundle(CALL, OTHER, unverified)


async def test_our_own_trust_domain_is_nobody_to_federate_with(services: AdminServices) -> None:
    with pytest.raises(InvalidInput, match="our own"):
        await services.federations.create(CALL, TD, WEB, None)


async def test_a_static_one_has_no_endpoint_to_ask(services: AdminServices) -> None:
    await services.federations.create(CALL, OTHER, STATIC, bundle().pem())
    with pytest.raises(InvalidInput, match="static"):
        await services.federations.refresh(CALL, OTHER)
