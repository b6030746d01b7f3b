"""Every byte of a template's certificates is the one that `CertificateBuilder` would have written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.spiffe_id import MAX_ID_BYTES, SpiffeId, TrustDomain
from ca import der
from ca.authority import SigningAuthority
from ca.chains.certificate import authority_certificate
from ca.csr import VerifiedCsr
from ca.errors import AuthorityUnavailable
from ca.keys import KeyType, PrivateKey, PublicKey
from ca.lifetime import Validity
from ca.profile import Profile
from ca.serial import SERIAL_BITS
from ca.signer import LocalSigner, Scheme
from ca.template import LeafTemplate, ToBeSigned, sign_all
from tests.fakes.ca import CLASSICAL, make_authority
from tests.fakes.clock import EPOCH
from tests.unit.ca import oracle

PLAIN = Profile("workload")
ONE = der.integer(1)
LAST_UTC_TIME = datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)
EDGES = [
    datetime(1950, 1, 1, tzinfo=UTC),
    datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC),
    datetime(2000, 2, 29, tzinfo=UTC),
    LAST_UTC_TIME,
    LAST_UTC_TIME + timedelta(seconds=1),
    datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),  # RFC 5280 4.1.2.5: no well-defined expiration
]
ZONES = [UTC, timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))]

moments = st.one_of(
    st.sampled_from(EDGES),
    st.integers(-86_400, 86_400).map(lambda seconds: LAST_UTC_TIME + timedelta(seconds=seconds)),
    st.integers(int(EDGES[0].timestamp()), int(EDGES[-1].timestamp())).map(lambda t: datetime.fromtimestamp(t, UTC)),
)
periods = st.tuples(moments, moments, st.sampled_from(ZONES)).map(
    lambda drawn: (
        Validity(*(moment.astimezone(drawn[2]) for moment in sorted(drawn[:2])))
        if drawn[0].year < 9999 and drawn[1].year < 9999
        else Validity(*sorted(drawn[:2]))
    )
)
# Every number of octets, with and without the octet that keeps a number positive.
serials = st.one_of(
    st.integers(1, SERIAL_BITS).map(lambda bits: (1 << bits) - 1),
    st.integers(0, SERIAL_BITS - 1).map(lambda bits: 1 << bits),
    st.integers(1, (1 << SERIAL_BITS) - 1),
)
segments = st.text("abcXYZ019_-", min_size=1, max_size=40)
paths = st.one_of(
    st.lists(segments, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts)),
    # Around each length that takes an octet more, in the name itself and in what lies around it, and the longest.
    st.one_of(st.integers(60, 140), st.integers(180, 260), st.integers(1990, 2027)).map(lambda size: "/" + "p" * size),
)
labels = st.text("abz09-", min_size=1, max_size=63).filter(lambda label: label[0] != "-" != label[-1])
dns_names = st.one_of(
    st.just(()),
    st.lists(st.lists(labels, min_size=1, max_size=3).map(".".join), max_size=5).map(tuple),
    st.integers(1, 64).map(lambda count: tuple(f"{n}.{'d' * 63}.{'e' * 63}.{'f' * 60}" for n in range(count))),
    st.lists(st.sampled_from(["*.example.org", "a", "A.Example.ORG", "xn--bcher-kva.example"]), max_size=4).map(tuple),
)


@pytest.fixture(scope="module", params=CLASSICAL)
def authority(request: pytest.FixtureRequest, keys: Mapping[KeyType, PrivateKey]) -> SigningAuthority:
    return make_authority(key=keys[request.param], key_type=request.param)


@pytest.fixture(scope="module")
def authority_key(authority: SigningAuthority, keys: Mapping[KeyType, PrivateKey]) -> PrivateKey:
    return keys[authority.authority.key_type]


@pytest.fixture(scope="module")
def template(authority: SigningAuthority) -> LeafTemplate:
    """One for all examples: nothing of a leaf may stay in it."""
    return LeafTemplate(authority, PLAIN)


def same(made: bytes, wanted: x509.Certificate, key: PublicKey, issuer: x509.Certificate) -> None:
    """ECDSA signatures differ each time, so there the parts that are signed are compared."""
    certificate = x509.load_der_x509_certificate(made)
    assert certificate.tbs_certificate_bytes.hex() == wanted.tbs_certificate_bytes.hex()
    assert certificate.signature_algorithm_oid == wanted.signature_algorithm_oid
    certificate.verify_directly_issued_by(issuer)
    if isinstance(key, ec.EllipticCurvePublicKey):
        ours, theirs = len(certificate.signature), len(wanted.signature)
        assert len(made) - ours == len(wanted.public_bytes(oracle.Encoding.DER)) - theirs
    else:
        assert made == wanted.public_bytes(oracle.Encoding.DER)


@settings(max_examples=60, deadline=None)
@given(serial=serials, period=periods, leaf_type=st.sampled_from(CLASSICAL), path=paths, names=dns_names)
def test_a_leaf_is_the_builders(
    template: LeafTemplate,
    authority: SigningAuthority,
    authority_key: PrivateKey,
    keys: Mapping[KeyType, PrivateKey],
    serial: int,
    period: Validity,
    leaf_type: KeyType,
    path: str,
    names: tuple[str, ...],
) -> None:
    spiffe_id = SpiffeId(authority.authority.trust_domain, path)
    public_key = keys[leaf_type].public_key()
    csr = VerifiedCsr.of_public_key(public_key)
    encoded = template.names(spiffe_id, names, key=csr.kind)
    unsigned = template.fill(der.integer(serial), template.period(period), csr, encoded)
    (made,) = sign_all([unsigned], authority.signer)
    rsa = leaf_type.startswith("rsa")
    wanted = oracle.leaf(authority, authority_key, serial, period, public_key, spiffe_id, names, key_encipherment=rsa)
    same(made, wanted, authority.signer.public_key, authority.certificate)


@pytest.mark.parametrize("size", [1, 63, 64, 65, 255])
def test_a_trust_domain_of_any_size(keys: Mapping[KeyType, PrivateKey], key: PrivateKey, size: int) -> None:
    """Its name is in the issuer, the subject and the URI, and is cut in the first two."""
    trust_domain = TrustDomain("t" * size)
    authority_key = keys[KeyType.ED25519]
    authority = make_authority(trust_domain, key=authority_key, key_type=KeyType.ED25519)
    template = LeafTemplate(authority, PLAIN)
    longest = SpiffeId(trust_domain, "/" + "p" * (MAX_ID_BYTES - len(f"spiffe://{trust_domain}/")))
    for spiffe_id in (SpiffeId(trust_domain, "/p"), longest):
        csr = VerifiedCsr.of_own_key(key)
        period = Validity(EPOCH, EPOCH + timedelta(hours=1))
        unsigned = template.fill(ONE, template.period(period), csr, template.names(spiffe_id, (), key=csr.kind))
        (made,) = sign_all([unsigned], authority.signer)
        wanted = oracle.leaf(
            authority, authority_key, 1, period, key.public_key(), spiffe_id, (), key_encipherment=False
        )
        assert made == wanted.public_bytes(oracle.Encoding.DER)


@settings(max_examples=30, deadline=None)
@given(serial=serials, period=periods, trust_domain=st.text("ab.-_09", min_size=1, max_size=255).map(TrustDomain))
def test_an_authoritys_certificate_is_the_builders(
    authority: SigningAuthority, authority_key: PrivateKey, serial: int, period: Validity, trust_domain: TrustDomain
) -> None:
    public_key = authority.signer.public_key
    (made,) = sign_all([authority_certificate(trust_domain, public_key, serial, period)], authority.signer)
    issuer = x509.load_der_x509_certificate(made)
    same(made, oracle.authority_certificate(trust_domain, authority_key, serial, period), public_key, issuer)


def test_the_oracle_can_tell_certificates_apart(
    template: LeafTemplate, authority: SigningAuthority, authority_key: PrivateKey, key: PrivateKey
) -> None:
    """The tests before would prove nothing if everything were the same."""
    spiffe_id, csr = SpiffeId(authority.authority.trust_domain, "/web"), VerifiedCsr.of_own_key(key)
    period = Validity(EPOCH, EPOCH + timedelta(hours=1))
    names = template.names(spiffe_id, (), key=csr.kind)
    (made,) = sign_all([template.fill(ONE, template.period(period), csr, names)], authority.signer)
    for serial, rsa in ((2, False), (1, True)):
        other = oracle.leaf(
            authority, authority_key, serial, period, key.public_key(), spiffe_id, (), key_encipherment=rsa
        )
        with pytest.raises(AssertionError):
            same(made, other, authority.signer.public_key, authority.certificate)


class Careless:
    """A remote key that loses count."""

    def __init__(self, signer: LocalSigner, more: int) -> None:
        self._signer = signer
        self._more = more

    @property
    def public_key(self) -> PublicKey:
        return self._signer.public_key

    def sign(self, messages: Sequence[bytes], *, scheme: Scheme = Scheme.X509) -> list[bytes]:
        return [*self._signer.sign(messages), b"one too many"][: len(messages) + self._more]


@pytest.mark.parametrize("more", [-1, 1])
def test_a_key_that_loses_count_signs_nothing(key: PrivateKey, more: int) -> None:
    messages = [ToBeSigned(b"one"), ToBeSigned(b"two")]
    with pytest.raises(AuthorityUnavailable, match="signatures for 2 certificates"):
        sign_all(messages, Careless(LocalSigner.of(key), more))
    assert len(sign_all(messages, Careless(LocalSigner.of(key), 0))) == 2
