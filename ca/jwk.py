"""Public keys as JSON Web Keys (RFC 7517, RFC 7518 section 6, RFC 8037 section 2), written and read.

ML-DSA keys, of X.509 authorities alone, are only written (kind AKP, draft-ietf-cose-dilithium).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa

from ca.errors import CsrRefused, InvalidJwk
from ca.keys import PublicKey
from ca.weak_keys import MAX_RSA_BITS, check_ed25519, check_rsa

_CURVES: Mapping[str, tuple[str, type[ec.EllipticCurve]]] = {
    "secp256r1": ("P-256", ec.SECP256R1),
    "secp384r1": ("P-384", ec.SECP384R1),
    "secp521r1": ("P-521", ec.SECP521R1),
}
_CURVE_OF = dict(_CURVES.values())
_ML_DSA: Mapping[type[object], str] = {
    mldsa.MLDSA44PublicKey: "ML-DSA-44",
    mldsa.MLDSA65PublicKey: "ML-DSA-65",
    mldsa.MLDSA87PublicKey: "ML-DSA-87",
}
KINDS = frozenset({"EC", "RSA", "OKP", "AKP"})
"""The `kty` of every key that an authority may have. Of one that is not known, nothing at all counts."""
_PRIVATE = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")
"""RFC 7518 6.2.2, 6.3.2, 6.4.1: members of private and symmetric keys."""
_ED25519_BYTES = 32
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")


def to_jwk(public_key: object) -> dict[str, str]:
    """The members that name the key, `kty` first. Raises ValueError for a kind that has no JWK."""
    if isinstance(public_key, ec.EllipticCurvePublicKey) and public_key.curve.name in _CURVES:
        numbers = public_key.public_numbers()
        size = _size(public_key.curve)
        x, y = (base64url(value.to_bytes(size, "big")) for value in (numbers.x, numbers.y))
        return {"kty": "EC", "crv": _CURVES[public_key.curve.name][0], "x": x, "y": y}
    if isinstance(public_key, rsa.RSAPublicKey):
        rsa_numbers = public_key.public_numbers()
        return {"kty": "RSA", "n": _from_integer(rsa_numbers.n), "e": _from_integer(rsa_numbers.e)}
    if isinstance(public_key, ed25519.Ed25519PublicKey):
        return {"kty": "OKP", "crv": "Ed25519", "x": base64url(public_key.public_bytes_raw())}
    if isinstance(public_key, mldsa.MLDSA44PublicKey | mldsa.MLDSA65PublicKey | mldsa.MLDSA87PublicKey):
        name = next(name for kind, name in _ML_DSA.items() if isinstance(public_key, kind))
        return {"kty": "AKP", "alg": name, "pub": base64url(public_key.public_bytes_raw())}
    raise ValueError("a key of this kind has no JSON Web Key")


def from_jwk(unverified: Mapping[str, object]) -> PublicKey | None:
    """Read a public key; None for a kind or curve that is not known here. Members beside the key's own are passed over.

    Raises InvalidJwk for one that is malformed, weak, or holds a private key, which nobody should have been shown.
    """
    if any(name in unverified for name in _PRIVATE):
        raise InvalidJwk("the JWK holds a private key")
    match unverified.get("kty"):
        case "EC":
            return _ec(unverified)
        case "RSA":
            return _rsa(unverified)
        case "OKP" if unverified.get("crv") == "Ed25519":
            return _ed25519(unverified)
        case _:
            return None


def base64url(data: bytes) -> str:
    """RFC 7515 section 2: the URL-safe alphabet without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_base64url(unverified: str) -> bytes:
    """The one spelling of some bytes, back. Raises ValueError for padding, foreign characters and stray bits, which
    would give one value several spellings.
    """
    if not _BASE64URL.fullmatch(unverified):
        raise ValueError("is not base64url")
    try:
        data = base64.urlsafe_b64decode(unverified + "=" * (-len(unverified) % 4))
    except binascii.Error:
        raise ValueError("is not base64url") from None
    if base64url(data) != unverified:
        raise ValueError("is not base64url in its one spelling")
    return data


def _ec(unverified: Mapping[str, object]) -> PublicKey | None:
    """RFC 7518 6.2.1."""
    curve = _CURVE_OF.get(_text(unverified, "crv"))
    if curve is None:
        return None
    x, y = (_octets(unverified, name, _size(curve())) for name in ("x", "y"))
    try:
        return ec.EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), curve()).public_key()
    except ValueError as error:
        raise InvalidJwk("the JWK's point does not lie on its curve") from error


def _rsa(unverified: Mapping[str, object]) -> PublicKey:
    """RFC 7518 6.3.1."""
    numbers = rsa.RSAPublicNumbers(e=_to_integer(unverified, "e"), n=_to_integer(unverified, "n"))
    try:
        check_rsa(numbers)
        return numbers.public_key()
    except (CsrRefused, ValueError) as error:
        raise InvalidJwk(f"the JWK's key is refused: {error}") from error


def _ed25519(unverified: Mapping[str, object]) -> PublicKey:
    """RFC 8037 2."""
    raw = _octets(unverified, "x", _ED25519_BYTES)
    try:
        check_ed25519(raw)
        return ed25519.Ed25519PublicKey.from_public_bytes(raw)
    except (CsrRefused, ValueError) as error:
        raise InvalidJwk(f"the JWK's key is refused: {error}") from error


def _text(unverified: Mapping[str, object], name: str) -> str:
    value = unverified.get(name)
    if not isinstance(value, str):
        raise InvalidJwk(f"the JWK's {name} is not a text")
    return value


def _octets(unverified: Mapping[str, object], name: str, size: int | None = None) -> bytes:
    """RFC 7518 6.2.1.2: a coordinate always has its full size."""
    try:
        data = from_base64url(_text(unverified, name))
    except ValueError as error:
        raise InvalidJwk(f"the JWK's {name} {error}") from None
    if size is not None and len(data) != size:
        raise InvalidJwk(f"the JWK's {name} has {len(data)} octets instead of {size}")
    return data


def _to_integer(unverified: Mapping[str, object], name: str) -> int:
    """RFC 7518 section 2, Base64urlUInt: big endian in the fewest octets."""
    data = _octets(unverified, name)
    if not data or data[0] == 0 or len(data) * 8 > MAX_RSA_BITS:
        raise InvalidJwk(f"the JWK's {name} is not a number in its shortest form, or is too large")
    return int.from_bytes(data, "big")


def _from_integer(value: int) -> str:
    """RFC 7518 section 2, Base64urlUInt: big endian in the fewest octets."""
    return base64url(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def _size(curve: ec.EllipticCurve) -> int:
    return (curve.key_size + 7) // 8
