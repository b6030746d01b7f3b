"""The judge of finished certificates: it passes what was meant and names every single deviation."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.authority import SigningAuthority
from ca.checks import check_authority, check_issued, check_period, check_svid_rules, check_template
from ca.csr import LeafKey, VerifiedCsr
from ca.errors import AuthorityUnavailable, CertificateMismatch
from ca.intent import CertificateIntent, IssuedCertificate, IssueRequest
from ca.issuer import Prepared
from ca.keys import KeyType, PrivateKey, generate
from ca.lifetime import Validity
from ca.limits.names import NameLimits
from ca.limits.subject import SubjectLimits
from ca.limits.usage import Addresses, Usage
from ca.profile import Profile, ProfileName
from ca.signer import LocalSigner
from ca.template import LeafNames, LeafTemplate, ToBeSigned
from tests.fakes.ca import CLASSICAL, make_authority, make_issuer, serial_source
from tests.fakes.clock import EPOCH

AUTHORITY = make_authority()
KEY = generate(KeyType.ECDSA_P256)
CSR = VerifiedCsr.of_own_key(KEY)
ID = SpiffeId(TrustDomain("example.org"), "/web")
NAMES = [x509.UniformResourceIdentifier(str(ID)), x509.DNSName("a.example.org"), x509.DNSName("b.example.org")]
BEFORE, AFTER = EPOCH, EPOCH + timedelta(hours=1)
PLAIN = Profile("workload")
FULL = Profile(
    "full",
    names=NameLimits(email=("example.org",)),
    subject=SubjectLimits(allowed={"CN": 64}),
    usage=Usage(key_agreement=True, purposes=("1.3.6.1.5.5.7.3.4",)),
    addresses=Addresses(("http://a/{authority}.crl",), ("http://a/ocsp",), ("http://a/ca.cer",)),
)
Texts = tuple[str, ...]
ORGANISATION = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "example.org")
QUALIFIER = x509.NameAttribute(NameOID.DN_QUALIFIER, hashlib.sha256(str(ID).encode()).hexdigest()[:32])
SUBJECT = x509.Name([ORGANISATION, QUALIFIER])
INTENT = CertificateIntent(
    serial="0a0b",
    spiffe_id=ID,
    profile=ProfileName.WORKLOAD,
    key_hash=CSR.key_hash,
    not_before=BEFORE,
    not_after=AFTER,
    authority_id=AUTHORITY.authority.id,
    dns_names=("a.example.org", "b.example.org"),
)


def usage(*, signature: bool = True, cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(signature, False, False, False, False, cert_sign, crl_sign, False, False)


def naive(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)


class Parts:
    """A leaf in pieces, each of which a test may replace."""

    def __init__(self) -> None:
        self.issuer = AUTHORITY.certificate.subject
        self.subject = SUBJECT
        self.public_key = KEY.public_key()
        self.serial = 0x0A0B
        self.before, self.after = BEFORE, AFTER
        self.extensions: list[tuple[x509.ExtensionType, bool]] = [
            (x509.BasicConstraints(False, None), True),
            (usage(), True),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), False),
            (x509.AuthorityKeyIdentifier(bytes.fromhex(AUTHORITY.authority.id), None, None), False),
            (x509.SubjectKeyIdentifier(bytes.fromhex(CSR.key_hash)[:20]), False),
            (x509.SubjectAlternativeName(NAMES), False),
        ]

    def change(self, at: int, value: x509.ExtensionType, critical: bool | None = None) -> None:
        self.extensions[at] = (value, self.extensions[at][1] if critical is None else critical)

    def leaf(self) -> x509.Certificate:
        builder = x509.CertificateBuilder(
            self.issuer,
            self.subject,
            self.public_key,
            self.serial,
            naive(self.before),
            naive(self.after),
        )
        for value, critical in self.extensions:
            builder = builder.add_extension(value, critical)
        return builder.sign(AUTHORITY.signer.private_key, hashes.SHA256())


def judge(parts: Parts, intent: CertificateIntent = INTENT) -> None:
    check_issued(parts.leaf().public_bytes(Encoding.DER), intent, AUTHORITY, PLAIN)


def test_what_was_meant_passes() -> None:
    judge(Parts())


def no(at: int) -> Callable[[Parts], None]:
    return lambda parts: parts.extensions.pop(at) and None  # type: ignore[func-returns-value]


def change(at: int, value: x509.ExtensionType, critical: bool | None = None) -> Callable[[Parts], None]:
    return lambda parts: parts.change(at, value, critical)


def put(name: str, value: object) -> Callable[[Parts], None]:
    return lambda parts: setattr(parts, name, value)


SECOND = timedelta(seconds=1)
OTHER_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody")])
DEVIATIONS: Mapping[str, Callable[[Parts], None]] = {
    "serial": put("serial", 0x0A0C),
    "issuer": put("issuer", OTHER_NAME),
    "no subject": put("subject", x509.Name([])),
    "subject without its qualifier": put("subject", x509.Name([ORGANISATION])),
    "subject the other way round": put("subject", x509.Name([QUALIFIER, ORGANISATION])),
    "subject with a common name": put(
        "subject", x509.Name([ORGANISATION, x509.NameAttribute(NameOID.COMMON_NAME, "web"), QUALIFIER])
    ),
    "subject in another encoding": put(
        "subject",
        x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "example.org", _ASN1Type.PrintableString), QUALIFIER]),
    ),
    "starts earlier": put("before", BEFORE - SECOND),
    "starts later": put("before", BEFORE + SECOND),
    "ends later": put("after", AFTER + SECOND),
    "ends earlier": put("after", AFTER - SECOND),
    "key": put("public_key", generate(KeyType.ECDSA_P256).public_key()),
    "kind of key": put("public_key", generate(KeyType.ED25519).public_key()),
    "is a CA": change(0, x509.BasicConstraints(True, None)),
    "is a CA of depth 0": change(0, x509.BasicConstraints(True, 0)),
    "constraints not critical": change(0, x509.BasicConstraints(False, None), False),
    "no constraints": no(0),
    "signs nothing": change(1, usage(signature=False, cert_sign=False, crl_sign=False)),
    "signs certificates": change(1, usage(cert_sign=True)),
    "signs CRLs": change(1, usage(crl_sign=True)),
    "usage not critical": change(1, usage(), False),
    "no usage": no(1),
    "enciphers with an EC key": change(1, x509.KeyUsage(True, False, True, False, False, False, False, False, False)),
    "agrees on keys": change(1, x509.KeyUsage(True, False, False, False, True, False, False, False, False)),
    "purpose critical": change(
        2, x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), True
    ),
    "server only": change(2, x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])),
    "code signing too": change(
        2,
        x509.ExtendedKeyUsage(
            [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.CODE_SIGNING]
        ),
    ),
    "no purpose": no(2),
    "another authority's key": change(3, x509.AuthorityKeyIdentifier(b"x" * 20, None, None)),
    "no authority key": no(3),
    "another key's identifier": change(4, x509.SubjectKeyIdentifier(b"x" * 20)),
    "another ID": change(5, x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"{ID}x"), *NAMES[1:]])),
    "no ID": change(5, x509.SubjectAlternativeName(NAMES[1:])),
    "two IDs": change(5, x509.SubjectAlternativeName([NAMES[0], *NAMES])),
    "ID as a DNS name": change(5, x509.SubjectAlternativeName([x509.DNSName(str(ID)), *NAMES[1:]])),
    "DNS name missing": change(5, x509.SubjectAlternativeName(NAMES[:2])),
    "DNS name more": change(5, x509.SubjectAlternativeName([*NAMES, x509.DNSName("server.sds.internal")])),
    "DNS names swapped": change(5, x509.SubjectAlternativeName([NAMES[0], NAMES[2], NAMES[1]])),
    "no names": no(5),
    "one extension more": lambda parts: parts.extensions.append((x509.OCSPNoCheck(), False)),
    "unknown critical extension": lambda parts: parts.extensions.append(
        (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)
    ),
}


@pytest.mark.parametrize("deviation", DEVIATIONS.values(), ids=DEVIATIONS)
def test_every_deviation_is_found(deviation: Callable[[Parts], None]) -> None:
    parts = Parts()
    deviation(parts)
    with pytest.raises(CertificateMismatch):
        judge(parts)


def full_leaf(*replaced: tuple[int, x509.ExtensionType, bool], subject: x509.Name = SUBJECT) -> x509.Certificate:
    parts = Parts()
    parts.subject = subject
    for at, value, critical in replaced:
        parts.change(at, value, critical)
    return parts.leaf()


SERVERS_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Server.SDS.internal")])
TLS = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
BROKEN_RULES: Mapping[str, x509.Certificate] = {
    "is a CA": full_leaf((0, x509.BasicConstraints(True, None), True)),
    "constraints not critical": full_leaf((0, x509.BasicConstraints(False, None), False)),
    "usage not critical": full_leaf((1, usage(), False)),
    "does not sign": full_leaf((1, x509.KeyUsage(False, False, True, False, False, False, False, False, False), True)),
    "signs certificates": full_leaf((1, usage(cert_sign=True), True)),
    "signs CRLs": full_leaf((1, usage(crl_sign=True), True)),
    "not for clients": full_leaf((2, x509.ExtendedKeyUsage(TLS[:1]), False)),
    "not for servers": full_leaf((2, x509.ExtendedKeyUsage(TLS[1:]), False)),
    "answers OCSP": full_leaf((2, x509.ExtendedKeyUsage([*TLS, ExtendedKeyUsageOID.OCSP_SIGNING]), False)),
    "for anything": full_leaf((2, x509.ExtendedKeyUsage([*TLS, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), False)),
    "two URIs": full_leaf((5, x509.SubjectAlternativeName([NAMES[0], NAMES[0]]), False)),
    "no URI": full_leaf((5, x509.SubjectAlternativeName(NAMES[1:]), False)),
    "the server's name": full_leaf(
        (5, x509.SubjectAlternativeName([NAMES[0], x509.DNSName("server.sds.internal")]), False)
    ),
    "the server's mailbox": full_leaf(
        (5, x509.SubjectAlternativeName([NAMES[0], x509.RFC822Name("a@sds.internal")]), False)
    ),
    "the server's name as common name": full_leaf(subject=SERVERS_NAME),
}


@pytest.mark.parametrize("leaf", BROKEN_RULES.values(), ids=BROKEN_RULES)
def test_no_profile_stands_above_the_standard(leaf: x509.Certificate) -> None:
    """Whatever a profile said: X509-SVID 2, 4.1, 4.3, 4.4, and the server's reserved name."""
    with pytest.raises(CertificateMismatch):
        check_svid_rules(leaf, server=False)


