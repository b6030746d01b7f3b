"""Certificates before their signature, exactly by the SPIFFE X509-SVID standard, as bytes.

What is the same for all leaves of one authority, one profile and one kind of key is encoded once (`LeafTemplate`),
what follows from an identity once for that identity (`LeafNames`); `fill` only puts serial, times and key between
them. Names and extension values are `cryptography`'s own encodings; the frame around them is `ca.der`'s. Tests hold
every result against what `x509.CertificateBuilder` makes of the same facts, byte by byte.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

from cryptography import x509
from cryptography.x509.oid import NameOID

from attestation.spiffe_id import SpiffeId, TrustDomain
from ca import der
from ca.authority import SigningAuthority
from ca.csr import LeafKey, VerifiedCsr
from ca.errors import AuthorityUnavailable
from ca.leaf_extensions import alternative_names, leaf_extensions, leaf_subject
from ca.lifetime import Validity
from ca.profile import Profile
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
    before, between = _frame(len(unsigned), algorithm, len(signature))
    return b"".join((before, unsigned, between, signature))


@lru_cache(4096)
def _frame(unsigned: int, algorithm: bytes, signature: int) -> tuple[bytes, bytes]:
    """What stands before and after a TBSCertificate of this length, whose signature has that length."""
    between = algorithm + der.header(der.BIT_STRING, signature + 1) + b"\0"  # an octet that says: no unused bits
    return der.header(der.SEQUENCE, unsigned + len(between) + signature), between


class LeafNames:
    """The parts of a leaf that follow from its identity, its profile and the kind of its key, encoded."""

    __slots__ = ("alternative_names", "dns_names", "extensions", "size", "start", "subject")

    def __init__(self, dns_names: tuple[str, ...], subject: bytes, extensions: bytes, alternative_names: bytes) -> None:
        """`extensions` goes up to the octets of the subject key identifier; `alternative_names` is the last one."""
        self.dns_names = dns_names
        self.subject = subject
        self.extensions = extensions
        self.alternative_names = alternative_names
        self.size = len(_V3) + len(subject) + len(extensions) + SKI_BYTES + len(alternative_names)


class LeafTemplate:
    """Fills in leaves of one profile under one authority certificate."""

    __slots__ = ("_authority_key", "_constant", "_issuer", "_signing", "profile")

    def __init__(self, signing: SigningAuthority, profile: Profile) -> None:
        """Raises x509.ExtensionNotFound if the authority's certificate has no key identifier."""
        extensions = signing.certificate.extensions
        self._authority_key = extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        self._signing = signing
        self.profile = profile
        self._issuer = signature_algorithm(signing.signer.public_key) + signing.subject
        self._constant = {key: self._encode_constant(key) for key in LeafKey}

    def period(self, validity: Validity) -> bytes:
        """Signature algorithm, issuer and validity, encoded. May be kept and used again."""
        return self._issuer + _encoded(validity)

    def names(
        self,
        spiffe_id: SpiffeId,
        dns_names: tuple[str, ...],
        extra_sans: tuple[str, ...] = (),
        subject: str = "",
        *,
        key: LeafKey,
    ) -> LeafNames:
        """The encoded names of leaves for `spiffe_id` and a kind of key. May be kept and used again.

        The names have been judged before (ca.profile).
        """
        attributes = self.profile.subject.attributes(spiffe_id.trust_domain, subject)
        encoded_subject = leaf_subject(attributes, spiffe_id).public_bytes()
        alternative = der.extension(alternative_names(spiffe_id, dns_names, extra_sans))
        constant = self._constant[key]
        length = len(constant) + SKI_BYTES + len(alternative)
        sequence = der.header(der.SEQUENCE, length)
        start = der.header(der.EXTENSIONS, len(sequence) + length) + sequence
        return LeafNames(dns_names, encoded_subject, start + constant, alternative)

    @staticmethod
    def fill(serial: bytes, period: bytes, csr: VerifiedCsr, names: LeafNames) -> ToBeSigned:
        """The unsigned leaf; its facts have been judged before (ca.profile, ca.csr, ca.lifetime).

        `serial` is an INTEGER, DER; `period` and `names` are of this template, `names` for the kind of the CSR's key.
        """
        spki, key_hash, _ = csr
        size = len(serial) + len(period) + len(spki) + names.size
        return b"".join(
            (
                der.header(der.SEQUENCE, size),
                _V3,
                serial,
                period,
                names.subject,
                spki,
                names.extensions,
                bytes.fromhex(key_hash[: 2 * SKI_BYTES]),  # subject_key_id(csr.spki)
                names.alternative_names,
            )
        )

    def _encode_constant(self, key: LeafKey) -> bytes:
        """The extensions that all leaves share, and the start of the next one: all of it but the key's identifier."""
        shared = leaf_extensions(self.profile, key, self._signing.authority.id, self._authority_key)
        encoded = b"".join(der.extension(value, critical=critical) for value, critical in shared)
        return encoded + der.extension(x509.SubjectKeyIdentifier(bytes(SKI_BYTES)))[:-SKI_BYTES]


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
