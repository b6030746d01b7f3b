"""Public keys as JSON Web Keys (RFC 7517, RFC 7518 section 6, RFC 8037 section 2)."""

from __future__ import annotations

import base64

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}


def to_jwk(public_key: object) -> dict[str, str]:
    """The members that name the key, `kty` first. Raises ValueError for a kind that has no JWK."""
    if isinstance(public_key, ec.EllipticCurvePublicKey) and public_key.curve.name in _CURVES:
        numbers = public_key.public_numbers()
        size = (public_key.curve.key_size + 7) // 8  # RFC 7518 6.2.1.2: always the full size of a coordinate
        x, y = (_base64url(value.to_bytes(size, "big")) for value in (numbers.x, numbers.y))
        return {"kty": "EC", "crv": _CURVES[public_key.curve.name], "x": x, "y": y}
    if isinstance(public_key, rsa.RSAPublicKey):
        rsa_numbers = public_key.public_numbers()
        return {"kty": "RSA", "n": _integer(rsa_numbers.n), "e": _integer(rsa_numbers.e)}
    if isinstance(public_key, ed25519.Ed25519PublicKey):
        return {"kty": "OKP", "crv": "Ed25519", "x": _base64url(public_key.public_bytes_raw())}
    raise ValueError("a key of this kind has no JSON Web Key")


def _integer(value: int) -> str:
    """RFC 7518 section 2, Base64urlUInt: big endian in the fewest octets."""
    return _base64url(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
