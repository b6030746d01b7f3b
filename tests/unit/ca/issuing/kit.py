"""Requests to an issuer, and what comes of them."""

from __future__ import annotations

from dataclasses import replace

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.authority import SigningAuthority
from ca.intent import IssuedCertificate, IssueRequest
from ca.issuer import Issuer, Prepared
from ca.keys import PrivateKey
from ca.signer import LocalSigner
from tests.fakes.ca import make_issuer
from tests.fakes.clock import EPOCH

TD = TrustDomain("example.org")
WEB = SpiffeId(TD, "/web")


def prepare_one(request: IssueRequest, authority: SigningAuthority, issuer: Issuer | None = None) -> Prepared:
    (prepared,) = (issuer or make_issuer()).prepare([request], authority, EPOCH)
    assert isinstance(prepared, Prepared)
    return prepared


def leaf_of(issued: IssuedCertificate) -> x509.Certificate:
    return x509.load_der_x509_certificate(issued.der)


def names_of(issued: IssuedCertificate) -> list[x509.GeneralName]:
    return list(leaf_of(issued).extensions.get_extension_for_class(x509.SubjectAlternativeName).value)


def certified_as(authority: SigningAuthority, name: x509.Name, *, key_identifier: bool = True) -> SigningAuthority:
    """The same key under another certificate."""
    record, key = authority.authority, authority.signer.public_key
    before, after = (when.replace(tzinfo=None) for when in (record.not_before, record.not_after))
    builder = x509.CertificateBuilder(name, name, key, 1, before, after)
    if key_identifier:
        identifier = x509.SubjectKeyIdentifier(bytes.fromhex(record.id))
        builder = builder.add_extension(identifier, critical=False)
    certificate = builder.sign(private_key_of(authority), hashes.SHA256()).public_bytes(Encoding.DER)
    return SigningAuthority.open(replace(record, certificate=certificate), authority.signer)


def private_key_of(authority: SigningAuthority) -> PrivateKey:
    assert isinstance(authority.signer, LocalSigner)
    return authority.signer.private_key
