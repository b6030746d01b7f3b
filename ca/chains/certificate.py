"""Signing certificates (X509-SVID 3.2) before their signature, as bytes: for an authority that is its own root, for one
below another, and for one that an older authority vouches for.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography import x509

from attestation.spiffe_id import TrustDomain
from ca import der
from ca.keys import PublicKey, spki_der
from ca.lifetime import Validity
from ca.signer import signature_algorithm
from ca.template import ToBeSigned, authority_subject, subject_key_id

_V3 = der.tlv(der.VERSION, der.integer(2))
# Certificate and CRL signing and none of the other seven (X509-SVID 4.3, RFC 5280 section 4.2.1.3).
USAGE = x509.KeyUsage(False, False, False, False, False, True, True, False, False)


@dataclass(frozen=True, slots=True)
class IssuerFacts:
    """What a certificate says of who signs it. `name` and `algorithm` (an AlgorithmIdentifier) are DER."""

    name: bytes = field(repr=False)
    key_id: bytes
    algorithm: bytes = field(repr=False)

    @classmethod
    def of(cls, certificate: x509.Certificate, public_key: PublicKey) -> IssuerFacts:
        """For the holder of `certificate`, whose key is `public_key`."""
        return cls(certificate.subject.public_bytes(), key_identifier(certificate), signature_algorithm(public_key))


def key_identifier(certificate: x509.Certificate) -> bytes:
    """How a certificate's key is named by those below it (RFC 5280 4.2.1.1): as it says itself, or else by SHA-1 over
    the key (4.2.1.2, method 1).
    """
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:
        return x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest


def authority_certificate(
    trust_domain: TrustDomain, public_key: PublicKey, serial: int, validity: Validity
) -> ToBeSigned:
    """A self-signed signing certificate: CA, keyCertSign and cRLSign, the trust domain's ID as its URI.

    No path length: a nested server may get an intermediate under it.
    """
    key_id = subject_key_id(spki_der(public_key))
    name = authority_subject(trust_domain, key_id.hex()).public_bytes()
    itself = IssuerFacts(name, key_id, signature_algorithm(public_key))
    return certificate_below(itself, trust_domain, public_key, serial, validity, path_length=None)


def certificate_below(
    issuer: IssuerFacts,
    trust_domain: TrustDomain,
    public_key: PublicKey,
    serial: int,
    validity: Validity,
    *,
    path_length: int | None,
) -> ToBeSigned:
    """The same for the key of one authority, signed by another's.

    Subject and key identifier follow from the key alone, so that all certificates of one authority, whoever signed
    them, stand above the same leaves.
    """
    spki = spki_der(public_key)
    key_id = subject_key_id(spki)
    extensions = (
        der.extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True),
        der.extension(USAGE, critical=True),
        der.extension(x509.SubjectKeyIdentifier(key_id)),
        der.extension(x509.AuthorityKeyIdentifier(issuer.key_id, None, None)),
        der.extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(trust_domain.id))])),
    )
    return der.tlv(
        der.SEQUENCE,
        _V3,
        der.integer(serial),
        issuer.algorithm,
        issuer.name,
        der.tlv(der.SEQUENCE, der.time(validity.not_before), der.time(validity.not_after)),
        authority_subject(trust_domain, key_id.hex()).public_bytes(),
        spki,
        der.tlv(der.EXTENSIONS, der.tlv(der.SEQUENCE, *extensions)),
    )
