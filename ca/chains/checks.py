"""Judges signing certificates before anything relies on them: our own, and those that an upstream signed for us."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cryptography import x509

from attestation.spiffe_id import TrustDomain
from ca.bundle import make_bundle
from ca.chains.certificate import USAGE
from ca.chains.path import find_path
from ca.errors import CertificateMismatch, InvalidBundle, InvalidPath
from ca.keys import PublicKey, spki_der
from ca.template import subject_key_id
from ca.upstream import Minted

MAX_CHAIN = 6
"""Certificates above a leaf, without the root: one less than an SVID may have (ca.svid.MAX_CHAIN), and one to spare."""
MAX_ROOTS = 64


def check_signing_certificate(
    unverified_der: bytes, public_key: PublicKey, trust_domain: TrustDomain
) -> x509.Certificate:
    """The certificate, if it is a signing certificate for this key and trust domain. Raises CertificateMismatch.

    1. It can be read, and has a subject, which leaves name as their issuer (RFC 5280 4.1.2.6).
    2. The key is the one, and its identifier is the one by which our records name the authority.
    3. It is an authority by basic constraints, may sign certificates and CRLs, and nothing else (X509-SVID 4.1, 4.3).
    4. Its only name is the trust domain's ID (X509-SVID 3.2).

    It does not verify the signature.
    """
    try:
        certificate = x509.load_der_x509_certificate(unverified_der)  # 1
        spki = spki_der(certificate.public_key())  # type: ignore[arg-type]  # every kind has one
        extensions = {extension.oid: extension for extension in certificate.extensions}
    except Exception as error:  # whatever a parser throws at foreign bytes is a refusal
        raise CertificateMismatch("the signing certificate cannot be read") from error
    if certificate.version is not x509.Version.v3 or not list(certificate.subject):
        raise CertificateMismatch("the signing certificate has no subject, or is not of version 3")
    if spki != spki_der(public_key):  # 2
        raise CertificateMismatch("the signing certificate holds another key than the authority's")
    key_id = extensions.get(x509.SubjectKeyIdentifier.oid)
    if key_id is None or key_id.value != x509.SubjectKeyIdentifier(subject_key_id(spki)):
        raise CertificateMismatch("the signing certificate's key identifier is not the authority's")
    constraints, usage = extensions.get(x509.BasicConstraints.oid), extensions.get(x509.KeyUsage.oid)
    sound = (  # 3
        constraints is not None
        and constraints.critical
        and constraints.value.ca
        and usage is not None
        and usage.critical
        and usage.value == USAGE
    )
    if not sound:
        raise CertificateMismatch("the signing certificate's constraints or usages are not those of an authority")
    names = extensions.get(x509.SubjectAlternativeName.oid)
    if names is None or list(names.value) != [x509.UniformResourceIdentifier(str(trust_domain.id))]:  # 4
        raise CertificateMismatch(f"the signing certificate does not name the trust domain {trust_domain} alone")
    return certificate


def check_minted(minted: Minted, public_key: PublicKey, trust_domain: TrustDomain, now: datetime) -> None:
    """Whether what an upstream handed out can carry an authority. Raises CertificateMismatch.

    1. The certificate is a signing certificate for this key and trust domain, with the times that are told.
    2. Chain and roots are bounded; the chain starts with it, leads to one of the roots now, and allows leaves below.
       Without roots it is its own root, and nothing is sent above the leaf.
    3. All of them are what agents take for authorities: one that they refuse would cost them the whole bundle.
    """
    certificate = check_signing_certificate(minted.certificate, public_key, trust_domain)  # 1
    times = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if times != (minted.not_before, minted.not_after):
        raise CertificateMismatch("the signing certificate's validity is not what was told")
    if len(minted.chain) > MAX_CHAIN or len(minted.roots) > MAX_ROOTS:  # 2
        raise CertificateMismatch("the upstream's chain or list of roots is too long")
    if minted.chain[:1] != ((minted.certificate,) if minted.roots else ()):
        raise CertificateMismatch("the chain does not start with the signing certificate")
    try:
        itself = (minted.certificate,)
        find_path(_load(minted.chain or itself), _load(minted.roots or itself), now, issuing=True)
    except InvalidPath as error:
        raise CertificateMismatch(f"the chain leads to none of the roots: {error}") from error
    try:
        make_bundle(trust_domain, [*minted.chain, *minted.roots])  # 3
    except InvalidBundle as error:
        raise CertificateMismatch(f"chain and roots are no authorities that can be published: {error}") from error


def _load(certificates: Sequence[bytes]) -> list[x509.Certificate]:
    try:
        return [x509.load_der_x509_certificate(der) for der in certificates]
    except Exception as error:  # whatever a parser throws at foreign bytes is a refusal
        raise CertificateMismatch("a certificate of the upstream cannot be read") from error
