"""What the responder signs is what the library would have written, and verifies as RFC 6960 wants it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st

from ca.authority import SigningAuthority
from ca.errors import AuthorityUnavailable, CertificateMismatch, InvalidSvid
from ca.keys import KeyType, PrivateKey, generate
from ca.ocsp.certificate import issue, prepare
from ca.ocsp.request import CertId, parse_request
from ca.ocsp.response import IssuerHashes, Known, Refusal, Responder, Status, key_bits, respond
from ca.revocation import Reason, Revoked
from ca.signer import LocalSigner
from ca.svid import parse_svid
from tests.fakes.ca import TRUST_DOMAIN, make_authority, make_svid, serial_source
from tests.fakes.clock import EPOCH
from tests.unit.ca import der

KEY = generate(KeyType.ECDSA_P256)
LIFETIME = timedelta(days=1)
LATER = EPOCH + timedelta(minutes=10)
ALGORITHMS: tuple[hashes.HashAlgorithm, ...] = (hashes.SHA1(), hashes.SHA256(), hashes.SHA384(), hashes.SHA512())


def make_responder(authority: SigningAuthority, now: datetime = EPOCH) -> Responder:
    signer = LocalSigner.of(KEY)
    prepared = prepare(authority, signer, serial=serial_source(), now=now, lifetime=LIFETIME)
    return issue(prepared, authority, signer)


@pytest.fixture(scope="module", params=KeyType)
def authority(request: pytest.FixtureRequest, keys: Mapping[KeyType, PrivateKey]) -> SigningAuthority:
    return make_authority(key=keys[request.param], key_type=request.param)


@pytest.fixture(scope="module")
def plain(key: PrivateKey) -> SigningAuthority:
    return make_authority(key=key)


def asked(
    authority: SigningAuthority, leaf: x509.Certificate, algorithm: hashes.HashAlgorithm = ALGORITHMS[1]
) -> CertId:
    request = ocsp.OCSPRequestBuilder().add_certificate(leaf, authority.certificate, algorithm).build()
    return parse_request(request.public_bytes(Encoding.DER)).cert_ids[0]


def leaf_of(authority: SigningAuthority) -> x509.Certificate:
    return x509.load_der_x509_certificate(make_svid(authority=authority).issued.der)


STATUSES: st.SearchStrategy[Status] = st.one_of(
    st.sampled_from(Known),
    st.builds(
        Revoked,
        st.just("01"),
        st.integers(0, 253_000_000_000).map(lambda seconds: datetime.fromtimestamp(seconds + 0.25, UTC)),
        st.sampled_from(Reason),
    ),
)


@settings(max_examples=60)
@given(status=STATUSES, algorithm=st.sampled_from(ALGORITHMS), nonce=st.none() | st.binary(min_size=1, max_size=128))
def test_the_library_would_have_written_the_same(
    plain: SigningAuthority, status: Status, algorithm: hashes.HashAlgorithm, nonce: bytes | None
) -> None:
    responder, leaf = make_responder(plain), leaf_of(plain)
    extension = None if nonce is None else der.tlv(der.OCTET_STRING, nonce)
    ours = respond(responder, [(asked(plain, leaf, algorithm), status)], nonce=extension, now=EPOCH, next_update=LATER)
    revoked = isinstance(status, Revoked)
    reason = status.reason.flag if isinstance(status, Revoked) and status.reason is not Reason.UNSPECIFIED else None
    theirs = (
        ocsp.OCSPResponseBuilder()
        .add_response(
            leaf,
            plain.certificate,
            algorithm,
            ocsp.OCSPCertStatus.REVOKED if revoked else ocsp.OCSPCertStatus[status.value.upper()],
            naive(EPOCH),
            naive(LATER),
            naive(status.revoked_at).replace(microsecond=0) if isinstance(status, Revoked) else None,
            reason,
        )
        .responder_id(ocsp.OCSPResponderEncoding.HASH, x509.load_der_x509_certificate(responder.certificate))
        .certificates([x509.load_der_x509_certificate(responder.certificate)])
    )
    if nonce is not None:
        theirs = theirs.add_extension(x509.OCSPNonce(nonce), critical=False)
    witness = theirs.sign(KEY, hashes.SHA256())
    read = ocsp.load_der_ocsp_response(ours)
    assert without_produced_at(read) == without_produced_at(witness)
    assert read.produced_at_utc == EPOCH
    public_key = x509.load_der_x509_certificate(responder.certificate).public_key()
    assert isinstance(public_key, ec.EllipticCurvePublicKey)
    public_key.verify(read.signature, read.tbs_response_bytes, ec.ECDSA(hashes.SHA256()))
    assert read.certificates == witness.certificates


def naive(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)


def without_produced_at(response: ocsp.OCSPResponse) -> bytes:
    """The library takes the time of its answers from the machine's clock."""
    text = response.produced_at_utc.strftime("%Y%m%d%H%M%SZ").encode()
    return response.tbs_response_bytes.replace(text, b"*" * len(text), 1)


