"""A leaf in pieces, each of which a test may replace, and the authority that signs it."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.csr import VerifiedCsr
from ca.intent import CertificateIntent
from ca.keys import KeyType, generate
from ca.profile import Profile, ProfileName
from tests.fakes.ca import make_authority
from tests.fakes.clock import EPOCH

AUTHORITY = make_authority()
KEY = generate(KeyType.ECDSA_P256)
CSR = VerifiedCsr.of_own_key(KEY)
ID = SpiffeId(TrustDomain("example.org"), "/web")
NAMES = [x509.UniformResourceIdentifier(str(ID)), x509.DNSName("a.example.org"), x509.DNSName("b.example.org")]
BEFORE, AFTER = EPOCH, EPOCH + timedelta(hours=1)
SECOND = timedelta(seconds=1)
PLAIN = Profile("workload")
ORGANISATION = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "example.org")
QUALIFIER = x509.NameAttribute(NameOID.DN_QUALIFIER, hashlib.sha256(str(ID).encode()).hexdigest()[:32])
SUBJECT = x509.Name([ORGANISATION, QUALIFIER])
INTENT = CertificateIntent(
    serial="0a0b",
    spiffe_id=ID,
    profile=ProfileName.WORKLOAD,
    key_hash=CSR.key_hash,
    not_before=BEFORE,
    not_after=AFTER,
    authority_id=AUTHORITY.authority.id,
    dns_names=("a.example.org", "b.example.org"),
)


def usage(*, signature: bool = True, cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(signature, False, False, False, False, cert_sign, crl_sign, False, False)


def naive(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)


class Parts:
    """A leaf in pieces, each of which a test may replace."""

    def __init__(self) -> None:
        self.issuer = AUTHORITY.certificate.subject
        self.subject = SUBJECT
        self.public_key = KEY.public_key()
        self.serial = 0x0A0B
        self.before, self.after = BEFORE, AFTER
        self.extensions: list[tuple[x509.ExtensionType, bool]] = [
            (x509.BasicConstraints(False, None), True),
            (usage(), True),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), False),
            (x509.AuthorityKeyIdentifier(bytes.fromhex(AUTHORITY.authority.id), None, None), False),
            (x509.SubjectKeyIdentifier(bytes.fromhex(CSR.key_hash)[:20]), False),
            (x509.SubjectAlternativeName(NAMES), False),
        ]

    def change(self, at: int, value: x509.ExtensionType, critical: bool | None = None) -> None:
        self.extensions[at] = (value, self.extensions[at][1] if critical is None else critical)

    def leaf(self) -> x509.Certificate:
        builder = x509.CertificateBuilder(
            self.issuer,
            self.subject,
            self.public_key,
            self.serial,
            naive(self.before),
            naive(self.after),
        )
        for value, critical in self.extensions:
            builder = builder.add_extension(value, critical)
        return builder.sign(AUTHORITY.signer.private_key, hashes.SHA256())
