"""Views to Workload API messages, and what a stream counts as held."""

from __future__ import annotations

import gc
from itertools import pairwise

import pytest
from cryptography.hazmat.primitives.serialization import load_der_private_key
from cryptography.x509 import load_der_x509_certificate
from hypothesis import given
from hypothesis import strategies as st

from attestation.spiffe_id import TrustDomain
from ca.bundle import to_pem
from ca.keys import KeyType
from ca.masked import Masked
from sds._pb.spiffe.workload import workload_pb2
from sds.delivery.errors import InvalidRequest, LimitExceeded
from sds.delivery.places import Places
from sds.delivery.resource import TlsCertificate
from sds.delivery.view import EMPTY, DomainBundle, Identity, Trust, View
from sds.delivery.workload_messages import Message, Part, WorkloadEncoder, check_request
from sds.delivery.workload_session import Holding
from tests.fakes.ca import make_authority, make_svid
from tests.fakes.clock import EPOCH
from tests.fakes.secrets import DB, WEB
from tests.fakes.workload_api import AUTHORITY, domain_bundle, holder, identity, trust, view

OWN, PARTNER = "spiffe://example.org", "spiffe://partner.test"
ONE, TRUST = holder(), trust(AUTHORITY)
FOREIGN = make_authority(TrustDomain("partner.test"))


def svids(of: View) -> workload_pb2.X509SVIDResponse:
    message = WorkloadEncoder().svids(of)
    assert message is not None
    return workload_pb2.X509SVIDResponse.FromString(message.payload)


@pytest.mark.parametrize("key_type", [KeyType.ECDSA_P256, KeyType.ED25519, KeyType.RSA_2048])
def test_every_kind_of_key_is_pkcs8_der(key_type: KeyType) -> None:
    one = make_svid(authority=AUTHORITY, key_type=key_type)
    (svid,) = svids(view(one)).svids
    assert load_der_private_key(svid.x509_svid_key, None).public_key() == one.key.public_key()
    assert svid.x509_svid == one.svid.chain[0]


def test_intermediates_follow_the_leaf_and_authorities_follow_each_other() -> None:
    one, above, newer = holder(), make_authority(), make_authority()
    chain = one.svid.pem() + to_pem(above.authority.certificate)
    certificate = TlsCertificate(chain, one.key_pem, one.svid.serial, EPOCH)
    (svid,) = svids(View.build([Identity(WEB, certificate)], trust(AUTHORITY, newer))).svids
    assert svid.x509_svid == one.svid.chain[0] + above.authority.certificate
    assert load_der_x509_certificate(one.svid.chain[0]) == load_der_x509_certificate(
        svid.x509_svid[: len(one.svid.chain[0])]
    )
    assert svid.bundle == AUTHORITY.authority.certificate + newer.authority.certificate


def test_federated_bundles_are_beside_ours_in_one_message_and_among_them_in_the_other() -> None:
    seen = View.build([identity(holder())], trust(AUTHORITY, federated=[FOREIGN]))
    assert dict(svids(seen).federated_bundles) == {PARTNER: FOREIGN.authority.certificate}
    message = WorkloadEncoder().bundles(seen)
    assert message is not None
    bundles = dict(workload_pb2.X509BundlesResponse.FromString(message.payload).bundles)
    assert bundles == {OWN: AUTHORITY.authority.certificate, PARTNER: FOREIGN.authority.certificate}
    assert [part.name for part in message.parts] == [OWN, PARTNER]


def test_without_an_identity_a_default_or_a_bundle_there_is_no_message() -> None:
    encoder = WorkloadEncoder()
    assert encoder.svids(EMPTY) is None and encoder.bundles(EMPTY) is None
    incomplete = view(holder("/db"), has_default=False)
    assert encoder.svids(incomplete) is None and encoder.bundles(incomplete) is not None
    assert incomplete.resolve("default") is None and incomplete.resolve(str(DB)) is not None
    unbundled = View.build([identity(holder())], Trust.build(DomainBundle(TrustDomain("example.org"), b"")))
    assert encoder.svids(unbundled) is None and encoder.bundles(unbundled) is None


