"""The two acts: what is prepared is signed once, and a batch answers each request in its place."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Mapping, Sequence
from datetime import timedelta

import pytest
from cryptography import x509

from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.authority import AuthorityState, SigningAuthority
from ca.checks import check_authority
from ca.csr import VerifiedCsr
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
from tests.unit.ca.issuing.kit import TD, WEB, leaf_of, prepare_one, private_key_of


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


@pytest.mark.parametrize("state", [AuthorityState.PREPARED, AuthorityState.OLD])
def test_only_an_active_authority_signs(request_: IssueRequest, state: AuthorityState) -> None:
    authority = make_authority(state=state)
    (answer,) = make_issuer().prepare([request_], authority, EPOCH)
    assert isinstance(answer, AuthorityUnavailable)


def test_an_expired_authority_signs_nothing(authority: SigningAuthority, request_: IssueRequest) -> None:
    for offset in (timedelta(days=91), timedelta(days=-1)):
        (answer,) = make_issuer().prepare([request_], authority, EPOCH + offset)
        assert isinstance(answer, AuthorityUnavailable)


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
