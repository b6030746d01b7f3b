"""Authorities with ML-DSA keys (FIPS 204, RFC 9881): what they sign, who reads it, and that no leaf has such a key."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from hypothesis import given
from hypothesis import strategies as st

from attestation.spiffe_id import SpiffeId
from ca.authority import SigningAuthority
from ca.bundle import make_bundle, parse_pem, parse_spiffe_json
from ca.checks import check_authority
from ca.csr import VerifiedCsr, build_csr, parse_csr
from ca.errors import AuthorityUnavailable, CsrRefused, InvalidSvid
from ca.intent import IssueRequest
from ca.keys import POST_QUANTUM, KeyType, MlDsaPublicKey, PrivateKey, check_public_key, generate
from ca.lifetime import Validity
from ca.profile import ProfileName
from ca.signer import LocalSigner, Scheme, signature_algorithm
from ca.svid import X509Svid, parse_svid
from ca.verify import verify_svid
from tests.fakes.ca import CLASSICAL, TRUST_DOMAIN, issue_one, make_authority, serial_source
from tests.fakes.clock import EPOCH
from tests.unit.ca import oracle

OIDS = {KeyType.ML_DSA_44: 17, KeyType.ML_DSA_65: 18, KeyType.ML_DSA_87: 19}
"""RFC 9881 section 2: the last arc of 2.16.840.1.101.3.4.3."""
NOON = EPOCH + timedelta(minutes=30)


@pytest.fixture(scope="module", params=sorted(POST_QUANTUM))
def authority(request: pytest.FixtureRequest) -> SigningAuthority:
    return make_authority(key_type=request.param)


def private_key(authority: SigningAuthority) -> PrivateKey:
    assert isinstance(authority.signer, LocalSigner)
    return authority.signer.private_key


def svid_under(authority: SigningAuthority, key_type: KeyType = KeyType.ECDSA_P256) -> X509Svid:
    csr = VerifiedCsr.of_own_key(generate(key_type))
    request = IssueRequest(ProfileName.WORKLOAD, SpiffeId(TRUST_DOMAIN, "/web"), csr, ("web.example.org",))
    return parse_svid(issue_one(request, authority).chain)


def test_the_kinds() -> None:
    assert set(OIDS) == POST_QUANTUM == set(KeyType) - set(CLASSICAL)


def test_the_algorithm_has_no_parameters(authority: SigningAuthority) -> None:
    number = OIDS[authority.authority.key_type]
    assert signature_algorithm(authority.signer.public_key).hex() == f"300b06096086480165030403{number:02x}"
    assert authority.certificate.signature_algorithm_oid.dotted_string == f"2.16.840.1.101.3.4.3.{number}"
    assert authority.certificate.signature_algorithm_parameters is None


def test_the_authoritys_certificate_is_the_builders(authority: SigningAuthority) -> None:
    validity = Validity(authority.authority.not_before, authority.authority.not_after)
    theirs = oracle.authority_certificate(
        TRUST_DOMAIN, private_key(authority), authority.certificate.serial_number, validity
    )
    assert authority.certificate.tbs_certificate_bytes == theirs.tbs_certificate_bytes
    authority.certificate.verify_directly_issued_by(authority.certificate)
    check_authority(authority, EPOCH, serial_source())


@pytest.mark.parametrize("key_type", CLASSICAL)
def test_leaves_of_every_kind_verify(authority: SigningAuthority, key_type: KeyType) -> None:
    svid = svid_under(authority, key_type)
    leaf = x509.load_der_x509_certificate(svid.chain[0])
    leaf.verify_directly_issued_by(authority.certificate)
    verify_svid(svid, make_bundle(TRUST_DOMAIN, [authority.authority.certificate]), NOON)
    with pytest.raises(InvalidSvid):
        verify_svid(svid, make_bundle(TRUST_DOMAIN, [make_authority().authority.certificate]), NOON)


def test_who_is_not_believed(authority: SigningAuthority) -> None:
    """Of another authority of the same kind and name, altered, before its time, after it."""
    svid, bundle = svid_under(authority), make_bundle(TRUST_DOMAIN, [authority.authority.certificate])
    others = [make_authority(key_type=authority.authority.key_type), make_authority()]
    for other in others:
        with pytest.raises(InvalidSvid):
            verify_svid(svid, make_bundle(TRUST_DOMAIN, [other.authority.certificate]), NOON)
        with pytest.raises(InvalidSvid):
            verify_svid(svid_under(other), bundle, NOON)
    verify_svid(svid, make_bundle(TRUST_DOMAIN, [one.authority.certificate for one in (*others, authority)]), NOON)
    for now in (svid.not_before - timedelta(seconds=1), svid.not_after + timedelta(seconds=1)):
        with pytest.raises(InvalidSvid):
            verify_svid(svid, bundle, now)
    altered = bytearray(svid.chain[0])
    altered[-100] ^= 1
    with pytest.raises(InvalidSvid):
        verify_svid(parse_svid([bytes(altered)]), bundle, NOON)


def test_the_librarys_verifier_agrees(authority: SigningAuthority) -> None:
    leaf = x509.load_der_x509_certificate(svid_under(authority).chain[0])
    policy = PolicyBuilder().store(Store([authority.certificate])).time(NOON)
    subjects = policy.build_client_verifier().verify(leaf, []).subjects
    assert subjects is not None
    assert x509.UniformResourceIdentifier("spiffe://example.org/web") in subjects
    assert len(policy.build_server_verifier(x509.DNSName("web.example.org")).verify(leaf, [])) == 2
    with pytest.raises(VerificationError):
        PolicyBuilder().store(Store([make_authority().certificate])).time(NOON).build_client_verifier().verify(leaf, [])


def test_the_bundle_in_both_forms(authority: SigningAuthority) -> None:
    """The JWK is of kind AKP, which a consumer that does not know it skips (SPIFFE Trust Domain and Bundle 4.2.1)."""
    bundle = make_bundle(TRUST_DOMAIN, [authority.authority.certificate])
    assert parse_pem(TRUST_DOMAIN, bundle.pem()).x509_authorities == bundle.x509_authorities
    document = bundle.spiffe_json()
    (key,) = json.loads(document)["keys"]
    assert (key["kty"], key["use"]) == ("AKP", "x509-svid")
    assert key["alg"] == authority.authority.key_type.upper().replace("MLDSA", "ML-DSA")
    assert parse_spiffe_json(TRUST_DOMAIN, document).x509_authorities == bundle.x509_authorities


def test_no_leaf_has_such_a_key(authority: SigningAuthority) -> None:
    with pytest.raises(CsrRefused, match="kind that is not allowed"):
        check_public_key(authority.signer.public_key)
    with pytest.raises(CsrRefused, match="kind that is not allowed"):
        parse_csr(build_csr(private_key(authority)))


def test_no_token_is_signed_by_one(authority: SigningAuthority) -> None:
    with pytest.raises(AuthorityUnavailable, match="only an RSA key"):
        authority.signer.sign([b"m"], scheme=Scheme.PSS_SHA256)


@given(messages=st.lists(st.binary(max_size=300), max_size=4))
def test_a_batch_is_signed_in_order(authority: SigningAuthority, messages: list[bytes]) -> None:
    key = authority.signer.public_key
    assert isinstance(key, MlDsaPublicKey)
    signatures = authority.signer.sign(messages)
    assert len(signatures) == len(messages)
    for message, signature in zip(messages, signatures, strict=True):
        key.verify(signature, message)
        with pytest.raises(InvalidSignature):
            key.verify(signature, message + b"x")
