"""Judges finished certificates: each leaf against its intent before it leaves, each authority before it is used."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from attestation.entry import RESERVED_PATH
from attestation.spiffe_id import SpiffeId
from ca.authority import SigningAuthority
from ca.bundle import TrustBundle
from ca.csr import VerifiedCsr
from ca.errors import AuthorityUnavailable, CertificateMismatch, InvalidSvid
from ca.intent import CertificateIntent
from ca.lifetime import Validity, floor_second
from ca.profile import ProfileName
from ca.serial import serial_hex
from ca.svid import parse_svid
from ca.template import LeafTemplate, sign_all, subject_key_id
from ca.verify import verify_svid

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
_VALIDITY_TAG = 0x30
_EXTENSIONS_TAG = 0xA3


def check_issued(
    leaf: x509.Certificate, der: bytes, intent: CertificateIntent, signing: SigningAuthority, spki: bytes
) -> None:
    """Whether `leaf`, whose encoding is `der`, says exactly what `intent` says. Raises CertificateMismatch.

    1. Version 3, the intended serial, and the intended times, within the authority's own.
    2. The issuer is the authority and the key is the requested one. Both are compared as encoded, each in its place
       (RFC 5280 4.1: issuer before validity, key before extensions), which costs a tenth of decoding them.
    3. The extensions are those of X509-SVID appendix A, no more and no fewer.
    4. The names are one URI, the SPIFFE ID, and the intended DNS names in order.

    It reads by the library's parser, not by what built the certificate, and does not verify the signature: that costs
    more than all else together. `check_authority` proves once that key and authority certificate belong together.
    """
    authority = signing.authority
    facts = (  # 1
        leaf.version is x509.Version.v3
        and leaf.serial_number == int(intent.serial, 16)
        and authority.not_before <= leaf.not_valid_before_utc == intent.not_before
        and authority.not_after >= leaf.not_valid_after_utc == intent.not_after
    )
    if not facts:
        raise CertificateMismatch("serial or validity differs from what was intended")
    if not _follows(der, signing.subject, _VALIDITY_TAG):  # 2
        raise CertificateMismatch("the issuer is not the authority")
    if not _follows(der, spki, _EXTENSIONS_TAG) or hashlib.sha256(spki).hexdigest() != intent.key_hash:
        raise CertificateMismatch("the key differs from the one that was requested")
    extensions = list(leaf.extensions)
    if [extension.oid for extension in extensions] != _LEAF_EXTENSIONS:  # 3
        raise CertificateMismatch("the extensions are not those of a leaf X.509-SVID")
    constraints, usage, purposes, authority_key, subject_key, names = extensions
    _check_purpose(constraints, usage, purposes)
    if authority_key.value.key_identifier.hex() != authority.id or subject_key.value.digest != subject_key_id(spki):
        raise CertificateMismatch("the key identifiers are not those of the authority and of the key")
    wanted = [x509.UniformResourceIdentifier(str(intent.spiffe_id)), *map(x509.DNSName, intent.dns_names)]
    if list(names.value) != wanted:  # 4
        raise CertificateMismatch("the names differ from what was intended")


def _follows(der: bytes, part: bytes, next_tag: int) -> bool:
    """Whether `part` is in `der` and the element after it has the tag `next_tag`."""
    end = der.find(part) + len(part)
    return len(part) <= end < len(der) and der[end] == next_tag


def _check_purpose(constraints: x509.Extension[Any], usage: x509.Extension[Any], purposes: x509.Extension[Any]) -> None:
    key_usage: x509.KeyUsage = usage.value
    sound = (
        constraints.critical
        and constraints.value == _NOT_CA
        and usage.critical
        and key_usage.digital_signature
        and not (key_usage.key_cert_sign or key_usage.crl_sign)
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
    authority = signing.authority
    csr = VerifiedCsr.of_own_key(signing.signer.private_key)
    spiffe_id = SpiffeId(authority.trust_domain, THROW_AWAY_PATH)
    moment = floor_second(now)
    intent = CertificateIntent(
        serial=serial_hex(serial),
        spiffe_id=spiffe_id,
        profile=ProfileName.WORKLOAD,
        key_hash=csr.key_hash,
        not_before=moment,
        not_after=moment + timedelta(seconds=1),
        authority_id=authority.id,
        dns_names=(),
    )
    template = LeafTemplate(authority.trust_domain, signing.certificate)
    validity = Validity(intent.not_before, intent.not_after)
    (leaf,) = sign_all([template.fill(serial, validity, csr, spiffe_id, ())], signing.signer)
    der = leaf.public_bytes(Encoding.DER)
    check_issued(leaf, der, intent, signing, csr.spki)
    svid = parse_svid([der, *authority.chain])
    verify_svid(svid, TrustBundle(authority.trust_domain, (authority.certificate,)), now)
