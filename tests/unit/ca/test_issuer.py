"""The two acts, and what every leaf looks like."""

from __future__ import annotations

import copy
import hashlib
import os
import pickle
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.authority import AuthorityState, SigningAuthority
from ca.checks import check_authority
from ca.csr import VerifiedCsr, build_csr, parse_csr
from ca.errors import AlreadyIssued, AuthorityUnavailable, IssuanceRefused
from ca.intent import IssuedCertificate, IssueRequest
from ca.issuer import Issuer, Prepared
from ca.keys import KeyType, PrivateKey, PublicKey, generate, key_hash
from ca.profile import SERVER_DNS, SERVER_PATH, IssuancePolicy, Profile, ProfileName
from ca.self_signed import self_signed_authority
from ca.serial import serial_hex
from ca.signer import LocalSigner, Scheme
from tests.fakes.ca import CLASSICAL, RemoteKey, issue_one, make_authority, make_issuer
from tests.fakes.clock import EPOCH

TD = TrustDomain("example.org")
WEB = SpiffeId(TD, "/web")


@pytest.fixture(scope="module")
def authority(keys: Mapping[KeyType, PrivateKey]) -> SigningAuthority:
    return make_authority(key=generate(KeyType.ECDSA_P256))


@pytest.fixture
def request_(key: PrivateKey) -> IssueRequest:
    return IssueRequest(
        ProfileName.WORKLOAD, WEB, VerifiedCsr.of_own_key(key), ("web.example.org",), timedelta(hours=2)
    )


def prepare_one(request: IssueRequest, authority: SigningAuthority, issuer: Issuer | None = None) -> Prepared:
    (prepared,) = (issuer or make_issuer()).prepare([request], authority, EPOCH)
    assert isinstance(prepared, Prepared)
    return prepared


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


def test_the_intent_holds_all_facts_before_the_key_is_used(
    authority: SigningAuthority, request_: IssueRequest, key: PrivateKey
) -> None:
    remote = RemoteKey(private_key_of(authority))
    watched = SigningAuthority.open(authority.authority, LocalSigner.of(remote))
    issuer = make_issuer()
    prepared = prepare_one(request_, watched, issuer)
    intent = prepared.intent
    assert remote.signatures == 0
    assert (intent.spiffe_id, intent.profile, intent.dns_names) == (WEB, ProfileName.WORKLOAD, ("web.example.org",))
    assert intent.key_hash == key_hash(key.public_key())
    assert intent.authority_id == authority.authority.id
    (issued,) = issuer.issue([prepared])
    assert remote.signatures == 1
    assert isinstance(issued, IssuedCertificate)
    leaf = x509.load_der_x509_certificate(issued.der)
    assert issued.intent is intent
    assert serial_hex(leaf.serial_number) == intent.serial
    assert (leaf.not_valid_before_utc, leaf.not_valid_after_utc) == (intent.not_before, intent.not_after)
    leaf.verify_directly_issued_by(authority.certificate)


def test_a_prepared_certificate_is_signed_once(authority: SigningAuthority, request_: IssueRequest) -> None:
    issuer = make_issuer()
    prepared = prepare_one(request_, authority, issuer)
    issuer.issue([prepared])
    assert prepared.spent
    with pytest.raises(AlreadyIssued):
        issuer.issue([prepared])
    with pytest.raises(AlreadyIssued):
        prepared.take()


def test_a_batch_with_a_spent_one_signs_nothing(authority: SigningAuthority, request_: IssueRequest) -> None:
    remote = RemoteKey(private_key_of(authority))
    watched = SigningAuthority.open(authority.authority, LocalSigner.of(remote))
    issuer = make_issuer()
    spent, fresh = prepare_one(request_, watched, issuer), prepare_one(request_, watched, issuer)
    issuer.issue([spent])
    for batch in ([fresh, spent], [fresh, fresh]):
        with pytest.raises(AlreadyIssued):
            issuer.issue(batch)
    assert remote.signatures == 1
    assert not fresh.spent
    issuer.issue([fresh])


def test_many_threads_cannot_issue_one_twice(authority: SigningAuthority, request_: IssueRequest) -> None:
    issuer = make_issuer()
    for _ in range(20):
        prepared = prepare_one(request_, authority, issuer)
        start, outcomes = threading.Barrier(4), []

        def race(
            prepared: Prepared = prepared, start: threading.Barrier = start, outcomes: list[str] = outcomes
        ) -> None:
            start.wait()
            try:
                issuer.issue([prepared])
            except AlreadyIssued:
                outcomes.append("refused")
            else:
                outcomes.append("issued")

        threads = [threading.Thread(target=race) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == ["issued", "refused", "refused", "refused"]


def test_a_prepared_certificate_cannot_be_copied(authority: SigningAuthority, request_: IssueRequest) -> None:
    prepared = prepare_one(request_, authority)
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="signed at most once"):
            attempt(prepared)
    assert "spent=False" in repr(prepared)


