"""What a key in Vault's Transit engine has to be like before it is used, and what it is given to sign. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from ca.errors import AuthorityUnavailable, CsrRefused
from ca.keys import KeyType, PublicKey, check_public_key, signature_hash
from ca.signer import PSS, Scheme

KEY_TYPES = frozenset(
    {
        KeyType.ECDSA_P256,
        KeyType.ECDSA_P384,
        KeyType.ED25519,
        KeyType.RSA_2048,
        KeyType.RSA_3072,
        KeyType.RSA_4096,
    }
)
"""Transit calls them by the same names. Its ML-DSA is not in every server that speaks its protocol."""


class TransitScheme(StrEnum):
    """How Transit is told to sign: all but Ed25519 over a digest that was made here."""

    ECDSA_SHA256 = "ecdsa-sha256"
    ECDSA_SHA384 = "ecdsa-sha384"
    PKCS1_SHA256 = "pkcs1-sha256"
    PSS_SHA256 = "pss-sha256"
    ED25519 = "ed25519"


_CURVES: Mapping[KeyType, str] = MappingProxyType({KeyType.ECDSA_P256: "secp256r1", KeyType.ECDSA_P384: "secp384r1"})


class TransitKeyProblem(AuthorityUnavailable):
    """Vault answers, and this one key cannot be used."""


class TransitKeyMissing(TransitKeyProblem):
    """There is no key of this name."""


@dataclass(frozen=True, slots=True)
class TransitKey:
    """A key as Transit shows it. `public_keys` by version: PEM, or for Ed25519 32 bytes in base64."""

    name: str
    kind: str
    public_keys: Mapping[int, str]
    exportable: bool
    plaintext_backup: bool
    imported: bool
    derived: bool
    soft_deleted: bool = False


def public_key_of(key: TransitKey, version: int) -> PublicKey:
    """The public half, if the private one never was anywhere else. Raises TransitKeyProblem.

    1. It cannot be taken out: not exportable and not backed up in clear, neither of which Transit ever takes back.
    2. It was made there: whoever imported one has another copy. 3. It is one key, and not one for each context.
    4. The version is there, and is of the kind that is told.
    """
    if key.exportable or key.plaintext_backup:  # 1
        raise TransitKeyProblem(f"key {key.name} can be taken out of Vault; it is not used")
    if key.imported:  # 2
        raise TransitKeyProblem(f"key {key.name} was imported into Vault, so there are copies of it; it is not used")
    if key.derived or key.soft_deleted:  # 3
        raise TransitKeyProblem(f"key {key.name} is derived or deleted; it is not used")
    shown = key.public_keys.get(version)
    if shown is None:  # 4
        raise TransitKeyProblem(
            f"version {version} of key {key.name} is not to be used any more: set min_decryption_version and "
            f"min_encryption_version to {version} or less"
        )
    try:
        read = check_public_key(_parse(key.kind, shown))
    except (ValueError, TypeError, binascii.Error, CsrRefused) as error:
        raise TransitKeyProblem(f"key {key.name} in Vault is none that can be used") from error
    if _kind_of(read) != key.kind:
        raise TransitKeyProblem(f"key {key.name} in Vault is not of the kind {key.kind}")
    return read


def scheme_of(public_key: PublicKey, scheme: Scheme) -> TransitScheme:
    """How such a key signs. `scheme` is one that it has (ca.signer.check_scheme)."""
    if isinstance(public_key, ed25519.Ed25519PublicKey):
        return TransitScheme.ED25519
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        digest = signature_hash(public_key)
        is_long = digest is not None and digest.name == "sha384"
        return TransitScheme.ECDSA_SHA384 if is_long else TransitScheme.ECDSA_SHA256
    return TransitScheme.PSS_SHA256 if scheme is Scheme.PSS_SHA256 else TransitScheme.PKCS1_SHA256


def inputs(messages: Sequence[bytes], scheme: TransitScheme) -> list[bytes]:
    """What Transit gets: digests, so that long messages stay at home; Ed25519 signs the message itself (RFC 8032)."""
    if scheme is TransitScheme.ED25519:
        return list(messages)
    hashed = hashlib.sha384 if scheme is TransitScheme.ECDSA_SHA384 else hashlib.sha256
    return [hashed(message).digest() for message in messages]


def check_signature(public_key: PublicKey, signature: bytes, message: bytes, scheme: Scheme) -> None:
    """Raises TransitKeyProblem for one by another key, or none at all."""
    try:
        if isinstance(public_key, ed25519.Ed25519PublicKey):
            public_key.verify(signature, message)
            return
        digest = signature_hash(public_key)
        assert digest is not None  # noqa: S101 - only Ed25519 has none here
        if isinstance(public_key, ec.EllipticCurvePublicKey):
            public_key.verify(signature, message, ec.ECDSA(digest))
        elif isinstance(public_key, rsa.RSAPublicKey):
            padded = PSS if scheme is Scheme.PSS_SHA256 else padding.PKCS1v15()
            public_key.verify(signature, message, padded, digest)
    except InvalidSignature as error:
        raise TransitKeyProblem("Vault signs by another key than the authority's") from error


def _parse(kind: str, shown: str) -> object:
    if kind == KeyType.ED25519:
        return ed25519.Ed25519PublicKey.from_public_bytes(base64.b64decode(shown, validate=True))
    return load_pem_public_key(shown.encode("ascii"))


def _kind_of(public_key: PublicKey) -> str:
    if isinstance(public_key, ed25519.Ed25519PublicKey):
        return KeyType.ED25519
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        return next((kind for kind, curve in _CURVES.items() if curve == public_key.curve.name), "")
    return f"rsa-{public_key.key_size}" if isinstance(public_key, rsa.RSAPublicKey) else ""