def test_the_standard_leaves_profiles_their_room() -> None:
    more = x509.ExtendedKeyUsage([*TLS, ExtendedKeyUsageOID.EMAIL_PROTECTION])
    agrees = x509.KeyUsage(True, False, False, False, True, False, False, False, False)
    check_svid_rules(full_leaf((1, agrees, True), (2, more, False)), server=False)
    check_svid_rules(BROKEN_RULES["the server's name"], server=True)


def test_an_intent_beyond_the_authority_is_found() -> None:
    parts = Parts()
    parts.after = AUTHORITY.authority.not_after + SECOND
    with pytest.raises(CertificateMismatch):
        judge(parts, INTENT._replace(not_after=parts.after))
    parts = Parts()
    parts.before = AUTHORITY.authority.not_before - SECOND
    with pytest.raises(CertificateMismatch):
        judge(parts, INTENT._replace(not_before=parts.before))


def test_a_period_lies_within_the_authoritys() -> None:
    authority = AUTHORITY.authority
    first, last = authority.not_before, authority.not_after
    check_period(Validity(first, last), authority)
    for bad in ((first - SECOND, last), (first, last + SECOND), (last, last), (last, first)):
        with pytest.raises(CertificateMismatch):
            check_period(Validity(*bad), authority)


def test_a_recorded_hash_of_another_key_is_found() -> None:
    with pytest.raises(CertificateMismatch):
        judge(Parts(), INTENT._replace(key_hash="00" * 32))