def test_a_batch_answers_each_request_in_its_place(authority: SigningAuthority, key: PrivateKey) -> None:
    csr = VerifiedCsr.of_own_key(key)
    good = IssueRequest(ProfileName.WORKLOAD, WEB, csr)
    bad = [
        IssueRequest(ProfileName.WORKLOAD, SpiffeId(TD, SERVER_PATH), csr),
        IssueRequest(ProfileName.WORKLOAD, SpiffeId(TrustDomain("other"), "/web"), csr),
        IssueRequest(ProfileName.WORKLOAD, WEB, csr, (SERVER_DNS,)),
        IssueRequest(ProfileName.WORKLOAD, WEB, csr, (), timedelta(0)),
    ]
    issuer = make_issuer()
    prepared = issuer.prepare([good, *bad, good], authority, EPOCH)
    assert [type(item) for item in prepared] == [Prepared, *[IssuanceRefused] * 4, Prepared]
    issued = issuer.issue([item for item in prepared if isinstance(item, Prepared)])
    assert len({item.intent.serial for item in issued if isinstance(item, IssuedCertificate)}) == 2
    assert issuer.prepare([], authority, EPOCH) == issuer.issue([]) == []


def test_a_batch_may_span_a_change_of_authority(authority: SigningAuthority, request_: IssueRequest) -> None:
    """Each is signed by the authority that it was prepared for."""
    other = make_authority()
    issuer = make_issuer()
    order = [authority, other, authority]
    issued = issuer.issue([prepare_one(request_, which, issuer) for which in order])
    for which, item in zip(order, issued, strict=True):
        assert isinstance(item, IssuedCertificate)
        assert item.intent.authority_id == which.authority.id
        x509.load_der_x509_certificate(item.der).verify_directly_issued_by(which.certificate)


@pytest.mark.parametrize("profile", [ProfileName.AGENT, ProfileName.SERVER])
def test_agents_and_the_server(authority: SigningAuthority, key: PrivateKey, profile: ProfileName) -> None:
    path = "/sds/agent/join_token/0a" if profile is ProfileName.AGENT else SERVER_PATH
    request = IssueRequest(profile, SpiffeId(TD, path), VerifiedCsr.of_own_key(key))
    issued = issue_one(request, authority)
    assert issued.intent.dns_names == ((SERVER_DNS,) if profile is ProfileName.SERVER else ())
    leaf = x509.load_der_x509_certificate(issued.der)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == list(issued.intent.dns_names)


@pytest.mark.parametrize("state", [AuthorityState.PREPARED, AuthorityState.OLD])
def test_only_an_active_authority_signs(request_: IssueRequest, state: AuthorityState) -> None:
    authority = make_authority(state=state)
    (answer,) = make_issuer().prepare([request_], authority, EPOCH)
    assert isinstance(answer, AuthorityUnavailable)


def test_an_expired_authority_signs_nothing(authority: SigningAuthority, request_: IssueRequest) -> None:
    for offset in (timedelta(days=91), timedelta(days=-1)):
        (answer,) = make_issuer().prepare([request_], authority, EPOCH + offset)
        assert isinstance(answer, AuthorityUnavailable)


def test_a_leaf_never_outlives_its_authority(authority: SigningAuthority, key: PrivateKey) -> None:
    late = EPOCH + timedelta(days=89, hours=23)
    request = IssueRequest(ProfileName.WORKLOAD, WEB, VerifiedCsr.of_own_key(key), ttl=timedelta(days=2))
    issuer = make_issuer(IssuancePolicy(issuer_margin=timedelta(minutes=10)))
    assert issue_one(request, authority, late, issuer).intent.not_after == EPOCH + timedelta(days=90, minutes=-10)


def test_limits_come_from_the_policy(authority: SigningAuthority, key: PrivateKey) -> None:
    seconds = Profile(ProfileName.WORKLOAD, timedelta(seconds=5), timedelta(seconds=2), timedelta(seconds=8))
    issuer = make_issuer(IssuancePolicy(profiles={ProfileName.WORKLOAD: seconds}, backdate=timedelta(seconds=1)))
    later = EPOCH + timedelta(days=1)
    csr = VerifiedCsr.of_own_key(key)
    for ttl, lasts in ((None, 5), (timedelta(seconds=3), 3), (timedelta(hours=1), 8)):
        intent = issue_one(IssueRequest(ProfileName.WORKLOAD, WEB, csr, ttl=ttl), authority, later, issuer).intent
        assert intent.not_after == later + timedelta(seconds=lasts)
        assert later - timedelta(seconds=2) <= intent.not_before <= later


