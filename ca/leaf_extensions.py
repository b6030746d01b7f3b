"""The extensions and names of leaves as `cryptography` has them: what a template encodes and what a judge expects."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

from attestation.extra_san import ExtraSan, SanKind
from attestation.spiffe_id import SpiffeId
from attestation.subject import Attribute
from ca.csr import LeafKey
from ca.limits.usage import Addresses, Usage
from ca.profile import Profile

_ATTRIBUTES = {
    "CN": NameOID.COMMON_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "L": NameOID.LOCALITY_NAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
    "C": NameOID.COUNTRY_NAME,
    "UID": NameOID.USER_ID,
}


def leaf_extensions(
    profile: Profile, key: LeafKey, authority_id: str, authority_key: bytes
) -> tuple[tuple[x509.ExtensionType, bool], ...]:
    """Each extension that all leaves share, in order, and whether it is critical: all but the last two, which are the
    subject key identifier and the alternative names.
    """
    purposes = x509.ExtendedKeyUsage([x509.ObjectIdentifier(oid) for oid in profile.usage.all_purposes])
    return (
        (x509.BasicConstraints(ca=False, path_length=None), True),  # X509-SVID 4.1
        (key_usage(profile.usage, key), True),  # X509-SVID 4.3
        (purposes, False),  # X509-SVID 4.4
        (x509.AuthorityKeyIdentifier(authority_key, None, None), False),
        *_addresses(profile.addresses.of(authority_id)),
    )


def key_usage(usage: Usage, key: LeafKey) -> x509.KeyUsage:
    """X509-SVID 4.3. Key encipherment is for RSA keys, where TLS 1.2 without forward secrecy may want it; key agreement
    for points (RFC 8813 section 3; not for Ed25519, RFC 8410 section 5).
    """
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=usage.key_encipherment and key.is_rsa,
        data_encipherment=False,
        key_agreement=usage.key_agreement and key.is_ec,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def alternative_names(
    spiffe_id: SpiffeId, dns_names: tuple[str, ...], extra_sans: tuple[str, ...]
) -> x509.SubjectAlternativeName:
    """X509-SVID 2: exactly one URI, the SPIFFE ID; DNS names after it, then what else there is."""
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(str(spiffe_id)), *map(x509.DNSName, dns_names)]
    for extra in map(ExtraSan.parse, extra_sans):
        is_address = extra.kind is SanKind.IP
        names.append(x509.IPAddress(extra.address) if is_address else x509.RFC822Name(extra.value))
    return x509.SubjectAlternativeName(names)


def leaf_subject(attributes: Sequence[Attribute], spiffe_id: SpiffeId) -> x509.Name:
    """The attributes of the profile and the entry, then a qualifier.

    That is the start of the SPIFFE ID's SHA-256, as dnQualifier: RFC 5280 4.1.2.6 wants a subject to name one entity
    under one CA; with the qualifier it does (SPIRE's unique identifier has this purpose). There is no common name
    unless a profile allows one, because verifiers might take it for a host. The subject is not left out, because then
    the SAN had to be critical (X509-SVID 3.1), and because programs that know no SANs (Kafka's ACLs, proxies that log
    subjects) can still tell workloads apart. Nobody should read an identity from it.
    """
    digest = hashlib.sha256(str(spiffe_id).encode()).hexdigest()
    return x509.Name(
        [
            *(x509.NameAttribute(_ATTRIBUTES[name], value) for name, value in attributes),
            x509.NameAttribute(NameOID.DN_QUALIFIER, digest[:32]),
        ]
    )


def _addresses(addresses: Addresses) -> list[tuple[x509.ExtensionType, bool]]:
    found: list[tuple[x509.ExtensionType, bool]] = []
    if addresses.crl:
        points = [
            x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None) for url in addresses.crl
        ]
        found.append((x509.CRLDistributionPoints(points), False))
    access = [
        *((AuthorityInformationAccessOID.OCSP, url) for url in addresses.ocsp),
        *((AuthorityInformationAccessOID.CA_ISSUERS, url) for url in addresses.ca_issuers),
    ]
    if access:
        descriptions = [x509.AccessDescription(oid, x509.UniformResourceIdentifier(url)) for oid, url in access]
        found.append((x509.AuthorityInformationAccess(descriptions), False))
    return found