@given(st.lists(st.sampled_from(["", "internal", "external", "ß"]), min_size=1, max_size=6))
def test_a_hint_is_unique_and_the_first_keeps_it(hints: list[str]) -> None:
    one = identity(ONE)
    found = [svid.hint for svid in svids(View.build([one] * len(hints), TRUST, hints=hints)).svids]
    assert len(found) == len(hints), "one SVID for each identity"
    named = [hint for hint in found if hint]
    assert len(named) == len(set(named))
    assert set(named) == set(hints) - {""}
    for hint in named:
        assert found.index(hint) == hints.index(hint)


def test_a_view_is_encoded_once_and_its_key_leaves_memory_with_it() -> None:
    encoder, one, two = WorkloadEncoder(), view(), view()
    assert encoder.svids(one) is encoder.svids(one)
    assert encoder.svids(one) is not encoder.svids(two)
    assert len(encoder) == 2
    del one
    gc.collect()
    assert len(encoder) == 1


def test_all_views_of_one_trust_share_the_message_of_its_bundles() -> None:
    encoder = WorkloadEncoder()
    one, two = (View.build([identity(holder())], TRUST) for _ in range(2))
    assert encoder.bundles(one) is encoder.bundles(two)


def test_nothing_shows_a_key() -> None:
    one = view()
    message = WorkloadEncoder().svids(one)
    shown = f"{one!r} {message!r} {one.granted!r} {one.bundles!r}"
    assert "payload" not in shown and "PRIVATE" not in shown and "x0" not in shown
    assert isinstance(one.granted[0].identity.certificate.private_key_pem, Masked)


@pytest.mark.parametrize("bundles", [True, False])
def test_requests_of_later_versions_are_taken_and_nonsense_is_not(bundles: bool) -> None:
    check_request(b"", bundles=bundles)
    check_request(b"\x0a\x03abc", bundles=bundles)  # an unknown field
    with pytest.raises(InvalidRequest, match=r"Request$"):
        check_request(b"\xff\xff", bundles=bundles)


def message(digest: bytes, *parts: Part) -> Message:
    return Message(b"", digest, parts)


def test_what_a_stream_holds() -> None:
    holding = Holding()
    web, db, renewed = Part("web", "1", "a"), Part("db", "1", "b"), Part("web", "2", "c")
    assert not holding
    assert holding.take(message(b"1", web, db), 1.0) == [web, db]
    assert holding
    assert not holding.news(message(b"1")) and holding.news(message(b"2"))
    assert holding.take(message(b"2", renewed, db), 2.0) == [renewed]
    assert [(s.name, s.sent_version, s.sent_serial, s.sent_at) for s in holding.slots] == [
        ("web", "2", "c", 2.0),
        ("db", "1", "b", 1.0),
    ]
    assert holding.take(message(b"3", db), 3.0) == [Part("web", "")]
    assert holding.take(message(b"4", db), 4.0) == [], "only a hint changed"
    assert [slot.name for slot in holding.slots] == ["db"]


def test_two_identities_with_one_spiffe_id_show_as_the_first() -> None:
    holding = Holding()
    first, second = Part("web", "1", "a"), Part("web", "2", "b")
    assert holding.take(message(b"1", first, second), 1.0) == [first]
    assert holding.take(message(b"2", first, second), 2.0) == []


@given(st.lists(st.sampled_from([b"1", b"2", b"3"]), max_size=20))
def test_no_two_equal_messages_in_a_row(offered: list[bytes]) -> None:
    holding, sent = Holding(), []
    for digest in offered:
        if holding.news(message(digest)):
            holding.take(message(digest), 0.0)
            sent.append(digest)
    assert all(a != b for a, b in pairwise(sent))
    assert sent[-1:] == offered[-1:]


def test_places_are_given_back_whatever_happens() -> None:
    places = Places(1)
    with pytest.raises(RuntimeError), places.one():
        assert places.full
        with pytest.raises(LimitExceeded), places.one():
            pass
        raise RuntimeError
    assert not places.full


def test_federated_bundles_are_in_order_and_empty_ones_left_out() -> None:
    other = DomainBundle(TrustDomain("a.test"), b"")
    built = Trust.build(domain_bundle(AUTHORITY), [domain_bundle(FOREIGN), other])
    assert [b.trust_domain.name for b in built.bundles.federated] == ["partner.test"]
