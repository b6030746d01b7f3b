"""A PKCS #11 token's key pairs: made so that they cannot leave it, found again, read and signed with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from pkcs11 import MGF, Attribute, Mechanism, MechanismFlag, ObjectClass, Session
from pkcs11 import KeyType as TokenKeyType
from pkcs11.exceptions import AttributeTypeInvalid, FunctionNotSupported, RandomNoRNG

from ca import der
from ca.errors import AuthorityUnavailable, CsrRefused
from ca.key_managers.token import KeyNotFound
from ca.keys import KeyType, PublicKey, check_public_key, signature_hash
from ca.signer import Scheme

_CURVES: Mapping[KeyType, tuple[bytes, ec.EllipticCurve]] = MappingProxyType(
    {
        KeyType.ECDSA_P256: (der.oid("1.2.840.10045.3.1.7"), ec.SECP256R1()),
        KeyType.ECDSA_P384: (der.oid("1.3.132.0.34"), ec.SECP384R1()),
    }
)
_RSA_BITS: Mapping[KeyType, int] = MappingProxyType(
    {KeyType.RSA_2048: 2048, KeyType.RSA_3072: 3072, KeyType.RSA_4096: 4096}
)
KEY_TYPES = frozenset((*_CURVES, *_RSA_BITS))
"""What is made in tokens: what nearly all of them can make."""

_SIGNING = MechanismFlag.SIGN | MechanismFlag.VERIFY
_SEALED = MappingProxyType({Attribute.PRIVATE: True, Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False})
"""Used only after a login, and given out neither in clear nor wrapped (PKCS #11 2.40, section 4.9)."""

_PSS = (Mechanism.SHA256, MGF.SHA256, hashes.SHA256.digest_size)
_DIGEST_INFO = der.tlv(der.SEQUENCE, der.oid("2.16.840.1.101.3.4.2.1"), b"\x05\x00")  # RFC 8017 9.2, SHA-256
_UNCOMPRESSED = 0x04
_PROBE = b"sds: this key signs what its public key verifies"


class TokenKey(Protocol):
    """The handle of a private key; good within the session that found it."""

    def sign(self, data: bytes, **how: Any) -> bytes:
        """Raises PKCS11Error."""
        ...


def make_pair(session: Session, key_type: KeyType, key_id: bytes, label: str) -> None:
    """Make a key pair of one of KEY_TYPES in the token. Raises PKCS11Error, or AuthorityUnavailable."""
    made: dict[str, Any] = {
        "id": key_id,
        "label": label,
        "store": True,
        "capabilities": _SIGNING,
        "private_template": dict(_SEALED),
    }
    if key_type in _CURVES:
        curve = {Attribute.EC_PARAMS: _CURVES[key_type][0]}
        session.create_domain_parameters(TokenKeyType.EC, curve, local=True).generate_keypair(**made)
    elif key_type in _RSA_BITS:
        session.generate_keypair(TokenKeyType.RSA, _RSA_BITS[key_type], **made)
    else:
        raise AuthorityUnavailable(f"{key_type} keys are not made in PKCS #11 tokens")


def destroy_pair(session: Session, key_id: bytes) -> bool:
    """Delete all keys of this id; whether there was one. Raises PKCS11Error."""
    found = [
        key for kind in (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY) for key in _search(session, kind, key_id)
    ]
    for key in found:
        key.destroy()
    return bool(found)


def find_private(session: Session, key_id: bytes) -> TokenKey:
    """The private key's handle. Raises KeyNotFound, PKCS11Error, or AuthorityUnavailable for one that could leave."""
    key = _one(_search(session, ObjectClass.PRIVATE_KEY, key_id), key_id)
    if any(key[attribute] is not wanted for attribute, wanted in _SEALED.items()):
        raise AuthorityUnavailable(f"key {key_id.hex()} can be taken out of the token; it is not used")
    return key  # type: ignore[no-any-return]


def read_public(session: Session, key_id: bytes) -> PublicKey:
    """The public key. Raises KeyNotFound, PKCS11Error, or AuthorityUnavailable if it is none that we would make."""
    key = _one(_search(session, ObjectClass.PUBLIC_KEY, key_id), key_id)
    try:
        if key[Attribute.KEY_TYPE] is TokenKeyType.RSA:
            numbers = (int.from_bytes(key[one], "big") for one in (Attribute.PUBLIC_EXPONENT, Attribute.MODULUS))
            return check_public_key(rsa.RSAPublicNumbers(*numbers).public_key())
        return check_public_key(_point(key[Attribute.EC_PARAMS], key[Attribute.EC_POINT]))
    except (AttributeTypeInvalid, CsrRefused, TypeError, ValueError) as error:
        raise AuthorityUnavailable(f"key {key_id.hex()} in the token is none that can be used") from error


def prove(private_key: TokenKey, public_key: PublicKey) -> None:
    """Whether the two belong together, by a signature. Raises AuthorityUnavailable, PKCS11Error."""
    (signature,) = sign(private_key, public_key, [_PROBE], Scheme.X509)
    digest = signature_hash(public_key) or hashes.SHA256()
    try:
        if isinstance(public_key, ec.EllipticCurvePublicKey):
            public_key.verify(signature, _PROBE, ec.ECDSA(digest))
        elif isinstance(public_key, rsa.RSAPublicKey):
            public_key.verify(signature, _PROBE, padding.PKCS1v15(), digest)
    except InvalidSignature as error:
        raise AuthorityUnavailable("the token signs by another key than the one that it shows") from error


def sign(private_key: TokenKey, public_key: PublicKey, messages: Sequence[bytes], scheme: Scheme) -> list[bytes]:
    """As ca.signer.Signer.sign. Digests are made here: every token signs those, and a long message stays at home.

    Raises PKCS11Error, or AuthorityUnavailable for an answer that is no signature.
    """
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        size = (public_key.curve.key_size + 7) // 8
        hashed = hashlib.sha384 if size > 32 else hashlib.sha256
        return [
            _ecdsa(private_key.sign(hashed(message).digest(), mechanism=Mechanism.ECDSA), size) for message in messages
        ]
    assert isinstance(public_key, rsa.RSAPublicKey)  # noqa: S101 - read_public gives no third kind
    size = public_key.key_size // 8
    with_sha256 = _pss if scheme is Scheme.PSS_SHA256 else _pkcs1
    return [_whole(with_sha256(private_key, hashlib.sha256(message).digest()), size) for message in messages]


def _pss(private_key: TokenKey, digest: bytes) -> bytes:
    return private_key.sign(digest, mechanism=Mechanism.RSA_PKCS_PSS, mechanism_param=_PSS)


def _pkcs1(private_key: TokenKey, digest: bytes) -> bytes:
    info = der.tlv(der.SEQUENCE, _DIGEST_INFO, der.tlv(der.OCTET_STRING, digest))
    return private_key.sign(info, mechanism=Mechanism.RSA_PKCS)


def _whole(signature: bytes, size: int) -> bytes:
    if len(signature) != size:
        raise AuthorityUnavailable(f"the token gave a signature of {len(signature)} bytes instead of {size}")
    return signature


def _ecdsa(signature: bytes, size: int) -> bytes:
    """From r and s side by side (PKCS #11 2.40 mechanisms, 2.3.1) to the DER of RFC 3279 2.2.3."""
    _whole(signature, 2 * size)
    return encode_dss_signature(int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big"))


def _point(parameters: bytes, point: bytes) -> ec.EllipticCurvePublicKey:
    """EC_POINT is an OCTET STRING around the point; some tokens leave that out. Raises ValueError."""
    for oid, curve in _CURVES.values():
        length = 1 + 2 * (curve.key_size // 8)
        if oid == parameters:
            bare = point.removeprefix(der.header(der.OCTET_STRING, length)) if len(point) != length else point
            if len(bare) != length or bare[0] != _UNCOMPRESSED:
                break
            return ec.EllipticCurvePublicKey.from_encoded_point(curve, bare)
    raise ValueError("neither P-256 nor P-384, or not a full point")


def _search(session: Session, kind: ObjectClass, key_id: bytes) -> list[Any]:
    """All objects of the kind and id. Raises PKCS11Error.

    The binding writes to standard error if a search fails as it begins, so it begins with a question that fails well.
    """
    with suppress(RandomNoRNG, FunctionNotSupported):
        session.generate_random(8)
    return list(session.get_objects({Attribute.CLASS: kind, Attribute.ID: key_id}))


def _one(keys: Sequence[Any], key_id: bytes) -> Any:
    if not keys:
        raise KeyNotFound(key_id.hex())
    if len(keys) > 1:
        raise AuthorityUnavailable(f"the token has {len(keys)} keys with the id {key_id.hex()}")
    return keys[0]