def test_a_mismatch_never_leaves_and_takes_its_batch_along() -> None:
    """What builds one leaf wrongly is not trusted with the others."""
    issuer = make_issuer()
    request = IssueRequest(ProfileName.WORKLOAD, ID, CSR)
    meant, good = issuer.prepare([request, request], AUTHORITY, EPOCH)
    assert isinstance(good, Prepared)
    assert isinstance(meant, Prepared)
    parts = Parts()
    parts.extensions.append((x509.OCSPNoCheck(), False))
    evil = Prepared(meant.intent, AUTHORITY, PLAIN, ToBeSigned(parts.leaf().tbs_certificate_bytes))
    assert [type(answer) for answer in issuer.issue([evil, good])] == [CertificateMismatch] * 2
    (other,) = issuer.prepare([request], AUTHORITY, EPOCH)
    assert isinstance(other, Prepared)
    (issued,) = issuer.issue([other])
    assert isinstance(issued, IssuedCertificate)


def test_what_cannot_be_read_back_is_found() -> None:
    der = Parts().leaf().public_bytes(Encoding.DER)
    for broken in (b"", der[:-1], der + b"\0", der[:4] + b"\x30\x03" + der[6:]):
        with pytest.raises(CertificateMismatch, match="cannot be read back"):
            check_issued(broken, INTENT, AUTHORITY, PLAIN)


