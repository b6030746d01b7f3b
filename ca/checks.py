"""Judges certificates: each template and each authority before it is used, and leaves of each batch before it leaves.

Leaves are put together from encoded parts (ca.template). Everything in them is judged as often as it changes, by a
parser that built nothing:

1. What a template holds and how it joins the parts, once: `check_template` has leaves for sample facts (short and long,
   of each kind of key) read back whole and held against their intents.
2. Names are the library's own encodings of what ca.profile has judged. A period is held against the authority's once
   a batch (`check_period`).
3. What is new in each leaf is a serial, 20 octets of a hash, and a key in the library's own encoding. Their lengths are
   counted, not stated, so no value of theirs can move anything else. The first leaf of each profile in a batch is read
   back whole and held against its intent (`check_issued`); if it differs, nothing of the batch leaves.

So a lone leaf is always judged whole. To do it for each of a batch would cost more than their signatures, and could
find only what 1 has found. Signatures are not verified, which would cost three times as much as to make them:
`check_authority` proves once that key and certificate belong together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from attestation.dns_name import mentions_reserved
from attestation.entry import RESERVED_PATH
from attestation.spiffe_id import SpiffeId
from ca import der
from ca.authority import Authority, SigningAuthority
from ca.bundle import TrustBundle
from ca.chains.checks import check_signing_certificate
from ca.csr import LeafKey, VerifiedCsr
from ca.errors import AuthorityUnavailable, CertificateMismatch, InvalidSvid
from ca.intent import CertificateIntent
from ca.keys import RSA_EXPONENT, KeyType, generate
from ca.leaf_extensions import alternative_names, leaf_extensions, leaf_subject
from ca.lifetime import Validity, floor_second
from ca.limits.usage import CLIENT_AUTH, SERVER_AUTH, purpose_problem
from ca.profile import Profile, ProfileName
from ca.serial import SERIAL_BITS, serial_hex
from ca.signer import signature_algorithm
from ca.svid import parse_svid
from ca.template import LeafTemplate, ToBeSigned, finished, sign_all, subject_key_id
from ca.verify import verify_svid
from ca.weak_keys import MIN_RSA_BITS

THROW_AWAY_PATH = f"{RESERVED_PATH}/throw-away"


class _Sample(NamedTuple):
    """What a sample leaf says."""

    serial: int
    path: str
    dns_names: tuple[str, ...] = ()
    extra_sans: tuple[str, ...] = ()
    subject: str = ""


# The smallest, one past each length that takes another octet, the largest. Templates join; profiles have judged before.
_SAMPLES = (
    _Sample(1, THROW_AWAY_PATH),
    _Sample(0x80, f"{THROW_AWAY_PATH}/{'a' * 120}", ("a.example.org",), ("ip:10.0.0.1",), "CN=a"),
    _Sample(
        0xFF << 64,
        f"{THROW_AWAY_PATH}/{'b' * 250}",
        ("*.example.org", "b.example.org"),
        ("email:b@example.org", "ip:2001:db8::1"),
        f"CN={'b' * 64},OU={'b' * 64}",
    ),
    _Sample(
        (1 << SERIAL_BITS) - 1,
        f"{THROW_AWAY_PATH}/{'c' * 1500}",
        tuple(f"{n}.{'c' * 63}.{'c' * 63}" for n in range(64)),
        tuple(f"ip:10.0.0.{n}" for n in range(1, 65)),
        f"CN=c,UID={'c' * 256},L={'c' * 128}",
    ),
)


def check_issued(leaf_der: bytes, intent: CertificateIntent, signing: SigningAuthority, profile: Profile) -> None:
    """Whether a leaf says exactly what `intent` and its profile say. Raises CertificateMismatch.

    1. It can be read, has version 3, the intended serial, and the intended times, within the authority's own.
    2. The issuer is the authority, and the key is the requested one, of a kind that the profile takes.
    3. The extensions are those of X509-SVID appendix A and the profile's, no more and no fewer.
    4. The names are one URI, the SPIFFE ID, and the intended others in order; the subject is the profile's.
    5. Whatever the profile: it is a leaf, for signatures and for TLS, and only the server's has the server's name.

    It does not verify the signature.
    """
    authority = signing.authority
    try:
        leaf = x509.load_der_x509_certificate(leaf_der)  # 1
        key, extensions = leaf.public_key(), list(leaf.extensions)
    except Exception as error:  # whatever a parser throws, the certificate is none
        raise CertificateMismatch("the certificate cannot be read back") from error
    check_period(Validity(intent.not_before, intent.not_after), authority)
    facts = (
        leaf.version is x509.Version.v3
        and leaf.serial_number == int(intent.serial, 16)
        and leaf.not_valid_before_utc == intent.not_before
        and leaf.not_valid_after_utc == intent.not_after
    )
    if not facts:
        raise CertificateMismatch("serial or validity differs from what was intended")
    if leaf.issuer.public_bytes() != signing.subject:  # 2
        raise CertificateMismatch("the issuer is not the authority")
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if hashlib.sha256(spki).hexdigest() != intent.key_hash:
        raise CertificateMismatch("the key differs from the one that was requested")
    authority_key = bytes.fromhex(authority.id)
    wanted = [  # 3
        *leaf_extensions(profile, LeafKey.of(key), authority.id, authority_key),
        (x509.SubjectKeyIdentifier(subject_key_id(spki)), False),
        (alternative_names(intent.spiffe_id, intent.dns_names, intent.extra_sans), False),
    ]
    _check_extensions(extensions, wanted)
    attributes = profile.subject.attributes(intent.spiffe_id.trust_domain, intent.subject)
    if leaf.subject.public_bytes() != leaf_subject(attributes, intent.spiffe_id).public_bytes():  # 4
        raise CertificateMismatch("the subject differs from what was intended")
    check_svid_rules(leaf, server=profile.holder is ProfileName.SERVER)  # 5


def _check_extensions(
    found: Sequence[x509.Extension[x509.ExtensionType]], wanted: Sequence[tuple[x509.ExtensionType, bool]]
) -> None:
    """Each with its value and whether it is critical, in this order, no more and no fewer."""
    if [extension.oid for extension in found] != [value.oid for value, _ in wanted]:
        raise CertificateMismatch("the extensions are not those of a leaf X.509-SVID")
    for extension, (value, critical) in zip(found, wanted, strict=True):
        if extension.value != value or extension.critical is not critical:
            raise CertificateMismatch(f"the extension {value.oid.dotted_string} is not what was intended")


def check_svid_rules(leaf: x509.Certificate, *, server: bool) -> None:
    """The rules that stand above every profile, each by its clause. Raises CertificateMismatch."""
    get = leaf.extensions.get_extension_for_class
    constraints, usage = get(x509.BasicConstraints), get(x509.KeyUsage)
    if constraints.value.ca or not constraints.critical:  # X509-SVID 4.1
        raise CertificateMismatch("a leaf is no authority")
    bits = usage.value
    signs_others = bits.key_cert_sign or bits.crl_sign
    if not usage.critical or not bits.digital_signature or signs_others:  # X509-SVID 4.3
        raise CertificateMismatch("the key usage is not that of a leaf X.509-SVID")
    purposes = {oid.dotted_string for oid in get(x509.ExtendedKeyUsage).value}
    if not {SERVER_AUTH, CLIENT_AUTH} <= purposes or any(map(purpose_problem, purposes)):  # X509-SVID 4.4
        raise CertificateMismatch("the purposes are not those of a leaf X.509-SVID")
    names = get(x509.SubjectAlternativeName).value
    if len(names.get_values_for_type(x509.UniformResourceIdentifier)) != 1:  # X509-SVID 2
        raise CertificateMismatch("an X.509-SVID has one URI")
    texts = [
        *names.get_values_for_type(x509.DNSName),
        *names.get_values_for_type(x509.RFC822Name),
        *(str(each.value) for each in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)),
    ]
    if not server and any(map(mentions_reserved, texts)):
        raise CertificateMismatch("the server's name is in a certificate that is not the server's")


def check_period(validity: Validity, authority: Authority) -> None:
    """Whether a leaf of this validity lives within its authority's. Raises CertificateMismatch."""
    if not authority.not_before <= validity.not_before < validity.not_after <= authority.not_after:
        raise CertificateMismatch("the validity is not within the authority's")


