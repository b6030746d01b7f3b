"""The certificate of an OCSP responder, issued by the authority that it answers for (RFC 6960 section 4.2.2.2)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ca import der
from ca.authority import SigningAuthority
from ca.errors import CertificateMismatch
from ca.keys import spki_der
from ca.lifetime import BACKDATE, Validity, clamp
from ca.ocsp.response import Responder, sha1_key_hash
from ca.signer import Signer, signature_algorithm
from ca.template import ToBeSigned, sign_all, subject_key_id

PROFILE = "ocsp"
"""How records call such a certificate."""

_V3 = der.tlv(der.VERSION, der.integer(2))
_USAGE = x509.KeyUsage(True, False, False, False, False, False, False, False, False)  # digital signature


@dataclass(frozen=True, slots=True)
class ResponderCertificate:
    """What is to be signed for a responder's key, and what must be recorded before that."""

    serial: int
    validity: Validity
    public_key: bytes = field(repr=False)
    """SubjectPublicKeyInfo, DER."""
    unsigned: ToBeSigned = field(repr=False)

    @property
    def key_hash(self) -> str:
        """As records name the key (ca.keys.key_hash)."""
        return hashlib.sha256(self.public_key).hexdigest()


def prepare(
    signing: SigningAuthority, signer: Signer, *, serial: int, now: datetime, lifetime: timedelta
) -> ResponderCertificate:
    """Build a certificate for the responder's key `signer`. A tainted authority still issues one.

    It may sign OCSP answers and nothing else; it names nobody, so that it is no SVID (X509-SVID 2). Verifiers are told
    not to ask whether it is itself revoked (4.2.2.2.1): it lives for a short time instead. Raises AuthorityUnavailable
    if the authority is about to expire.
    """
    validity = clamp(now, lifetime, signing.authority.validity, backdate=BACKDATE)
    spki = spki_der(signer.public_key)
    key_id = subject_key_id(spki)
    common_name = x509.NameAttribute(NameOID.COMMON_NAME, f"sds OCSP responder {key_id.hex()}")
    extensions = (
        der.extension(x509.BasicConstraints(ca=False, path_length=None), critical=True),
        der.extension(_USAGE, critical=True),
        der.extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING])),
        der.extension(x509.AuthorityKeyIdentifier(bytes.fromhex(signing.authority.id), None, None)),
        der.extension(x509.SubjectKeyIdentifier(key_id)),
        der.extension(x509.OCSPNoCheck()),
    )
    unsigned = der.tlv(
        der.SEQUENCE,
        _V3,
        der.integer(serial),
        signature_algorithm(signing.signer.public_key),
        signing.subject,
        der.tlv(der.SEQUENCE, der.time(validity.not_before), der.time(validity.not_after)),
        x509.Name([common_name]).public_bytes(),
        spki,
        der.tlv(der.EXTENSIONS, der.tlv(der.SEQUENCE, *extensions)),
    )
    return ResponderCertificate(serial, validity, spki, unsigned)


def issue(prepared: ResponderCertificate, signing: SigningAuthority, signer: Signer) -> Responder:
    """Sign what is recorded by now. Raises AuthorityUnavailable, and CertificateMismatch if the result is not sound."""
    (certificate,) = sign_all([prepared.unsigned], signing.signer)
    _check(certificate, prepared, signing)
    return Responder(
        authority_id=signing.authority.id,
        certificate=certificate,
        signer=signer,
        key_hash=sha1_key_hash(prepared.public_key),
        not_before=prepared.validity.not_before,
        not_after=prepared.validity.not_after,
    )


def _check(certificate: bytes, prepared: ResponderCertificate, signing: SigningAuthority) -> None:
    """Read it back, and verify that the authority has signed it."""
    try:
        found = x509.load_der_x509_certificate(certificate)
        found.verify_directly_issued_by(signing.certificate)
        key = found.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        purposes = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        constraints = found.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound) as error:
        raise CertificateMismatch("the OCSP responder's certificate does not verify") from error
    sound = (
        found.serial_number == prepared.serial
        and key == prepared.public_key
        and found.not_valid_before_utc == prepared.validity.not_before
        and found.not_valid_after_utc == prepared.validity.not_after
        and list(purposes) == [ExtendedKeyUsageOID.OCSP_SIGNING]
        and not constraints.ca
    )
    if not sound:
        raise CertificateMismatch("the OCSP responder's certificate differs from what was intended")
