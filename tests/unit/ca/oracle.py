"""What ca.template does, by `x509.CertificateBuilder`: the other witness of every test of its bytes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.authority import SigningAuthority
from ca.keys import PrivateKey, PublicKey, signature_hash
from ca.lifetime import Validity


@dataclass(frozen=True)
class More:
    """What a profile and an entry add to a plain X.509-SVID, in the builder's own terms."""

    first: tuple[tuple[x509.ObjectIdentifier, str], ...] | None = None  # None: the trust domain as organisation
    second: tuple[tuple[x509.ObjectIdentifier, str], ...] = ()
    names: tuple[x509.GeneralName, ...] = ()
    purposes: tuple[x509.ObjectIdentifier, ...] = ()
    extensions: tuple[x509.ExtensionType, ...] = ()
    key_agreement: bool = False


def leaf(
    authority: SigningAuthority,
    authority_key: PrivateKey,
    serial: int,
    validity: Validity,
    public_key: PublicKey,
    spiffe_id: SpiffeId,
    dns_names: tuple[str, ...],
    *,
    key_encipherment: bool,
    more: More = More(),
) -> x509.Certificate:
    authority_key_id = bytes.fromhex(authority.authority.id)
    qualifier = hashlib.sha256(str(spiffe_id).encode()).hexdigest()[:32]
    organisation = ((NameOID.ORGANIZATION_NAME, spiffe_id.trust_domain.name[:64]),)
    subject = [
        *(x509.NameAttribute(*each) for each in (organisation if more.first is None else more.first)),
        *(x509.NameAttribute(*each) for each in more.second),
        x509.NameAttribute(NameOID.DN_QUALIFIER, qualifier),
    ]
    names = [x509.UniformResourceIdentifier(str(spiffe_id)), *map(x509.DNSName, dns_names), *more.names]
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH, *more.purposes]
    usage = _usage(signature=True, encipherment=key_encipherment, agreement=more.key_agreement)
    builder = (
        _builder(x509.Name(subject), authority.certificate.subject, public_key, serial, validity)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier(authority_key_id, None, None), critical=False)
    )
    for extension in more.extensions:
        builder = builder.add_extension(extension, critical=False)
    builder = builder.add_extension(x509.SubjectKeyIdentifier(key_id(public_key)), critical=False).add_extension(
        x509.SubjectAlternativeName(names), critical=False
    )
    return builder.sign(authority_key, signature_hash(authority_key))


def authority_certificate(
    trust_domain: TrustDomain, key: PrivateKey, serial: int, validity: Validity
) -> x509.Certificate:
    identifier = key_id(key.public_key())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, trust_domain.name[:64]),
            x509.NameAttribute(NameOID.COMMON_NAME, f"sds authority {identifier.hex()}"),
        ]
    )
    names = [x509.UniformResourceIdentifier(f"spiffe://{trust_domain.name}")]
    builder = (
        _builder(name, name, key.public_key(), serial, validity)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_usage(cert_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier(identifier), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier(identifier, None, None), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
    )
    return builder.sign(key, signature_hash(key))


def key_id(public_key: PublicKey) -> bytes:
    return hashlib.sha256(public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()[:20]


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: PublicKey, serial: int, validity: Validity
) -> x509.CertificateBuilder:
    before, after = _naive(validity.not_before), _naive(validity.not_after)
    return x509.CertificateBuilder(issuer, subject, public_key, serial, before, after)


def _naive(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)


def _usage(
    *, signature: bool = False, encipherment: bool = False, agreement: bool = False, cert_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(signature, False, encipherment, False, agreement, cert_sign, cert_sign, False, False)
