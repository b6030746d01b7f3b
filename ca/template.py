"""Unsigned certificates, exactly by the SPIFFE X509-SVID standard. Everything that is the same for all certificates of
one profile under one authority is built once.

This is the seam behind which a precompiled encoding can take the builder's place: `LeafTemplate.fill` makes an
`Unsigned`, `sign_all` finishes a batch of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.csr import VerifiedCsr
from ca.keys import PublicKey, signature_hash, spki_der
from ca.lifetime import Validity
from ca.signer import Signer

SKI_BYTES = 20
MAX_ORGANISATION = 64  # RFC 5280 appendix A.1, ub-organization-name


@dataclass(frozen=True, slots=True)
class Unsigned:
    """A certificate that lacks only its signature."""

    builder: x509.CertificateBuilder


def sign_all(unsigned: Sequence[Unsigned], signer: Signer) -> list[x509.Certificate]:
    """Sign a batch, in order. The only place where an authority's key meets a certificate."""
    key = signer.private_key
    digest = signature_hash(signer.public_key)
    return [item.builder.sign(key, digest) for item in unsigned]


class LeafTemplate:
    """Fills in leaves of one trust domain under one authority certificate."""

    __slots__ = ("_base", "_organisation", "_rsa_base")

    def __init__(self, trust_domain: TrustDomain, issuer: x509.Certificate) -> None:
        issuer_ski = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        authority_key = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_ski)
        self._organisation = _organisation(trust_domain)
        self._base = _leaf_base(issuer.subject, authority_key, key_encipherment=False)
        self._rsa_base = _leaf_base(issuer.subject, authority_key, key_encipherment=True)

    def fill(
        self, serial: int, validity: Validity, csr: VerifiedCsr, spiffe_id: SpiffeId, dns_names: tuple[str, ...]
    ) -> Unsigned:
        """The unsigned leaf; its facts have been judged before (ca.profile, ca.csr, ca.lifetime)."""
        base = self._rsa_base if isinstance(csr.public_key, rsa.RSAPublicKey) else self._base
        return Unsigned(
            base.subject_name(x509.Name([self._organisation, _qualifier(spiffe_id)]))
            .public_key(csr.public_key)
            .serial_number(serial)
            .not_valid_before(validity.not_before)
            .not_valid_after(validity.not_after)
            .add_extension(x509.SubjectKeyIdentifier(subject_key_id(csr.spki)), critical=False)
            .add_extension(_names(spiffe_id, dns_names), critical=False)
        )


def authority_certificate(
    trust_domain: TrustDomain, public_key: PublicKey, serial: int, validity: Validity
) -> Unsigned:
    """A self-signed signing certificate (X509-SVID 3.2): CA, keyCertSign and cRLSign, the trust domain's ID as its URI.

    No path length: a nested server may get an intermediate under it.
    """
    key_id = subject_key_id(spki_der(public_key))
    name = authority_subject(trust_domain, key_id.hex())
    return Unsigned(
        x509.CertificateBuilder()
        .issuer_name(name)
        .subject_name(name)
        .public_key(public_key)
        .serial_number(serial)
        .not_valid_before(validity.not_before)
        .not_valid_after(validity.not_after)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier(key_id), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier(key_id, None, None), critical=False)
        .add_extension(_names(trust_domain.id, ()), critical=False)
    )


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


def _leaf_base(
    issuer: x509.Name, authority_key: x509.AuthorityKeyIdentifier, *, key_encipherment: bool
) -> x509.CertificateBuilder:
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]  # X509-SVID 4.4: both or none
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)  # X509-SVID 4.1
        .add_extension(_key_usage(digital_signature=True, key_encipherment=key_encipherment), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(authority_key, critical=False)
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
