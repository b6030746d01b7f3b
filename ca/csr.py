"""Certificate signing requests (PKCS #10, RFC 2986). Only the public key is taken from one; whoever asks says nothing
about himself that counts, because his identity comes from attestation (design rule 9).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from ca.errors import CsrRefused
from ca.keys import PrivateKey, PublicKey, check_public_key, signature_hash, spki_der

MAX_CSR_BYTES = 16 * 1024
"""An RSA-8192 request with a full set of names has a fifth of this."""

_SIGNATURE_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)


@dataclass(frozen=True, slots=True)
class VerifiedCsr:
    """A public key whose owner proved possession of the private one, and that is fit for a certificate."""

    public_key: PublicKey
    spki: bytes = field(repr=False)
    """SubjectPublicKeyInfo, DER."""
    key_hash: str
    """SHA-256 of `spki`, hex."""

    @classmethod
    def of_own_key(cls, private_key: PrivateKey) -> VerifiedCsr:
        """For a key that this process made itself, such as the server's own."""
        return _with_hash(private_key.public_key())


def parse_csr(unverified_der: bytes) -> VerifiedCsr:
    """The key of a request, after these steps; the first that fails raises CsrRefused.

    1. The request has a sane size.
    2. It is one DER CertificationRequest and nothing else (RFC 2986 section 4).
    3. Its key is of an allowed kind, size and exponent, and not known to be weak.
    4. The key is encoded as the certificate will have it: rsaEncryption (RFC 3279 2.3.1), or a named curve (RFC 5480
       2.1.1, which forbids explicit parameters) and an uncompressed point.
    5. Its signature verifies under that key, with a sound digest: proof of possession (RFC 2986 section 3).

    Subject, attributes and requested extensions are never looked at.
    """
    if len(unverified_der) > MAX_CSR_BYTES:  # 1
        raise CsrRefused(f"CSR has {len(unverified_der)} bytes; at most {MAX_CSR_BYTES} are allowed")
    try:
        unverified_csr = x509.load_der_x509_csr(unverified_der)  # 2
        unverified_key = unverified_csr.public_key()
    except Exception as error:  # whatever a parser throws at hostile bytes is a refusal
        raise CsrRefused("CSR is not a DER-encoded PKCS #10 request with a key that can be read") from error
    csr = _with_hash(check_public_key(unverified_key))  # 3, before 5: nobody makes us verify under an oversize key
    if csr.spki not in unverified_der:  # 4
        raise CsrRefused("CSR has its key in an unusual encoding; use rsaEncryption or a named curve and a full point")
    if not _proves_possession(unverified_csr):  # 5
        raise CsrRefused("CSR is not signed by its own key with SHA-256, SHA-384, SHA-512 or Ed25519")
    return csr


def build_csr(private_key: PrivateKey) -> bytes:
    """The DER of a request that proves possession of `private_key` and says nothing else."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(private_key, signature_hash(private_key)).public_bytes(serialization.Encoding.DER)


def _proves_possession(unverified_csr: x509.CertificateSigningRequest) -> bool:
    try:
        digest = unverified_csr.signature_hash_algorithm
        return (digest is None or isinstance(digest, _SIGNATURE_HASHES)) and unverified_csr.is_signature_valid
    except Exception as error:  # an unknown algorithm or a malformed signature is a refusal
        raise CsrRefused("CSR has a signature that cannot be read") from error


def _with_hash(public_key: PublicKey) -> VerifiedCsr:
    spki = spki_der(public_key)
    return VerifiedCsr(public_key, spki, hashlib.sha256(spki).hexdigest())
