"""The floor of issuance: what `cryptography` alone needs to turn a CSR into a certificate, with nothing around it.

Parse the CSR, verify its proof of possession, build the certificate with `CertificateBuilder`, sign with P-256.
"""

from __future__ import annotations

import multiprocessing
import time
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


def make_csrs(count: int) -> list[bytes]:
    """DER requests, each for a P-256 key of its own."""
    csrs = []
    for _ in range(count):
        key = ec.generate_private_key(ec.SECP256R1())
        csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
        csrs.append(csr.public_bytes(Encoding.DER))
    return csrs


def _issue(csr_der: bytes, issuer: x509.Name, issuer_key: ec.EllipticCurvePrivateKey, now: datetime) -> bytes:
    csr = x509.load_der_x509_csr(csr_der)
    if not csr.is_signature_valid:
        raise ValueError("bad CSR")
    public_key = csr.public_key()
    uri = x509.UniformResourceIdentifier("spiffe://example.org/bench")
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([uri]), critical=True)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=False,
                crl_sign=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.DER)


def measure(csrs: list[bytes], seconds: float) -> float:
    """Certificates a second in this process alone."""
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "floor")])
    issuer_key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    issued = 0
    start = time.monotonic()
    while (elapsed := time.monotonic() - start) < seconds:
        for csr in csrs:
            _issue(csr, issuer, issuer_key, now)
        issued += len(csrs)
    return issued / elapsed


def measure_parallel(csrs: list[bytes], seconds: float, processes: int) -> float:
    """Certificates a second in `processes` processes together."""
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return sum(pool.starmap(measure, [(csrs, seconds)] * processes))
