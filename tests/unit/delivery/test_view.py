from __future__ import annotations

import pytest

from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.masked import Masked
from sds.delivery.resource import GenericSecret, SpiffeValidator, TlsCertificate, TrustedCa, make_resource
from sds.delivery.view import EMPTY, Identity, Names, Trust, View, tolerated
from tests.fakes.secrets import DB, DOMAIN, WEB, bundle, certificate, identity, trust

PARTNER = TrustDomain("partner.test")
OWN_ID = "spiffe://example.org"


def content(view: View, name: str, *, spiffe_validator: bool = False) -> object:
    resource = view.resolve(name, spiffe_validator=spiffe_validator)
    assert resource is not None
    assert resource.name == name, "a resource carries the name that it was asked for by"
    return resource.content


def test_the_names_of_a_view():
    view = View.build([identity(WEB), identity(DB)], trust(1, bundle(1, PARTNER)))
    assert view.names == tuple(sorted(["default", "ROOTCA", "ALL", str(WEB), str(DB), OWN_ID, "spiffe://partner.test"]))
    assert all(view.resolve(name) for name in view.names)
    assert view.spiffe_ids == (str(WEB), str(DB))


def test_default_is_the_first_identity_with_the_same_version():
    view = View.build([identity(DB), identity(WEB)], trust())
    default, own = view.resolve("default"), view.resolve(str(DB))
    assert default is not None and own is not None
    assert default.content is own.content
    assert default.version == own.version


def test_bundles_are_plain_cas_unless_the_validator_is_asked_for():
    view = View.build([identity()], trust(1, bundle(1, PARTNER)))
    for name in ("ROOTCA", OWN_ID):
        assert isinstance(content(view, name), TrustedCa)
        spiffe = content(view, name, spiffe_validator=True)
        assert isinstance(spiffe, SpiffeValidator)
        assert [domain for domain, _ in spiffe.bundles] == ["example.org"]
    partner = content(view, "spiffe://partner.test")
    assert isinstance(partner, TrustedCa) and b"partner.test" in partner.pem and b"example.org" not in partner.pem


def test_all_is_every_bundle_for_the_validator_in_either_form():
    view = View.build([identity()], trust(1, bundle(1, PARTNER)))
    for spiffe_validator in (False, True):
        everything = content(view, "ALL", spiffe_validator=spiffe_validator)
        assert isinstance(everything, SpiffeValidator)
        assert [domain for domain, _ in everything.bundles] == ["example.org", "partner.test"]


def test_the_order_of_federated_bundles_changes_no_version():
    third = bundle(1, TrustDomain("a.test"))
    one, other = trust(1, bundle(1, PARTNER), third), trust(1, third, bundle(1, PARTNER))
    assert one.plain["ALL"].version == other.plain["ALL"].version


def test_a_federated_bundle_cannot_stand_in_for_our_own():
    forged = bundle(66, DOMAIN)
    built = Trust.build(bundle(1), [forged])
    assert built.plain["ROOTCA"].version == built.plain[OWN_ID].version == trust(1).plain["ROOTCA"].version


def test_without_an_identity_there_is_nothing_not_even_a_bundle():
    view = View.build([], trust(), [make_resource("secret", GenericSecret((), "1"))])
    assert view is EMPTY
    assert not view
    assert view.names == ()
    assert view.resolve("ROOTCA") is view.resolve("default") is view.resolve("secret") is None


def test_an_empty_bundle_names_nothing():
    empty = Trust.build(bundle(1).__class__(DOMAIN, b""))
    view = View.build([identity()], empty)
    assert view.names == ("default", str(WEB))


def test_of_two_identities_with_one_id_the_first_counts():
    view = View.build([identity(WEB, 1), identity(WEB, 2)], trust())
    assert view.spiffe_ids == (str(WEB),)
    resource = view.resolve(str(WEB))
    assert resource is not None and resource.serial == "1"


def test_aliases_are_configurable():
    names = Names(default=("default", "me"), root=("ca",), all=())
    view = View.build([identity()], Trust.build(bundle(), names=names))
    assert view.names == tuple(sorted(["default", "me", "ca", str(WEB), OWN_ID]))


def test_a_granted_secret_shadows_neither_identities_nor_bundles():
    granted = [make_resource(name, GenericSecret((), "1")) for name in ("default", "ROOTCA", str(WEB), "db-password")]
    view = View.build([identity()], trust(), granted)
    assert isinstance(content(view, "default"), TlsCertificate)
    assert isinstance(content(view, "ROOTCA"), TrustedCa)
    assert isinstance(content(view, str(WEB)), TlsCertificate)
    assert isinstance(content(view, "db-password"), GenericSecret)


def test_rebuilding_with_the_same_parts_changes_no_version_and_shares_the_resources():
    web, shared = identity(), trust()
    first, second = View.build([web], shared), View.build([web], shared)
    assert first.resolve(str(WEB)) is second.resolve(str(WEB))
    assert first.resolve("ROOTCA") is second.resolve("ROOTCA")


def test_an_identity_is_digested_once_and_hides_its_key():
    web = Identity(SpiffeId.parse("spiffe://example.org/web"), certificate())
    assert web.resource.content is web.certificate
    assert "canary" not in repr(web) + repr(View.build([web], trust())) + repr(trust())
    assert isinstance(web.certificate.private_key_pem, Masked)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("file-cert:a~b", True),
        ("file-root:system", True),
        ("file", False),
        ("FILE-ROOT:x", False),
        ("xfile-root:", False),
    ],
)
def test_tolerated_names(name: str, expected: bool):
    assert tolerated(name) is expected