def check_authority(signing: SigningAuthority, now: datetime, serial: int) -> None:
    """Whether an authority can do its work, tried before its first real certificate. Raises AuthorityUnavailable.

    1. Its certificate is a signing certificate (X509-SVID 3.2, 4.1, 4.3) of this trust domain and this key.
    2. If it names itself as its issuer, it carries its own signature.
    3. A throw-away SVID that it signs says what was intended and verifies against it, or the roots above it.

    The throw-away SVID lasts a second and is for the authority's own key, so a copy of it would help nobody who could
    not sign anything anyway. `serial` is one that is used for nothing else.
    """
    authority = signing.authority
    try:
        _check_authority_certificate(signing)  # 1
        if signing.certificate.issuer == signing.certificate.subject:  # 2
            signing.certificate.verify_directly_issued_by(signing.certificate)
        _try_out(signing, now, serial)  # 3
    except (CertificateMismatch, InvalidSvid, x509.ExtensionNotFound, InvalidSignature, ValueError, TypeError) as error:
        raise AuthorityUnavailable(f"authority {authority.id} does not issue sound certificates: {error}") from error


def _check_authority_certificate(signing: SigningAuthority) -> None:
    authority = signing.authority
    found = check_signing_certificate(authority.certificate, signing.signer.public_key, authority.trust_domain)
    key_id = found.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()
    recorded = authority.id, authority.not_before, authority.not_after
    if (key_id, found.not_valid_before_utc, found.not_valid_after_utc) != recorded:
        raise CertificateMismatch("its certificate is not the recorded signing certificate")


