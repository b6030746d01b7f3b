"""Certificate signing requests (PKCS #10, RFC 2986). Only the public key is taken from one; whoever asks says nothing
about himself that counts, because his identity comes from attestation.

Nearly all requests are those of our own agents, which differ in a point and a signature only. `parse_csr` knows their
octets by heart and parses everything else.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import NamedTuple, cast

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from ca.errors import CsrRefused
from ca.keys import PrivateKey, PublicKey, check_public_key, signature_hash, spki_der

MAX_CSR_BYTES = 16 * 1024
"""An RSA-8192 request with a full set of names has a fifth of this."""

_SIGNATURE_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_UNPROVEN = "CSR is not signed by its own key with SHA-256, SHA-384, SHA-512 or Ed25519"

# A request of `build_csr` for a P-256 key: SEQUENCE, its length in two octets, _START, the point's coordinates, _END,
# then the signature as a BIT STRING without unused bits.
_P256_SPKI = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")  # RFC 5480 2.1.1 and 2.2, up to x
_START = bytes.fromhex("30620201003000") + _P256_SPKI  # version 1, no subject
_END = bytes.fromhex("a000300a06082a8648ce3d040302")  # no attributes; ecdsa-with-SHA256 (RFC 5758 3.2)
_INFO_AT = 3
_POINT_AT = _INFO_AT + len(_START) - 1
_END_AT = _POINT_AT + 1 + 2 * 32
_SPKI_AT = _END_AT - len(_P256_SPKI) - 2 * 32
_SIGNATURE_AT = _END_AT + len(_END) + 3
# For each size of such a request (its length takes two octets; the longest signature has 72), the octets before the
# coordinates and those after them.
_PLAIN = {
    size: (bytes((0x30, 0x81, size - 3)) + _START, _END + bytes((0x03, size - _SIGNATURE_AT + 1, 0)))
    for size in range(3 + 0x80, _SIGNATURE_AT + 72 + 1)
}
_P256 = ec.SECP256R1()
_ECDSA_SHA256 = ec.ECDSA(Prehashed(hashes.SHA256()))


class LeafKey(StrEnum):
    """The kinds of key that certificates are issued for; of RSA keys, by the largest size that they reach."""

    ECDSA_P256 = "ecdsa-p256"
    ECDSA_P384 = "ecdsa-p384"
    ED25519 = "ed25519"
    RSA_2048 = "rsa-2048"
    RSA_3072 = "rsa-3072"
    RSA_4096 = "rsa-4096"
    OTHER = "other"
    """An authority's own, in the trial that it signs for itself; no profile allows it."""

    @classmethod
    def of(cls, public_key: object) -> LeafKey:
        if isinstance(public_key, ec.EllipticCurvePublicKey):
            return _CURVES.get(public_key.curve.name, cls.OTHER)
        if isinstance(public_key, ed25519.Ed25519PublicKey):
            return cls.ED25519
        if isinstance(public_key, rsa.RSAPublicKey):
            size = public_key.key_size
            return cls.RSA_4096 if size >= 4096 else cls.RSA_3072 if size >= 3072 else cls.RSA_2048
        return cls.OTHER

    @property
    def is_rsa(self) -> bool:
        return self in _RSA

    @property
    def is_ec(self) -> bool:
        return self in _EC


_CURVES = {"secp256r1": LeafKey.ECDSA_P256, "secp384r1": LeafKey.ECDSA_P384}
_EC = frozenset(_CURVES.values())
_RSA = frozenset({LeafKey.RSA_2048, LeafKey.RSA_3072, LeafKey.RSA_4096})


class VerifiedCsr(NamedTuple):
    """A public key whose owner proved possession of the private one, and that is fit for a certificate.

    It is held as it is encoded: OpenSSL's objects are large, and thousands that wait for a signature cost their room in
    the processor's cache.
    """

    spki: bytes
    """SubjectPublicKeyInfo, DER."""
    key_hash: str
    """SHA-256 of `spki`, hex."""
    kind: LeafKey = LeafKey.ECDSA_P256

    @property
    def public_key(self) -> PublicKey:
        """The key as an object, read anew each time."""
        return cast("PublicKey", serialization.load_der_public_key(self.spki))

    def __repr__(self) -> str:
        return f"VerifiedCsr(key_hash={self.key_hash!r})"

    @classmethod
    def of_own_key(cls, private_key: PrivateKey) -> VerifiedCsr:
        """For a key that this process made itself, such as the server's own."""
        return cls.of_public_key(private_key.public_key())

    @classmethod
    def of_public_key(cls, public_key: PublicKey) -> VerifiedCsr:
        """For a key that has proved itself in another way, such as an authority's; it is not judged."""
        spki = spki_der(public_key)
        kind = LeafKey.ECDSA_P256 if spki.startswith(_P256_SPKI) else LeafKey.of(public_key)
        return cls(spki, hashlib.sha256(spki).hexdigest(), kind)


def parse_csr(unverified_der: bytes) -> VerifiedCsr:
    """The key of a request that passes the steps of `parse_any_csr`. Raises CsrRefused."""
    return parse_plain_csr(unverified_der) or parse_any_csr(unverified_der)


def parse_any_csr(unverified_der: bytes) -> VerifiedCsr:
    """The key of a request of any form, after these steps; the first that fails raises CsrRefused.

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
    csr = VerifiedCsr.of_public_key(
        check_public_key(unverified_key)
    )  # 3, before 5: nobody makes us verify under an oversize key
    if csr.spki not in unverified_der:  # 4
        raise CsrRefused("CSR has its key in an unusual encoding; use rsaEncryption or a named curve and a full point")
    if not _proves_possession(unverified_csr):  # 5
        raise CsrRefused(_UNPROVEN)
    return csr


def parse_plain_csr(unverified_der: bytes) -> VerifiedCsr | None:
    """The same for a request that is one of `build_csr` for P-256 in all but point and signature; None for any other.
    Raises CsrRefused.

    Nothing is interpreted here: each octet, lengths included, is compared with the one that must stand there, so there
    is no second reading of the bytes that could differ from a parser's (steps 1, 2 and 4). What is left is the point,
    which `from_encoded_point` refuses off the curve (step 3; no P-256 key is known to be weak), and the signature,
    which goes through the same verification as any other (step 5).
    """
    fixed = _PLAIN.get(len(unverified_der))
    if fixed is None or not (unverified_der.startswith(fixed[0]) and unverified_der.startswith(fixed[1], _END_AT)):
        return None
    try:
        public_key = ec.EllipticCurvePublicKey.from_encoded_point(_P256, unverified_der[_POINT_AT:_END_AT])
    except ValueError as error:
        raise CsrRefused("CSR has a point that is not on its curve") from error
    try:
        signed = hashlib.sha256(unverified_der[_INFO_AT : _END_AT + 2]).digest()
        public_key.verify(unverified_der[_SIGNATURE_AT:], signed, _ECDSA_SHA256)
    except InvalidSignature as error:
        raise CsrRefused(_UNPROVEN) from error
    spki = unverified_der[_SPKI_AT:_END_AT]
    return VerifiedCsr(spki, hashlib.sha256(spki).hexdigest())


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
