"""Judges finished certificates: each leaf against its intent before it leaves, each authority before it is used."""

from __future__ import annotations

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from ca.errors import CertificateMismatch
from ca.intent import CertificateIntent
from ca.keys import spki_der
from ca.serial import serial_hex

_EXTENSIONS = 6  # basic constraints, key usage, extended key usage, subject and authority key identifier, SAN
_USAGES = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}


def check_issued(leaf: x509.Certificate, intent: CertificateIntent, issuer: x509.Certificate, spki: bytes) -> None:
    """Whether `leaf` says exactly what `intent` says. Raises CertificateMismatch.

    1. Version 3, the intended serial, the authority's name, the intended times, within the authority's own.
    2. The key is the one that the intent names.
    3. The extensions are those of X509-SVID appendix A, no more and no fewer.
    4. The names are one URI, the SPIFFE ID, and the intended DNS names in order.
    """
    extensions = leaf.extensions
    facts = (  # 1
        leaf.version is x509.Version.v3
        and serial_hex(leaf.serial_number) == intent.serial
        and leaf.issuer == issuer.subject
        and leaf.not_valid_before_utc == intent.not_before >= issuer.not_valid_before_utc
        and leaf.not_valid_after_utc == intent.not_after <= issuer.not_valid_after_utc
    )
    if not facts:
        raise CertificateMismatch("serial, issuer or validity differs from what was intended")
    if spki_der(leaf.public_key()) != spki:  # type: ignore[arg-type]  # 2; whatever kind it is, its bytes must agree
        raise CertificateMismatch("the key differs from the one that was requested")
    _check_extensions(extensions, issuer)  # 3
    _check_names(extensions, intent)  # 4


def _check_extensions(extensions: x509.Extensions, issuer: x509.Certificate) -> None:
    constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    purposes = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    authority_key = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    issuer_key = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    sound = (
        len(extensions) == _EXTENSIONS
        and constraints.critical
        and not constraints.value.ca
        and usage.critical
        and usage.value.digital_signature
        and not (usage.value.key_cert_sign or usage.value.crl_sign)
        and set(purposes) == _USAGES
        and authority_key.key_identifier == issuer_key.digest
    )
    if not sound:
        raise CertificateMismatch("the extensions are not those of a leaf X.509-SVID")


def _check_names(extensions: x509.Extensions, intent: CertificateIntent) -> None:
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    wanted = [x509.UniformResourceIdentifier(str(intent.spiffe_id)), *map(x509.DNSName, intent.dns_names)]
    if list(names) != wanted:
        raise CertificateMismatch("the names differ from what was intended")
