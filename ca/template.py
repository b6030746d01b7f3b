"""Certificates before their signature, exactly by the SPIFFE X509-SVID standard, as bytes.

What is the same for all leaves of one authority and one kind of key is encoded once (`LeafTemplate`), what follows from
an identity once for that identity (`LeafNames`); `fill` only puts serial, times and key between them. Names and
extension values are `cryptography`'s own encodings; the frame around them is `ca.der`'s. Tests hold every result
against what `x509.CertificateBuilder` makes of the same facts, byte by byte.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from attestation.spiffe_id import SpiffeId, TrustDomain
from ca import der
from ca.authority import SigningAuthority
from ca.csr import VerifiedCsr
from ca.errors import AuthorityUnavailable
from ca.lifetime import Validity
from ca.signer import Signer, signature_algorithm

SKI_BYTES = 20
MAX_ORGANISATION = 64  # RFC 5280 appendix A.1, ub-organization-name

_V3 = der.tlv(der.VERSION, der.integer(2))

ToBeSigned: TypeAlias = bytes
"""A TBSCertificate, DER: a certificate that lacks only its signature."""


def sign_all(unsigned: Sequence[ToBeSigned], signer: Signer) -> list[bytes]:
    """Sign a batch, in order: certificates, DER. The only place where an authority's key meets a certificate.

    Raises AuthorityUnavailable if the key does not answer, or not with one signature for each.
    """
    algorithm = signature_algorithm(signer.public_key)
    signatures = signer.sign(unsigned)
    if len(signatures) != len(unsigned):
        raise AuthorityUnavailable(f"the key gave {len(signatures)} signatures for {len(unsigned)} certificates")
    return [finished(tbs, algorithm, signature) for tbs, signature in zip(unsigned, signatures, strict=True)]


def finished(unsigned: ToBeSigned, algorithm: bytes, signature: bytes) -> bytes:
    """The Certificate of RFC 5280 section 4.1, DER."""
    bits = der.header(der.BIT_STRING, len(signature) + 1)  # and one octet that says: no unused bits
    length = len(unsigned) + len(algorithm) + len(bits) + 1 + len(signature)
    return b"".join((der.header(der.SEQUENCE, length), unsigned, algorithm, bits, b"\0", signature))


@dataclass(frozen=True, slots=True)
class LeafNames:
    """The parts of a leaf that follow from its identity, its profile and the kind of its key, encoded."""

    dns_names: tuple[str, ...]
    subject: bytes
    extensions: bytes
    """The extensions up to the octets of the subject key identifier."""
    alternative_names: bytes
    """The subject alternative name, which is the last extension."""


class LeafTemplate:
    """Fills in leaves of one trust domain under one authority certificate."""

    __slots__ = ("_extensions", "_issuer", "_organisation", "_rsa_extensions")

    def __init__(self, signing: SigningAuthority) -> None:
        extensions = signing.certificate.extensions
        issuer_ski = extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        authority_key = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_ski)
        self._organisation = _organisation(signing.authority.trust_domain)
        self._issuer = signature_algorithm(signing.signer.public_key) + signing.subject
        self._extensions = _leaf_extensions(authority_key, key_encipherment=False)
        self._rsa_extensions = _leaf_extensions(authority_key, key_encipherment=True)

    def period(self, validity: Validity) -> bytes:
        """Signature algorithm, issuer and validity, encoded. May be kept and used again."""
        return self._issuer + _encoded(validity)

    def names(self, spiffe_id: SpiffeId, dns_names: tuple[str, ...], *, rsa_key: bool) -> LeafNames:
        """The encoded names of leaves for `spiffe_id`, whose key is an RSA key or not. May be kept and used again."""
        subject = x509.Name([self._organisation, _qualifier(spiffe_id)])
        alternative_names = _extension(_names(spiffe_id, dns_names))
        constant = self._rsa_extensions if rsa_key else self._extensions
        length = len(constant) + SKI_BYTES + len(alternative_names)
        sequence = der.header(der.SEQUENCE, length)
        start = der.header(der.EXTENSIONS, len(sequence) + length) + sequence
        return LeafNames(dns_names, subject.public_bytes(), start + constant, alternative_names)

    @staticmethod
    def fill(serial: int, period: bytes, csr: VerifiedCsr, names: LeafNames) -> ToBeSigned:
        """The unsigned leaf; its facts have been judged before (ca.profile, ca.csr, ca.lifetime).

        `period` and `names` are of this template, `names` for the kind of the CSR's key.
        """
        body = b"".join(
            (
                _V3,
                der.integer(serial),
                period,
                names.subject,
                csr.spki,
                names.extensions,
                bytes.fromhex(csr.key_hash[: 2 * SKI_BYTES]),  # subject_key_id(csr.spki)
                names.alternative_names,
            )
        )
        return der.header(der.SEQUENCE, len(body)) + body


def _encoded(validity: Validity) -> bytes:
    """RFC 5280 section 4.1.2.5, DER."""
    return der.tlv(der.SEQUENCE, der.time(validity.not_before), der.time(validity.not_after))


def subject_key_id(spki: bytes) -> bytes:
    """SHA-256 over the SubjectPublicKeyInfo (RFC 7093 section 2, method 4), cut to 20 octets.

    It is thus the start of the key's hash in our records, so a certificate leads to its record by either.
    """
    return hashlib.sha256(spki).digest()[:SKI_BYTES]


def authority_subject(trust_domain: TrustDomain, authority_id: str) -> x509.Name:
    """Unique for each authority: with one name for all, a verifier has to try every authority of that name, and Go
    gives up after 100 signatures (SPIRE #4415).
    """
    name = x509.NameAttribute(NameOID.COMMON_NAME, f"sds authority {authority_id}")
    return x509.Name([_organisation(trust_domain), x509.RelativeDistinguishedName([name])])


def _organisation(trust_domain: TrustDomain) -> x509.RelativeDistinguishedName:
    """The trust domain, for people; cut where the standard cuts."""
    name = trust_domain.name[:MAX_ORGANISATION]
    return x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.ORGANIZATION_NAME, name)])


def _qualifier(spiffe_id: SpiffeId) -> x509.RelativeDistinguishedName:
    """The second part of a leaf's subject: the start of the SPIFFE ID's SHA-256, as dnQualifier.

    RFC 5280 4.1.2.6 wants a subject to name one entity under one CA; with the qualifier it does (SPIRE's unique
    identifier has this purpose). There is no common name, which verifiers might take for a host. The subject is not
    left out, because then the SAN had to be critical (X509-SVID 3.1), and because programs that know no SANs (Kafka's
    ACLs, proxies that log subjects) can still tell workloads apart. Nobody should read an identity from it.
    """
    digest = hashlib.sha256(str(spiffe_id).encode()).hexdigest()
    return x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.DN_QUALIFIER, digest[:32])])


def _names(spiffe_id: SpiffeId, dns_names: tuple[str, ...]) -> x509.SubjectAlternativeName:
    """X509-SVID 2: exactly one URI, the SPIFFE ID; DNS names after it."""
    return x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(spiffe_id)), *map(x509.DNSName, dns_names)])


def _leaf_extensions(authority_key: x509.AuthorityKeyIdentifier, *, key_encipherment: bool) -> bytes:
    """The extensions that all leaves share, and the start of the next one: all of it but the key's identifier."""
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]  # X509-SVID 4.4: both or none
    return (
        _extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)  # X509-SVID 4.1
        + _extension(_key_usage(digital_signature=True, key_encipherment=key_encipherment), critical=True)
        + _extension(x509.ExtendedKeyUsage(usages))
        + _extension(authority_key)
        + _extension(x509.SubjectKeyIdentifier(bytes(SKI_BYTES)))[:-SKI_BYTES]
    )


def _extension(value: x509.ExtensionType, *, critical: bool = False) -> bytes:
    """RFC 5280 section 4.1, DER: what is not critical says so by saying nothing."""
    flag = der.TRUE if critical else b""
    return der.tlv(
        der.SEQUENCE, der.oid(value.oid.dotted_string), flag, der.tlv(der.OCTET_STRING, value.public_bytes())
    )


def _key_usage(
    *,
    digital_signature: bool = False,
    key_encipherment: bool = False,
    key_cert_sign: bool = False,
    crl_sign: bool = False,
) -> x509.KeyUsage:
    """X509-SVID 4.3. Key encipherment is only for RSA keys, where TLS 1.2 without forward secrecy may want it."""
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=key_encipherment,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )
