"""Judges certificates: each template and each authority before it is used, and a leaf of each batch before it leaves.

Leaves are put together from encoded parts (ca.template). Everything in them is judged as often as it changes, by a
parser that built nothing:

1. What a template holds and how it joins the parts, once: `check_template` has leaves for sample facts (short and long,
   RSA and not) read back whole and held against their intents.
2. Names are the library's own encodings of what ca.profile has judged. A period is held against the authority's once
   a batch (`check_period`).
3. What is new in each leaf is a serial, 20 octets of a hash, and a key in the library's own encoding. Their lengths are
   counted, not stated, so no value of theirs can move anything else. The first leaf of each batch is read back whole
   and held against its intent (`check_issued`); if it differs, nothing of the batch leaves.

So a lone leaf is always judged whole. To do it for each of a batch would cost more than their signatures, and could
find only what 1 has found. Signatures are not verified, which would cost three times as much as to make them:
`check_authority` proves once that key and certificate belong together.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from attestation.entry import RESERVED_PATH
from attestation.spiffe_id import SpiffeId
from ca.authority import Authority, SigningAuthority
from ca.bundle import TrustBundle
from ca.csr import VerifiedCsr
from ca.errors import AuthorityUnavailable, CertificateMismatch, InvalidSvid
from ca.intent import CertificateIntent
from ca.keys import RSA_EXPONENT, KeyType, generate
from ca.lifetime import Validity, floor_second
from ca.profile import ProfileName
from ca.serial import SERIAL_BITS, serial_hex
from ca.signer import signature_algorithm
from ca.svid import parse_svid
from ca.template import LeafTemplate, ToBeSigned, finished, sign_all, subject_key_id
from ca.verify import verify_svid
from ca.weak_keys import MIN_RSA_BITS

THROW_AWAY_PATH = f"{RESERVED_PATH}/throw-away"

_LEAF_EXTENSIONS = [
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
    ExtensionOID.SUBJECT_KEY_IDENTIFIER,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
]
_USAGES = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
_NOT_CA = x509.BasicConstraints(ca=False, path_length=None)
# Serial, path and DNS names of sample leaves: the smallest, one past each length that takes another octet, the largest.
_SAMPLES = (
    (1, THROW_AWAY_PATH, ()),
    (0x80, f"{THROW_AWAY_PATH}/{'a' * 120}", ("a.example.org",)),
    (0xFF << 64, f"{THROW_AWAY_PATH}/{'b' * 250}", ("*.example.org", "b.example.org")),
    ((1 << SERIAL_BITS) - 1, f"{THROW_AWAY_PATH}/{'c' * 1500}", tuple(f"{n}.{'c' * 63}.{'c' * 63}" for n in range(64))),
)


def check_issued(der: bytes, intent: CertificateIntent, signing: SigningAuthority) -> None:
    """Whether a leaf says exactly what `intent` says. Raises CertificateMismatch.

    1. It can be read, has version 3, the intended serial, and the intended times, within the authority's own.
    2. The issuer is the authority and the key is the requested one.
    3. The extensions are those of X509-SVID appendix A, no more and no fewer.
    4. The names are one URI, the SPIFFE ID, and the intended DNS names in order.

    It does not verify the signature.
    """
    authority = signing.authority
    try:
        leaf = x509.load_der_x509_certificate(der)  # 1
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
    if [extension.oid for extension in extensions] != _LEAF_EXTENSIONS:  # 3
        raise CertificateMismatch("the extensions are not those of a leaf X.509-SVID")
    constraints, usage, purposes, authority_key, subject_key, names = extensions
    _check_purpose(constraints, usage, purposes, rsa_key=isinstance(key, rsa.RSAPublicKey))
    if authority_key.value.key_identifier.hex() != authority.id or subject_key.value.digest != subject_key_id(spki):
        raise CertificateMismatch("the key identifiers are not those of the authority and of the key")
    wanted = [x509.UniformResourceIdentifier(str(intent.spiffe_id)), *map(x509.DNSName, intent.dns_names)]
    if list(names.value) != wanted:  # 4
        raise CertificateMismatch("the names differ from what was intended")


def check_period(validity: Validity, authority: Authority) -> None:
    """Whether a leaf of this validity lives within its authority's. Raises CertificateMismatch."""
    if not authority.not_before <= validity.not_before < validity.not_after <= authority.not_after:
        raise CertificateMismatch("the validity is not within the authority's")


