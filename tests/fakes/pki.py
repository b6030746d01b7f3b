"""A company's own public key infrastructure: roots and intermediates that did not come from this program."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from ca.keys import KeyType, PrivateKey, generate, signature_hash, to_pkcs8_pem
from tests.fakes.clock import EPOCH

YEAR = timedelta(days=365)


@dataclass(frozen=True)
class Holder:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: PrivateKey

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return to_pkcs8_pem(self.key).reveal()


def usage(*, signature: bool = False, cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(signature, False, False, False, False, cert_sign, crl_sign, False, False)


def make(
    name: str,
    issuer: Holder | None = None,
    *,
    ca: bool = True,
    path_length: int | None = None,
    before: datetime = EPOCH - timedelta(days=1),
    after: datetime = EPOCH + YEAR,
    key: PrivateKey | None = None,
    key_type: KeyType = KeyType.ECDSA_P256,
    sans: Iterable[x509.GeneralName] = (),
    key_usage: x509.KeyUsage | None = None,
    key_id: bool = True,
    more: Iterable[tuple[x509.ExtensionType, bool]] = (),
) -> Holder:
    """A certificate; self-signed without an issuer. An authority unless told otherwise."""
    key = key or generate(key_type)
    signer = issuer.key if issuer else key
    subject = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Acme"), x509.NameAttribute(NameOID.COMMON_NAME, name)]
    )
    builder = x509.CertificateBuilder(
        issuer.certificate.subject if issuer else subject,
        subject,
        key.public_key(),
        x509.random_serial_number(),
        _naive(before),
        _naive(after),
    )
    builder = builder.add_extension(x509.BasicConstraints(ca, path_length if ca else None), critical=True)
    builder = builder.add_extension(key_usage or usage(signature=not ca, cert_sign=ca, crl_sign=ca), critical=True)
    if key_id:
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    if issuer:
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
        builder = builder.add_extension(authority, critical=False)
    if names := list(sans):
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    for extension, critical in more:
        builder = builder.add_extension(extension, critical)
    return Holder(builder.sign(signer, signature_hash(signer)), key)


def _naive(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)
