"""The judge of finished certificates: it passes what was meant and names every single deviation."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ca.checks import check_issued, check_period, check_svid_rules
from ca.errors import CertificateMismatch
from ca.intent import CertificateIntent, IssuedCertificate, IssueRequest
from ca.issuer import Prepared
from ca.keys import KeyType, generate
from ca.lifetime import Validity
from ca.profile import ProfileName
from ca.template import ToBeSigned
from tests.fakes.ca import make_issuer
from tests.fakes.clock import EPOCH
from tests.unit.ca.checks.kit import (
    AFTER,
    AUTHORITY,
    BEFORE,
    CSR,
    ID,
    INTENT,
    NAMES,
    ORGANISATION,
    PLAIN,
    QUALIFIER,
    SECOND,
    SUBJECT,
    Parts,
    usage,
)


def judge(parts: Parts, intent: CertificateIntent = INTENT) -> None:
    check_issued(parts.leaf().public_bytes(Encoding.DER), intent, AUTHORITY, PLAIN)


def test_what_was_meant_passes() -> None:
    judge(Parts())
    with pytest.raises(CertificateMismatch):
        judge(Parts(), INTENT._replace(serial="0a0c"))


def no(at: int) -> Callable[[Parts], None]:
    return lambda parts: parts.extensions.pop(at) and None  # type: ignore[func-returns-value]


def change(at: int, value: x509.ExtensionType, critical: bool | None = None) -> Callable[[Parts], None]:
    return lambda parts: parts.change(at, value, critical)


def put(name: str, value: object) -> Callable[[Parts], None]:
    return lambda parts: setattr(parts, name, value)


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
    with pytest.raises(CertificateMismatch):
        check_svid_rules(BROKEN_RULES["the server's name"], server=False)


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