def _try_out(signing: SigningAuthority, now: datetime, serial: int) -> None:
    profile = Profile(ProfileName.WORKLOAD)
    template = LeafTemplate(signing, profile)
    check_template(template, signing, profile)
    csr = VerifiedCsr.of_public_key(signing.signer.public_key)
    moment = floor_second(now)
    validity = Validity(moment, moment + timedelta(seconds=1))
    intent = _intent(signing, profile, csr, _Sample(serial, THROW_AWAY_PATH), validity)
    (leaf,) = sign_all([_fill(template, intent, csr)], signing.signer)
    check_issued(leaf, intent, signing, profile)
    svid = parse_svid([leaf, *signing.authority.chain])
    roots = signing.authority.bundle_certificates
    verify_svid(svid, TrustBundle(signing.authority.trust_domain, roots), now)


def check_template(template: LeafTemplate, signing: SigningAuthority, profile: Profile) -> None:
    """Whether what `template` fills in for sample facts says what was meant. Raises CertificateMismatch.

    The samples are never signed: zeros stand in the signature's place.
    """
    algorithm = signature_algorithm(signing.signer.public_key)
    for csr in sample_keys():
        for sample in _SAMPLES:
            intent = _intent(signing, profile, csr, sample, signing.authority.validity)
            leaf = finished(_fill(template, intent, csr), algorithm, bytes(64))
            check_issued(leaf, intent, signing, profile)


@cache
def sample_keys() -> tuple[VerifiedCsr, ...]:
    """One of each kind; nobody holds their private halves."""
    ours = (generate(each).public_key() for each in (KeyType.ECDSA_P256, KeyType.ECDSA_P384, KeyType.ED25519))
    # Moduli that nobody made of two primes, but encoded like any other, and without small factors, which are refused.
    moduli = (1 << MIN_RSA_BITS) - 23, (1 << 3072) - 3, (1 << 4096) - 5
    theirs = (rsa.RSAPublicNumbers(RSA_EXPONENT, modulus).public_key() for modulus in moduli)
    return tuple(map(VerifiedCsr.of_public_key, (*ours, *theirs)))


def _intent(
    signing: SigningAuthority, profile: Profile, csr: VerifiedCsr, sample: _Sample, validity: Validity
) -> CertificateIntent:
    return CertificateIntent(
        serial=serial_hex(sample.serial),
        spiffe_id=SpiffeId(signing.authority.trust_domain, sample.path),
        profile=profile.name,
        key_hash=csr.key_hash,
        not_before=validity.not_before,
        not_after=validity.not_after,
        authority_id=signing.authority.id,
        dns_names=sample.dns_names,
        extra_sans=sample.extra_sans,
        subject=sample.subject,
    )


def _fill(template: LeafTemplate, intent: CertificateIntent, csr: VerifiedCsr) -> ToBeSigned:
    period = template.period(Validity(intent.not_before, intent.not_after))
    names = template.names(intent.spiffe_id, intent.dns_names, intent.extra_sans, intent.subject, key=csr.kind)
    return template.fill(der.integer(int(intent.serial, 16)), period, csr, names)