class Template(LeafTemplate):
    """A sound template, of which each class below gets one thing wrong."""


class NoDnsNames(Template):
    def names(
        self, spiffe_id: SpiffeId, dns_names: Texts, extra_sans: Texts = (), subject: str = "", *, key: LeafKey
    ) -> LeafNames:
        return super().names(spiffe_id, dns_names[1:], extra_sans, subject, key=key)


class NoExtraNames(Template):
    def names(
        self, spiffe_id: SpiffeId, dns_names: Texts, extra_sans: Texts = (), subject: str = "", *, key: LeafKey
    ) -> LeafNames:
        return super().names(spiffe_id, dns_names, (), subject, key=key)


class NoSubject(Template):
    def names(
        self, spiffe_id: SpiffeId, dns_names: Texts, extra_sans: Texts = (), subject: str = "", *, key: LeafKey
    ) -> LeafNames:
        return super().names(spiffe_id, dns_names, extra_sans, key=key)


class OneName(Template):
    def names(
        self, spiffe_id: SpiffeId, dns_names: Texts, extra_sans: Texts = (), subject: str = "", *, key: LeafKey
    ) -> LeafNames:
        return super().names(ID, dns_names, extra_sans, subject, key=key)


class WrongUsage(Template):
    def names(
        self, spiffe_id: SpiffeId, dns_names: Texts, extra_sans: Texts = (), subject: str = "", *, key: LeafKey
    ) -> LeafNames:
        return super().names(spiffe_id, dns_names, extra_sans, subject, key=LeafKey.ED25519)


class WrongPeriod(Template):
    def period(self, validity: Validity) -> bytes:
        return super().period(Validity(validity.not_before, validity.not_after - SECOND))


class OneSerial(Template):
    @staticmethod
    def fill(serial: bytes, period: bytes, csr: VerifiedCsr, names: LeafNames) -> ToBeSigned:
        return LeafTemplate.fill(b"\x02\x01\x01", period, csr, names)


class OneKey(Template):
    @staticmethod
    def fill(serial: bytes, period: bytes, csr: VerifiedCsr, names: LeafNames) -> ToBeSigned:
        return LeafTemplate.fill(serial, period, CSR, names)


class OneKeyIdentifier(Template):
    @staticmethod
    def fill(serial: bytes, period: bytes, csr: VerifiedCsr, names: LeafNames) -> ToBeSigned:
        return LeafTemplate.fill(serial, period, csr._replace(key_hash=CSR.key_hash), names)


class WrongLength(Template):
    """Miscounts only what is long."""

    @staticmethod
    def fill(serial: bytes, period: bytes, csr: VerifiedCsr, names: LeafNames) -> ToBeSigned:
        made = LeafTemplate.fill(serial, period, csr, names)
        return made if len(made) < 5000 else ToBeSigned(made[:3] + bytes([made[3] ^ 1]) + made[4:])


def test_a_sound_template_passes() -> None:
    for profile in (PLAIN, FULL):
        check_template(Template(AUTHORITY, profile), AUTHORITY, profile)


@pytest.mark.parametrize("kind", Template.__subclasses__())
def test_a_template_that_gets_one_thing_wrong_is_found(kind: type[Template]) -> None:
    with pytest.raises(CertificateMismatch):
        check_template(kind(AUTHORITY, PLAIN), AUTHORITY, PLAIN)


def test_a_template_of_another_authority_is_found() -> None:
    with pytest.raises(CertificateMismatch, match="issuer"):
        check_template(LeafTemplate(make_authority(), PLAIN), AUTHORITY, PLAIN)


