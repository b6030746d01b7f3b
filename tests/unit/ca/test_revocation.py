"""Every octet of a list is the one that `CertificateRevocationListBuilder` would have written; nothing odd is read."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from ca.authority import SigningAuthority
from ca.errors import AuthorityUnavailable, InvalidCrl
from ca.keys import KeyType, PrivateKey, generate, signature_hash
from ca.revocation import (
    MAX_CRL_BYTES,
    MAX_NUMBER,
    MAX_REVOKED,
    Reason,
    Revoked,
    build_crl,
    crl_to_be_signed,
    parse_crl,
)
from ca.serial import SERIAL_BITS, random_serial, serial_hex
from ca.signer import LocalSigner
from tests.fakes.ca import make_authority
from tests.fakes.clock import EPOCH
from tests.unit.ca import der

ZONES = [UTC, timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))]
MOMENTS = st.one_of(
    st.sampled_from([datetime(1950, 1, 1, tzinfo=UTC), datetime(2049, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)]),
    st.sampled_from([datetime(2050, 1, 1, tzinfo=UTC), datetime(9998, 12, 31, 23, 59, 59, tzinfo=UTC)]),
    st.integers(-631_065_600, 253_000_000_000).map(lambda seconds: datetime.fromtimestamp(seconds + 0.5, UTC)),
    st.sampled_from(ZONES).map(lambda zone: datetime(2024, 2, 29, 23, 59, 59, tzinfo=zone)),
)
SERIALS = st.one_of(
    st.integers(1, SERIAL_BITS).map(lambda bits: (1 << bits) - 1),
    st.integers(0, SERIAL_BITS - 1).map(lambda bits: 1 << bits),
    st.integers(1, (1 << SERIAL_BITS) - 1),
)
REVOKED = st.builds(Revoked, SERIALS.map(serial_hex), MOMENTS, st.sampled_from(Reason))
LISTS = st.one_of(
    st.lists(REVOKED, max_size=8, unique_by=lambda one: one.serial),
    # Around the lengths that take an octet more.
    st.integers(0, 12).map(lambda count: [Revoked(f"{n + 0x80:040x}"[:40], EPOCH) for n in range(count)]),
)
NUMBERS = st.one_of(st.integers(0, MAX_NUMBER), st.sampled_from([0, 127, 128, 255, 256, MAX_NUMBER]))


@pytest.fixture(scope="module", params=KeyType)
def authority(request: pytest.FixtureRequest, keys: Mapping[KeyType, PrivateKey]) -> SigningAuthority:
    return make_authority(key=keys[request.param], key_type=request.param)


@pytest.fixture(scope="module")
def plain(key: PrivateKey) -> SigningAuthority:
    return make_authority(key=key)


def oracle(
    authority: SigningAuthority,
    key: PrivateKey,
    revoked: Sequence[Revoked],
    number: int,
    this_update: datetime,
    next_update: datetime,
) -> x509.CertificateRevocationList:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(naive(this_update))
        .next_update(naive(next_update))
        .add_extension(x509.AuthorityKeyIdentifier(bytes.fromhex(authority.authority.id), None, None), critical=False)
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    for one in sorted(revoked, key=lambda one: int(one.serial, 16)):
        entry = (
            x509.RevokedCertificateBuilder()
            .serial_number(int(one.serial, 16))
            .revocation_date(naive(one.revoked_at).replace(microsecond=0))
        )
        if one.reason is not Reason.UNSPECIFIED:
            flag = x509.ReasonFlags[one.reason.value.replace("-", "_")]
            entry = entry.add_extension(x509.CRLReason(flag), critical=False)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(key, signature_hash(key))


def naive(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)


@settings(max_examples=60)
@given(revoked=LISTS, number=NUMBERS, span=st.tuples(MOMENTS, MOMENTS))
def test_the_library_would_have_written_the_same(
    authority: SigningAuthority,
    keys: Mapping[KeyType, PrivateKey],
    revoked: Sequence[Revoked],
    number: int,
    span: tuple[datetime, datetime],
) -> None:
    start = min(span).replace(microsecond=0)
    end = max(max(span).replace(microsecond=0), start + timedelta(seconds=1))
    ours = crl_to_be_signed(authority, revoked, number=number, this_update=start, next_update=end)
    theirs = oracle(authority, keys[authority.authority.key_type], revoked, number, start, end)
    assert ours == theirs.tbs_certlist_bytes


def test_a_signed_list_is_read_back(authority: SigningAuthority) -> None:
    revoked = [
        Revoked(serial_hex(random_serial(os.urandom)), EPOCH + timedelta(seconds=number), reason)
        for number, reason in enumerate(Reason)
    ]
    crl = parse_crl(build_crl(authority, reversed(revoked), number=42, now=EPOCH + timedelta(milliseconds=1500)))
    assert (crl.issuer_key_id, crl.number) == (authority.authority.id, 42)
    assert crl.this_update == EPOCH + timedelta(seconds=1)
    assert crl.next_update == authority.authority.not_after
    assert crl.serials == {one.serial for one in revoked}
    assert sorted(crl.revoked()) == sorted(revoked)
    assert crl.signed_by(authority.authority.certificate)


def test_an_empty_list_says_that_nothing_is_revoked(plain: SigningAuthority) -> None:
    crl = parse_crl(build_crl(plain, [], number=0, now=EPOCH))
    assert (crl.serials, crl.revoked(), crl.number) == (frozenset(), [], 0)
    assert crl.signed_by(plain.authority.certificate)


def test_only_the_issuer_has_signed_it(plain: SigningAuthority) -> None:
    crl = parse_crl(build_crl(plain, [], number=1, now=EPOCH))
    assert not crl.signed_by(make_authority().authority.certificate)
    assert not crl.signed_by(b"no certificate")
    forged = parse_crl(crl.der[:-1] + bytes([crl.der[-1] ^ 1]))
    assert not forged.signed_by(plain.authority.certificate)


def test_what_no_list_may_hold_is_not_written(plain: SigningAuthority) -> None:
    too_many = [Revoked(f"{serial:x}", EPOCH) for serial in range(1, MAX_REVOKED + 2)]
    with pytest.raises(ValueError, match="more than"):
        build_crl(plain, too_many, number=1, now=EPOCH)
    for number in (-1, MAX_NUMBER + 1):
        with pytest.raises(ValueError, match="number"):
            build_crl(plain, [], number=number, now=EPOCH)
    largest = build_crl(plain, too_many[:-1], number=1, now=EPOCH)
    assert len(parse_crl(largest).serials) == MAX_REVOKED


def test_a_key_that_does_not_answer_is_an_unavailable_authority(plain: SigningAuthority) -> None:
    class Mute(LocalSigner):
        def sign(self, messages: Sequence[bytes]) -> list[bytes]:
            return []

    mute = Mute(plain.signer.private_key, plain.signer.public_key)  # type: ignore[attr-defined]
    silent = SigningAuthority(plain.authority, plain.certificate, mute, plain.subject)
    with pytest.raises(AuthorityUnavailable):
        build_crl(silent, [], number=1, now=EPOCH)


# Reading what others wrote

Edit = Callable[[x509.CertificateRevocationListBuilder], x509.CertificateRevocationListBuilder]


def foreign(
    *, key_id: bool = True, number: bool = True, edit: Edit = lambda builder: builder, next_update: bool = True
) -> bytes:
    key = generate(KeyType.ECDSA_P256)
    builder = x509.CertificateRevocationListBuilder().issuer_name(x509.Name([])).last_update(naive(EPOCH))
    builder = builder.next_update(naive(EPOCH + timedelta(days=1)))
    if key_id:
        builder = builder.add_extension(x509.AuthorityKeyIdentifier(b"k" * 20, None, None), critical=False)
    if number:
        builder = builder.add_extension(x509.CRLNumber(7), critical=False)
    return edit(builder).sign(key, signature_hash(key)).public_bytes(Encoding.DER)


def entry(serial: int, *extensions: x509.ExtensionType) -> x509.RevokedCertificate:
    builder = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(naive(EPOCH))
    for value in extensions:
        builder = builder.add_extension(value, critical=False)
    return builder.build()


def test_a_plain_foreign_list_is_read() -> None:
    crl = parse_crl(foreign(edit=lambda builder: builder.add_revoked_certificate(entry(255))))
    assert (crl.number, crl.serials) == (7, {"ff"})


POINT = x509.IssuingDistributionPoint(
    full_name=[x509.UniformResourceIdentifier("http://crl.example.org/1")],
    relative_name=None,
    only_contains_user_certs=False,
    only_contains_ca_certs=False,
    only_some_reasons=None,
    indirect_crl=False,
    only_contains_attribute_certs=False,
)


@pytest.mark.parametrize(
    ("what", "unverified"),
    [
        ("nothing", b""),
        ("no DER", b"\x30\x80\x00\x00"),
        ("a certificate", make_authority().authority.certificate),
        ("something after it", foreign() + b"\0"),
        ("too much", b"\x30" + bytes(MAX_CRL_BYTES)),
        ("no issuer key", foreign(key_id=False)),
        ("no number", foreign(number=False)),
        ("a delta", foreign(edit=lambda b: b.add_extension(x509.DeltaCRLIndicator(1), critical=True))),
        ("a part", foreign(edit=lambda b: b.add_extension(POINT, critical=True))),
        (
            "an unknown extension",
            foreign(edit=lambda b: b.add_extension(x509.UnrecognizedExtension(x509.OID_OCSP, b"x"), critical=False)),
        ),
        (
            "an indirect entry",
            foreign(
                edit=lambda b: b.add_revoked_certificate(
                    entry(1, x509.CertificateIssuer([x509.DNSName("other.example.org")]))
                )
            ),
        ),
        (
            "a serial twice",
            foreign(edit=lambda b: b.add_revoked_certificate(entry(5)).add_revoked_certificate(entry(5))),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_full_list_of_one_issuer_is_refused(what: str, unverified: bytes) -> None:
    with pytest.raises(InvalidCrl):
        parse_crl(unverified)


def test_a_list_without_an_end_and_one_of_version_1_are_refused(plain: SigningAuthority) -> None:
    key_id = der.extension("2.5.29.35", der.tlv(der.SEQUENCE, der.tlv(0x80, b"k" * 20)))
    number = der.extension("2.5.29.20", der.integer(3))
    extensions = der.tlv(der.CONTEXT_0, der.tlv(der.SEQUENCE, key_id, number))
    moment, later = der.tlv(0x17, b"250101000000Z"), der.tlv(0x17, b"260101000000Z")
    name, algorithm = der.tlv(der.SEQUENCE), der.tlv(der.SEQUENCE, der.oid(der.ECDSA_SHA256))

    def crl(*parts: bytes) -> bytes:
        return der.tlv(der.SEQUENCE, der.tlv(der.SEQUENCE, *parts), algorithm, der.bits(b"\0"))

    assert parse_crl(crl(der.integer(1), algorithm, name, moment, later, extensions)).number == 3
    for parts in (
        (der.integer(1), algorithm, name, moment, extensions),  # no end
        (der.integer(1), algorithm, name, later, moment, extensions),  # over before it starts
        (algorithm, name, moment, later, extensions),  # version 1 has no extensions
        (der.integer(0), algorithm, name, moment, later, extensions),
    ):
        with pytest.raises(InvalidCrl):
            parse_crl(crl(*parts))
    for serial in (0, -1, 1 << SERIAL_BITS):
        entries = der.tlv(der.SEQUENCE, der.tlv(der.SEQUENCE, der.integer(serial), moment))
        with pytest.raises(InvalidCrl):
            parse_crl(crl(der.integer(1), algorithm, name, moment, later, entries, extensions))


@settings(max_examples=150)
@given(place=st.integers(0, 1023), octet=st.integers(0, 255))
def test_no_altered_list_does_more_than_be_refused(plain: SigningAuthority, place: int, octet: int) -> None:
    sound = build_crl(plain, [Revoked("0102", EPOCH, Reason.SUPERSEDED)], number=9, now=EPOCH)
    at = place % len(sound)
    altered = sound[:at] + bytes([octet]) + sound[at + 1 :]
    try:
        crl = parse_crl(altered)
    except InvalidCrl:
        return
    assert altered == sound or not crl.signed_by(plain.authority.certificate)
