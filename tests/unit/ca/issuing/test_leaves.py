"""What every leaf looks like, and what is remembered for the next one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.authority import SigningAuthority
from ca.csr import VerifiedCsr, build_csr, parse_csr
from ca.errors import AuthorityUnavailable, IssuanceRefused
from ca.intent import IssuedCertificate, IssueRequest
from ca.issuer import Prepared
from ca.keys import KeyType, PrivateKey, generate
from ca.profile import SERVER_DNS, SERVER_PATH, IssuancePolicy, ProfileName
from tests.fakes.ca import CLASSICAL, issue_one, make_authority, make_issuer
from tests.fakes.clock import EPOCH
from tests.unit.ca.issuing.kit import TD, WEB, certified_as, leaf_of, names_of, prepare_one


@pytest.mark.parametrize("key_type", CLASSICAL)
def test_a_leaf_is_exactly_an_x509_svid(
    authority: SigningAuthority, keys: Mapping[KeyType, PrivateKey], key_type: KeyType
) -> None:
    """X509-SVID sections 2 to 4 and appendix A; RFC 5280 sections 4.1 and 4.2."""
    csr = parse_csr(build_csr(keys[key_type]))
    request = IssueRequest(ProfileName.WORKLOAD, WEB, csr, ("web.example.org", "*.web"), timedelta(hours=2))
    leaf = x509.load_der_x509_certificate(issue_one(request, authority).der)
    is_rsa = isinstance(csr.public_key, rsa.RSAPublicKey)

    assert leaf.version is x509.Version.v3
    assert 0 < leaf.serial_number < 1 << 159
    assert leaf.issuer == authority.certificate.subject
    assert leaf.not_valid_before_utc == EPOCH - timedelta(seconds=10)
    assert leaf.not_valid_after_utc == EPOCH + timedelta(hours=2)
    assert leaf.public_key() == csr.public_key
    assert leaf.signature_hash_algorithm is not None
    assert leaf.signature_hash_algorithm.name == "sha256"
    critical = {extension.oid: extension.critical for extension in leaf.extensions}
    assert critical == {
        x509.BasicConstraints.oid: True,
        x509.KeyUsage.oid: True,
        x509.ExtendedKeyUsage.oid: False,
        x509.AuthorityKeyIdentifier.oid: False,
        x509.SubjectKeyIdentifier.oid: False,
        x509.SubjectAlternativeName.oid: False,
    }
    get = leaf.extensions.get_extension_for_class
    assert get(x509.BasicConstraints).value == x509.BasicConstraints(ca=False, path_length=None)
    assert get(x509.KeyUsage).value == x509.KeyUsage(True, False, is_rsa, False, False, False, False, False, False)
    assert list(get(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    assert get(x509.AuthorityKeyIdentifier).value == x509.AuthorityKeyIdentifier(
        bytes.fromhex(authority.authority.id), None, None
    )
    assert get(x509.SubjectKeyIdentifier).value.digest.hex() == csr.key_hash[:40]
    assert list(get(x509.SubjectAlternativeName).value) == [
        x509.UniformResourceIdentifier("spiffe://example.org/web"),
        x509.DNSName("web.example.org"),
        x509.DNSName("*.web"),
    ]


def test_a_subject_names_one_workload_and_is_no_host(authority: SigningAuthority, key: PrivateKey) -> None:
    """RFC 5280 4.1.2.6: unique for each subject entity."""

    def subject(path: str) -> x509.Name:
        request = IssueRequest(ProfileName.WORKLOAD, SpiffeId(TD, path), VerifiedCsr.of_own_key(key))
        return x509.load_der_x509_certificate(issue_one(request, authority).der).subject

    one, same, other = subject("/web"), subject("/web"), subject("/db")
    assert one == same != other
    assert [(a.oid, a.value) for a in one] == [
        (NameOID.ORGANIZATION_NAME, "example.org"),
        (NameOID.DN_QUALIFIER, hashlib.sha256(b"spiffe://example.org/web").hexdigest()[:32]),
    ]


def test_the_longest_names_there_are(key: PrivateKey) -> None:
    """A trust domain of 255 bytes, a SPIFFE ID of 2048 bytes, 64 DNS names of 253 bytes."""
    trust_domain = TrustDomain("a" * 255)
    path = "/" + "p" * (2048 - len("spiffe://") - 255 - 1)
    names = tuple(f"{n:02}" + "a" * 61 + ("." + "b" * 63) * 2 + "." + "c" * 61 for n in range(64))
    request = IssueRequest(ProfileName.WORKLOAD, SpiffeId(trust_domain, path), VerifiedCsr.of_own_key(key), names)
    leaf = x509.load_der_x509_certificate(issue_one(request, make_authority(trust_domain)).der)
    found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert found.get_values_for_type(x509.UniformResourceIdentifier) == [f"spiffe://{trust_domain}{path}"]
    assert len(found.get_values_for_type(x509.DNSName)) == 64


@pytest.mark.parametrize("profile", [ProfileName.AGENT, ProfileName.SERVER])
def test_agents_and_the_server(authority: SigningAuthority, key: PrivateKey, profile: ProfileName) -> None:
    path = "/sds/agent/join_token/0a" if profile is ProfileName.AGENT else SERVER_PATH
    request = IssueRequest(profile, SpiffeId(TD, path), VerifiedCsr.of_own_key(key))
    issued = issue_one(request, authority)
    assert issued.intent.dns_names == ((SERVER_DNS,) if profile is ProfileName.SERVER else ())
    leaf = x509.load_der_x509_certificate(issued.der)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == list(issued.intent.dns_names)


def test_a_leaf_never_outlives_its_authority(authority: SigningAuthority, key: PrivateKey) -> None:
    late = EPOCH + timedelta(days=89, hours=23)
    request = IssueRequest(ProfileName.WORKLOAD, WEB, VerifiedCsr.of_own_key(key), ttl=timedelta(days=2))
    issuer = make_issuer(IssuancePolicy(issuer_margin=timedelta(minutes=10)))
    assert issue_one(request, authority, late, issuer).intent.not_after == EPOCH + timedelta(days=90, minutes=-10)


def test_what_is_remembered_of_one_request_is_never_anothers(keys: Mapping[KeyType, PrivateKey]) -> None:
    """One issuer, and requests that differ in one thing each, twice over: the second time from memory."""
    authority, issuer = make_authority(), make_issuer()
    csrs = [VerifiedCsr.of_own_key(keys[key_type]) for key_type in (KeyType.ECDSA_P256, KeyType.RSA_2048)]
    requests = [
        IssueRequest(ProfileName.WORKLOAD, SpiffeId(TD, path), csr, dns_names, ttl)
        for path in ("/web", "/db")
        for csr in csrs
        for dns_names in ((), ("a.example.org",), ("b.example.org", "a.example.org"))
        for ttl in (None, timedelta(hours=2))
    ]
    for _ in range(2):
        prepared = issuer.prepare(requests, authority, EPOCH)
        issued = issuer.issue([item for item in prepared if isinstance(item, Prepared)])
        for request, item in zip(requests, issued, strict=True):
            assert isinstance(item, IssuedCertificate)
            leaf = leaf_of(item)
            assert names_of(item)[0].value == str(request.spiffe_id)
            assert [name.value for name in names_of(item)[1:]] == list(request.dns_names)
            assert leaf.public_key() == request.csr.public_key
            usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
            assert usage.key_encipherment is isinstance(leaf.public_key(), rsa.RSAPublicKey)
            assert leaf.not_valid_after_utc == EPOCH + (request.ttl or timedelta(hours=1))


def test_a_refusal_of_one_profile_stays_when_another_has_been_allowed(key: PrivateKey) -> None:
    authority, issuer = make_authority(), make_issuer()
    csr, agent = VerifiedCsr.of_own_key(key), SpiffeId(TD, "/sds/agent/1")
    for _ in range(2):
        assert isinstance(prepare_one(IssueRequest(ProfileName.AGENT, agent, csr), authority, issuer), Prepared)
        for refused in (
            IssueRequest(ProfileName.WORKLOAD, agent, csr),
            IssueRequest(ProfileName.SERVER, agent, csr),
            IssueRequest(ProfileName.AGENT, agent, csr, (SERVER_DNS,)),
        ):
            (answer,) = issuer.prepare([refused], authority, EPOCH)
            assert isinstance(answer, IssuanceRefused)


def test_the_next_batch_has_its_own_time(authority: SigningAuthority, request_: IssueRequest) -> None:
    issuer = make_issuer()
    for hours in range(3):
        now = EPOCH + timedelta(hours=hours)
        assert issue_one(request_, authority, now, issuer).intent.not_after == now + timedelta(hours=2)


def test_another_certificate_for_the_same_key_is_another_authority(request_: IssueRequest) -> None:
    """An authority that is certified anew keeps its id, which is its key's."""
    key, issuer = generate(KeyType.ECDSA_P256), make_issuer()
    first = make_authority(key=key)
    again = make_authority(key=key, now=EPOCH + timedelta(seconds=5))
    renamed = certified_as(again, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "renamed")]))
    for authority in (first, renamed, first):
        issued = issue_one(request_, authority, EPOCH + timedelta(hours=1), issuer)
        assert leaf_of(issued).issuer == authority.certificate.subject


def test_an_authority_without_a_key_identifier_issues_nothing(request_: IssueRequest) -> None:
    authority = make_authority()
    bare = certified_as(authority, authority.certificate.subject, key_identifier=False)
    (answer,) = make_issuer().prepare([request_], bare, EPOCH)
    assert isinstance(answer, AuthorityUnavailable)


def test_an_authority_whose_record_differs_from_its_certificate_issues_nothing(request_: IssueRequest) -> None:
    """Found by the template's own trial, before anything is prepared."""
    authority = make_authority()
    bent = SigningAuthority.open(replace(authority.authority, id="00" * 20), authority.signer)
    (answer,) = make_issuer().prepare([request_], bent, EPOCH)
    assert isinstance(answer, AuthorityUnavailable)
    assert "sound certificates" in str(answer)


def test_intermediates_follow_the_leaf(authority: SigningAuthority, request_: IssueRequest) -> None:
    above = os.urandom(16)
    nested = SigningAuthority.open(replace(authority.authority, chain=(above,)), authority.signer)
    issued = issue_one(request_, nested)
    assert issued.chain == (issued.der, above)
    assert issue_one(request_, authority).chain[1:] == ()