def test_a_key_that_does_not_answer_fails_its_batch_only(authority: SigningAuthority, request_: IssueRequest) -> None:
    remote = RemoteKey(generate(KeyType.ECDSA_P256))
    away = make_authority(key=remote)
    remote.broken = True
    issuer = make_issuer()
    batch = [prepare_one(request_, which, issuer) for which in (away, authority)]
    gone, issued = issuer.issue(batch)
    assert isinstance(gone, AuthorityUnavailable)
    assert isinstance(issued, IssuedCertificate)


def test_serials_are_the_sources(authority: SigningAuthority, request_: IssueRequest) -> None:
    serials = iter([7, (1 << 159) - 1])
    issuer = Issuer(IssuancePolicy(), lambda: next(serials))
    assert prepare_one(request_, authority, issuer).intent.serial == "07"
    assert prepare_one(request_, authority, issuer).intent.serial == "7f" + "ff" * 19


@pytest.mark.parametrize("serial", [0, -1, 1 << 159])
def test_a_source_that_breaks_its_promise_issues_nothing(
    authority: SigningAuthority, request_: IssueRequest, serial: int
) -> None:
    with pytest.raises(ValueError, match="serial source"):
        Issuer(IssuancePolicy(), lambda: serial).prepare([request_], authority, EPOCH)


def leaf_of(issued: IssuedCertificate) -> x509.Certificate:
    return x509.load_der_x509_certificate(issued.der)


def names_of(issued: IssuedCertificate) -> list[x509.GeneralName]:
    return list(leaf_of(issued).extensions.get_extension_for_class(x509.SubjectAlternativeName).value)


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


def certified_as(authority: SigningAuthority, name: x509.Name, *, key_identifier: bool = True) -> SigningAuthority:
    """The same key under another certificate."""
    record, key = authority.authority, authority.signer.public_key
    before, after = (when.replace(tzinfo=None) for when in (record.not_before, record.not_after))
    builder = x509.CertificateBuilder(name, name, key, 1, before, after)
    if key_identifier:
        identifier = x509.SubjectKeyIdentifier(bytes.fromhex(record.id))
        builder = builder.add_extension(identifier, critical=False)
    certificate = builder.sign(private_key_of(authority), hashes.SHA256()).public_bytes(Encoding.DER)
    return SigningAuthority.open(replace(record, certificate=certificate), authority.signer)


def private_key_of(authority: SigningAuthority) -> PrivateKey:
    assert isinstance(authority.signer, LocalSigner)
    return authority.signer.private_key


class RemoteSigner:
    """A key that lives elsewhere and knows nothing but how to sign: what PKCS #11 and Vault Transit offer."""

    def __init__(self, key: PrivateKey) -> None:
        self._elsewhere = LocalSigner.of(key)
        self.batches: list[int] = []

    @property
    def public_key(self) -> PublicKey:
        return self._elsewhere.public_key

    def sign(self, messages: Sequence[bytes], *, scheme: Scheme = Scheme.X509) -> list[bytes]:
        self.batches.append(len(messages))
        return self._elsewhere.sign(messages, scheme=scheme)


@pytest.mark.parametrize("key_type", CLASSICAL)
def test_a_key_that_only_signs_is_enough(
    keys: Mapping[KeyType, PrivateKey], key_type: KeyType, request_: IssueRequest
) -> None:
    """From its own certificate to a batch of leaves, each batch in one call."""
    signer = RemoteSigner(keys[key_type])
    record = self_signed_authority(
        TD, signer, key_ref="remote:1", key_type=key_type, serial=7, now=EPOCH, lifetime=timedelta(days=1)
    )
    authority = SigningAuthority.open(record.activated(EPOCH), signer)
    check_authority(authority, EPOCH, 8)
    issuer = make_issuer()
    prepared = issuer.prepare([request_] * 5, authority, EPOCH)
    issued = issuer.issue([item for item in prepared if isinstance(item, Prepared)])
    for item in issued:
        assert isinstance(item, IssuedCertificate)
        leaf_of(item).verify_directly_issued_by(authority.certificate)
    assert signer.batches == [1, 1, 5]


def test_intermediates_follow_the_leaf(authority: SigningAuthority, request_: IssueRequest) -> None:
    above = os.urandom(16)
    nested = SigningAuthority.open(replace(authority.authority, chain=(above,)), authority.signer)
    issued = issue_one(request_, nested)
    assert issued.chain == (issued.der, above)
    assert issue_one(request_, authority).chain[1:] == ()
