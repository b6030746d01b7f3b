"""Rules of the SPIFFE standards that no single module keeps: docs/conformance.md names each clause with its test."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.bundle import TrustBundle, parse_spiffe_json
from ca.csr import VerifiedCsr
from ca.errors import InvalidJwtSvid, InvalidSvid
from ca.intent import IssueRequest
from ca.jwk import to_jwk
from ca.jwt_verify import validate
from ca.keys import KeyType, generate
from ca.limits.subject import SubjectLimits
from ca.profile import IssuancePolicy, Profile, default_profiles
from ca.verify import verify_svid
from tests.fakes.ca import TRUST_DOMAIN, issue_one, make_authority, make_bundle_of, make_issuer, make_svid
from tests.fakes.clock import EPOCH
from tests.fakes.jwt import AUDIENCE, bundles_of, forge, issue_jwt, make_jwt_authority

WEB = SpiffeId(TRUST_DOMAIN, "/web")
NAMES = ["example.org", "10.0.0.1", "127.0.0.1", "8.8.8.8", "1.2", "123", "under_score", "-a-", "..dots..", "t" * 255]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name[:20])
def test_a_trust_domain_whose_name_is_an_address_or_no_dns_name_is_like_any_other(name: str) -> None:
    """SPIFFE-ID 2.1: both kinds of SVID and the bundle, with a namesake's bundle as the counter-proof."""
    domain = TrustDomain(name)
    workload = SpiffeId(domain, "/web")
    authority, tokens = make_authority(domain), make_jwt_authority(domain)
    svid = make_svid(str(workload), authority, dns_names=["web.example.org"]).svid
    token = issue_jwt(tokens, str(workload)).token.reveal()
    published = replace(make_bundle_of(authority), jwt_keys=(tokens.key,)).spiffe_json()
    bundle = parse_spiffe_json(domain, published)
    verify_svid(svid, bundle, EPOCH)
    assert svid.spiffe_id == workload
    assert validate(token, {domain: bundle}, AUDIENCE, EPOCH).spiffe_id == workload
    other = parse_spiffe_json(TrustDomain("other.example"), published)
    with pytest.raises(InvalidSvid):
        verify_svid(svid, other, EPOCH)
    with pytest.raises(InvalidJwtSvid):
        validate(token, {other.trust_domain: other}, AUDIENCE, EPOCH)


def test_a_key_for_certificates_verifies_no_token() -> None:
    """JWT-SVID 6.2, Workload API 5.2: same key, same ID, other use."""
    authority = make_jwt_authority()
    for use in ("x509-svid", "sig", "X509-SVID", None):
        entry = {"use": use, "kid": authority.authority.id, **to_jwk(authority.signer.public_key)}
        bundle = parse_spiffe_json(TRUST_DOMAIN, json.dumps({"keys": [entry]}).encode())
        for token in (issue_jwt(authority).token.reveal(), forge(authority, header={"kid": ...})):
            with pytest.raises(InvalidJwtSvid, match="no JWT keys"):
                validate(token, {TRUST_DOMAIN: bundle}, AUDIENCE, EPOCH)
    assert validate(issue_jwt(authority).token.reveal(), bundles_of(authority), AUDIENCE, EPOCH)


def test_a_key_for_tokens_verifies_no_certificate() -> None:
    """X509-SVID 6.2, Workload API 6.2.2: not even with a certificate beside it."""
    authority = make_authority()
    svid = make_svid(authority=authority).svid
    x5c = [base64.b64encode(authority.authority.certificate).decode()]
    entry = {"use": "jwt-svid", "kid": "a", "x5c": x5c, **to_jwk(authority.signer.public_key)}
    bundle = parse_spiffe_json(TRUST_DOMAIN, json.dumps({"keys": [entry]}).encode())
    assert [key.id for key in bundle.jwt_keys] == ["a"]
    with pytest.raises(InvalidSvid, match="no authority"):
        verify_svid(svid, bundle, EPOCH)
    verify_svid(svid, make_bundle_of(authority), EPOCH)


def test_no_leaf_is_without_a_subject_or_its_names_would_have_to_be_critical() -> None:
    """X509-SVID 3.1: a profile that fixes no attribute and allows none leaves the qualifier."""
    bare = Profile("bare", subject=SubjectLimits(()))
    issuer = make_issuer(IssuancePolicy({**default_profiles(), "bare": bare}))
    request = IssueRequest("bare", WEB, VerifiedCsr.of_own_key(generate(KeyType.ECDSA_P256)))
    leaf = x509.load_der_x509_certificate(issue_one(request, make_authority(), issuer=issuer).der)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert len(leaf.subject.rdns) == 1
    assert not names.critical


@pytest.mark.parametrize("members", [{}, {"spiffe_sequence": 3}, {"spiffe_refresh_hint": 60}])
def test_a_bundle_needs_no_more_than_its_keys(members: dict[str, int]) -> None:
    """Trust Domain and Bundle 4.1, 4.1.1, 4.1.2: everything else may be missing."""
    one = make_authority().authority.certificate
    (key,) = json.loads(TrustBundle(TRUST_DOMAIN, (one,)).spiffe_json())["keys"]
    parsed = parse_spiffe_json(TRUST_DOMAIN, json.dumps({"keys": [key], **members}).encode())
    assert parsed.x509_authorities == (one,)
    assert parsed.sequence == members.get("spiffe_sequence", 0)


@given(st.dictionaries(st.text(max_size=8), st.none() | st.integers() | st.text(max_size=8), max_size=5))
def test_members_that_no_standard_names_change_nothing(members: dict[str, object]) -> None:
    """Trust Domain and Bundle 4.1: of the set, and of a key."""
    plain = json.loads(BUNDLE.spiffe_json())
    more = {name: value for name, value in members.items() if name not in ("keys", *plain["keys"][0])}
    odd = {**more, **plain, "keys": [{**more, **plain["keys"][0]}]}
    assert parse_spiffe_json(TRUST_DOMAIN, json.dumps(odd).encode()) == BUNDLE


BUNDLE = TrustBundle(TRUST_DOMAIN, (make_authority().authority.certificate,), 4)