@pytest.mark.parametrize("key_type", CLASSICAL)
def test_every_kind_of_authority_passes_its_trial(keys: Mapping[KeyType, PrivateKey], key_type: KeyType) -> None:
    authority = make_authority(key=keys[key_type], key_type=key_type)
    check_authority(authority, EPOCH + timedelta(milliseconds=1500), serial_source())


def test_an_authority_out_of_its_time_fails_its_trial() -> None:
    for offset in (timedelta(days=91), timedelta(days=-1)):
        with pytest.raises(AuthorityUnavailable):
            check_authority(AUTHORITY, EPOCH + offset, 1)


def bent(**changes: object) -> SigningAuthority:
    return SigningAuthority.open(replace(AUTHORITY.authority, **changes), AUTHORITY.signer)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "00" * 20},
        {"not_after": EPOCH + timedelta(days=1000)},
        {"not_before": EPOCH - timedelta(days=1000)},
        {"trust_domain": TrustDomain("example.com")},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_record_that_differs_from_the_certificate_fails(changes: Mapping[str, object]) -> None:
    with pytest.raises(AuthorityUnavailable):
        check_authority(bent(**changes), EPOCH, 1)


def authority_with(*extensions: tuple[x509.ExtensionType, bool], signer: PrivateKey | None = None) -> SigningAuthority:
    """AUTHORITY's certificate with other extensions, signed by its own key or another."""
    authority = AUTHORITY.authority
    name = AUTHORITY.certificate.subject
    builder = x509.CertificateBuilder(
        name, name, AUTHORITY.signer.public_key, 1, naive(authority.not_before), naive(authority.not_after)
    )
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    key = signer or AUTHORITY.signer.private_key
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
    return SigningAuthority.open(replace(authority, certificate=certificate), AUTHORITY.signer)


CA = (x509.BasicConstraints(True, None), True)
CERT_SIGN = (usage(signature=False, cert_sign=True, crl_sign=True), True)
SKI = (x509.SubjectKeyIdentifier(bytes.fromhex(AUTHORITY.authority.id)), False)
AKI = (x509.AuthorityKeyIdentifier(bytes.fromhex(AUTHORITY.authority.id), None, None), False)
TD_ID = (x509.SubjectAlternativeName([x509.UniformResourceIdentifier("spiffe://example.org")]), False)


def test_the_pieces_of_a_sound_authority_pass() -> None:
    check_authority(authority_with(CA, CERT_SIGN, SKI, AKI, TD_ID), EPOCH, 1)


@pytest.mark.parametrize(
    "extensions",
    [
        (CERT_SIGN, SKI, AKI, TD_ID),
        (CA, SKI, AKI, TD_ID),
        (CA, CERT_SIGN, AKI, TD_ID),
        (CA, CERT_SIGN, SKI, AKI),
        ((x509.BasicConstraints(False, None), True), CERT_SIGN, SKI, AKI, TD_ID),
        ((CA[0], False), CERT_SIGN, SKI, AKI, TD_ID),
        (CA, (usage(), True), SKI, AKI, TD_ID),
        (CA, (usage(cert_sign=True), True), SKI, AKI, TD_ID),
        (CA, (CERT_SIGN[0], False), SKI, AKI, TD_ID),
        (CA, CERT_SIGN, SKI, AKI, (x509.SubjectAlternativeName(NAMES[:1]), False)),
        (CA, CERT_SIGN, SKI, AKI, (x509.SubjectAlternativeName([x509.DNSName("example.org")]), False)),
    ],
)
def test_a_certificate_that_is_no_signing_certificate_fails(
    extensions: tuple[tuple[x509.ExtensionType, bool], ...],
) -> None:
    with pytest.raises(AuthorityUnavailable):
        check_authority(authority_with(*extensions), EPOCH, 1)


def test_a_root_that_another_key_signed_fails() -> None:
    forged = authority_with(CA, CERT_SIGN, SKI, AKI, TD_ID, signer=generate(KeyType.ECDSA_P256))
    with pytest.raises(AuthorityUnavailable):
        check_authority(forged, EPOCH, 1)


def test_a_signer_that_signs_with_another_key_fails() -> None:
    """The custodian claims one key and uses another: only the trial finds out."""
    wrong = generate(KeyType.ECDSA_P256)
    liar = LocalSigner(wrong, AUTHORITY.signer.public_key)
    with pytest.raises(AuthorityUnavailable):
        check_authority(SigningAuthority.open(AUTHORITY.authority, liar), EPOCH, 1)