def test_one_answer_speaks_of_several_certificates(plain: SigningAuthority) -> None:
    first, second = asked(plain, leaf_of(plain)), asked(plain, leaf_of(plain))
    unknown = replace(first, serial="07")
    statuses: list[tuple[CertId, Status]] = [
        (first, Known.GOOD),
        (second, Revoked(second.serial, EPOCH, Reason.KEY_COMPROMISE)),
        (unknown, Known.UNKNOWN),
    ]
    answer = ocsp.load_der_ocsp_response(
        respond(make_responder(plain), statuses, nonce=None, now=EPOCH, next_update=LATER)
    )
    found = list(answer.responses)
    assert [one.certificate_status.name for one in found] == ["GOOD", "REVOKED", "UNKNOWN"]
    assert [f"{one.serial_number:x}" for one in found][:2] == [first.serial, second.serial]
    assert found[1].revocation_reason is x509.ReasonFlags.key_compromise
    assert all((one.this_update_utc, one.next_update_utc) == (EPOCH, LATER) for one in found)


def test_refusals_are_unsigned_and_read_as_what_they_are() -> None:
    for refusal in Refusal:
        read = ocsp.load_der_ocsp_response(refusal.der)
        assert read.response_status.name == refusal.name


def test_a_responder_is_certified_for_answers_only(authority: SigningAuthority) -> None:
    responder = make_responder(authority)
    certificate = x509.load_der_x509_certificate(responder.certificate)
    certificate.verify_directly_issued_by(authority.certificate)
    extensions = certificate.extensions
    assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.OCSP_SIGNING]
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert not usage.value.key_cert_sign
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert extensions.get_extension_for_class(x509.OCSPNoCheck)
    identifier = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    assert identifier == bytes.fromhex(authority.authority.id)
    assert responder.not_after - responder.not_before <= LIFETIME + timedelta(seconds=10)
    assert certificate.not_valid_after_utc == responder.not_after
    with pytest.raises(InvalidSvid):  # it is nobody
        parse_svid([responder.certificate])


def test_a_tainted_authority_still_answers(plain: SigningAuthority) -> None:
    tainted = SigningAuthority(replace(plain.authority, tainted=True), plain.certificate, plain.signer, plain.subject)
    assert make_responder(tainted).authority_id == plain.authority.id


def test_a_responder_never_outlives_its_authority(plain: SigningAuthority) -> None:
    close = plain.authority.not_after - timedelta(hours=1)
    assert make_responder(plain, close).not_after == plain.authority.not_after
    with pytest.raises(AuthorityUnavailable):
        make_responder(plain, plain.authority.not_after)


def test_what_the_key_signs_wrongly_is_not_handed_out(plain: SigningAuthority) -> None:
    other = make_authority()
    mixed = SigningAuthority(plain.authority, plain.certificate, other.signer, plain.subject)
    with pytest.raises(CertificateMismatch):
        make_responder(mixed)


def test_key_bits_are_what_others_hash(authority: SigningAuthority) -> None:
    identifier = x509.SubjectKeyIdentifier.from_public_key(authority.certificate.public_key())  # SHA-1 over the bits
    hashed = IssuerHashes.of(authority.authority.id, authority.subject, authority.authority.public_key)
    assert hashed.hashes["sha1"][1] == identifier.digest
    assert len(key_bits(authority.authority.public_key)) < len(authority.authority.public_key)
    assert authority.authority.trust_domain == TRUST_DOMAIN