def _check_purpose(
    constraints: x509.Extension[Any], usage: x509.Extension[Any], purposes: x509.Extension[Any], *, rsa_key: bool
) -> None:
    # Digital signature, for RSA keys key encipherment, and none of the other seven (RFC 5280 section 4.2.1.3).
    wanted = x509.KeyUsage(True, False, rsa_key, False, False, False, False, False, False)
    sound = (
        constraints.critical
        and constraints.value == _NOT_CA
        and usage.critical
        and usage.value == wanted
        and not purposes.critical
        and purposes.value == _USAGES
    )
    if not sound:
        raise CertificateMismatch("constraints or usages are not those of a leaf X.509-SVID")


def check_authority(signing: SigningAuthority, now: datetime, serial: int) -> None:
    """Whether an authority can do its work, tried before its first real certificate. Raises AuthorityUnavailable.

    1. Its certificate is a signing certificate (X509-SVID 3.2, 4.1, 4.3) of this trust domain and this key.
    2. If it names itself as its issuer, it carries its own signature.
    3. A throw-away SVID that it signs says what was intended and verifies against it.

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
    authority, certificate = signing.authority, signing.certificate
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    key_id = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    sound = (
        constraints.critical
        and constraints.value.ca
        and usage.critical
        and usage.value.key_cert_sign
        and not usage.value.digital_signature
        and key_id.digest.hex() == authority.id
        and certificate.not_valid_before_utc == authority.not_before
        and certificate.not_valid_after_utc == authority.not_after
    )
    if not sound:
        raise CertificateMismatch("its certificate is not the recorded signing certificate")
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    if list(names) != [x509.UniformResourceIdentifier(str(authority.trust_domain.id))]:
        raise CertificateMismatch("its certificate does not name the trust domain")


def _try_out(signing: SigningAuthority, now: datetime, serial: int) -> None:
    template = LeafTemplate(signing)
    check_template(template, signing)
    csr = VerifiedCsr.of_public_key(signing.signer.public_key)
    moment = floor_second(now)
    intent = _intent(signing, csr, serial, THROW_AWAY_PATH, (), Validity(moment, moment + timedelta(seconds=1)))
    (der,) = sign_all([_fill(template, intent, csr)], signing.signer)
    check_issued(der, intent, signing)
    svid = parse_svid([der, *signing.authority.chain])
    verify_svid(svid, TrustBundle(signing.authority.trust_domain, (signing.authority.certificate,)), now)


def check_template(template: LeafTemplate, signing: SigningAuthority) -> None:
    """Whether what `template` fills in for sample facts says what was meant. Raises CertificateMismatch.

    The samples are never signed: zeros stand in the signature's place.
    """
    algorithm = signature_algorithm(signing.signer.public_key)
    modulus = (1 << MIN_RSA_BITS) - 1  # nobody's key, but encoded like any other
    keys = (generate(KeyType.ECDSA_P256).public_key(), rsa.RSAPublicNumbers(RSA_EXPONENT, modulus).public_key())
    for csr in map(VerifiedCsr.of_public_key, keys):
        for serial, path, dns_names in _SAMPLES:
            intent = _intent(signing, csr, serial, path, dns_names, signing.authority.validity)
            check_issued(finished(_fill(template, intent, csr), algorithm, bytes(64)), intent, signing)


def _intent(
    signing: SigningAuthority, csr: VerifiedCsr, serial: int, path: str, dns_names: tuple[str, ...], validity: Validity
) -> CertificateIntent:
    return CertificateIntent(
        serial=serial_hex(serial),
        spiffe_id=SpiffeId(signing.authority.trust_domain, path),
        profile=ProfileName.WORKLOAD,
        key_hash=csr.key_hash,
        not_before=validity.not_before,
        not_after=validity.not_after,
        authority_id=signing.authority.id,
        dns_names=dns_names,
    )


def _fill(template: LeafTemplate, intent: CertificateIntent, csr: VerifiedCsr) -> ToBeSigned:
    period = template.period(Validity(intent.not_before, intent.not_after))
    names = template.names(intent.spiffe_id, intent.dns_names, rsa_key=csr.rsa_key)
    return template.fill(int(intent.serial, 16), period, csr, names)
