"""JSON Web Signatures in the compact serialisation (RFC 7515), as far as JWT-SVIDs go: written, and read strictly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NoReturn

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from jwt.algorithms import get_default_algorithms
from jwt.exceptions import PyJWTError

from ca.errors import InvalidJwtSvid
from ca.jwk import base64url, from_base64url
from ca.keys import PublicKey

MAX_TOKEN_BYTES = 16 * 1024
"""Twice what most programs take in one HTTP header; what is longer is refused before it is looked at."""
MAX_DEPTH = 16
"""Objects and lists within each other in header and claims: what is passed on must be readable elsewhere too."""


class JwtAlgorithm(StrEnum):
    """All that a JWT-SVID may be signed with (JWT-SVID 2.1)."""

    ES256 = "ES256"
    ES384 = "ES384"
    ES512 = "ES512"
    RS256 = "RS256"
    RS384 = "RS384"
    RS512 = "RS512"
    PS256 = "PS256"
    PS384 = "PS384"
    PS512 = "PS512"

    def fits(self, key: PublicKey) -> bool:
        """Whether `key` is of the one kind and curve that goes with the algorithm (RFC 7518 3.1, 3.4)."""
        curve = _CURVES.get(self)
        if curve is None:
            return isinstance(key, rsa.RSAPublicKey)
        return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, curve)


_CURVES: Mapping[JwtAlgorithm, type[ec.EllipticCurve]] = {
    JwtAlgorithm.ES256: ec.SECP256R1,
    JwtAlgorithm.ES384: ec.SECP384R1,
    JwtAlgorithm.ES512: ec.SECP521R1,
}
_VERIFIERS = get_default_algorithms()


@dataclass(frozen=True, slots=True)
class Jws:
    """A token taken apart. Nothing in it is verified."""

    unverified_header: Mapping[str, Any]
    unverified_claims: Mapping[str, Any] = field(repr=False)
    signing_input: bytes = field(repr=False)
    unverified_signature: bytes = field(repr=False)


def signing_input(header: Mapping[str, object], claims: Mapping[str, object]) -> bytes:
    """What is signed (RFC 7515 5.1): header and payload, each as base64url, with a dot between them."""
    return b".".join(base64url(_compact(part)).encode() for part in (header, claims))


def compact(signing_input: bytes, signature: bytes) -> str:
    """The token (RFC 7515 7.1)."""
    return f"{signing_input.decode()}.{base64url(signature)}"


def raw_signature(algorithm: JwtAlgorithm, signature: bytes) -> bytes:
    """A Signer's signature as JWS has it: for ECDSA r and s one after the other, each in full (RFC 7518 3.4)."""
    curve = _CURVES.get(algorithm)
    if curve is None:
        return signature
    size = (curve().key_size + 7) // 8
    return b"".join(number.to_bytes(size, "big") for number in decode_dss_signature(signature))


def parse(unverified_token: str) -> Jws:
    """Take a token apart. Raises InvalidJwtSvid.

    1. Bounded, before anything that takes longer for more.
    2. Three parts in base64url, each in its one spelling (RFC 7515 7.1; JWT-SVID 5.1: no other serialisation).
    3. Header and payload are JSON objects in UTF-8 (RFC 7515 5.2 steps 2 to 4, RFC 7519 7.2) in which no name comes
       twice (RFC 7515 4, RFC 7519 4), every number is one that a double holds, every text is Unicode, and nothing lies
       deeper than MAX_DEPTH.
    """
    if len(unverified_token) > MAX_TOKEN_BYTES:  # 1
        raise InvalidJwtSvid(f"the token has more than {MAX_TOKEN_BYTES} bytes")
    parts = unverified_token.split(".", 3)
    if len(parts) != 3:  # 2
        raise InvalidJwtSvid("the token is not three parts with dots between them")
    try:
        header, payload, signature = map(from_base64url, parts)
    except ValueError as error:
        raise InvalidJwtSvid(f"a part of the token {error}") from None
    return Jws(  # 3
        json_object(header, "header"),
        json_object(payload, "payload"),
        f"{parts[0]}.{parts[1]}".encode(),
        signature,
    )


def verify(jws: Jws, algorithm: JwtAlgorithm, key: PublicKey) -> bool:
    """Whether `key` made the signature by `algorithm` (RFC 7515 5.2 step 8), which must go with the key."""
    if not algorithm.fits(key):
        return False
    try:
        return bool(_VERIFIERS[algorithm].verify(jws.signing_input, key, jws.unverified_signature))
    except (PyJWTError, ValueError, TypeError):
        return False


def json_object(unverified: bytes, what: str) -> dict[str, Any]:
    """Read step 3 of `parse`. Raises InvalidJwtSvid, which calls it `what`."""
    try:
        value: object = json.loads(
            unverified.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_float=_double,
            parse_int=_integer,
        )
        json.dumps(value, ensure_ascii=False).encode()  # lone surrogates
        _check_depth(value, MAX_DEPTH)
    except (ValueError, OverflowError, RecursionError):
        raise InvalidJwtSvid(f"the token's {what} is not JSON, or not JSON that has one meaning") from None
    if not isinstance(value, dict):
        raise InvalidJwtSvid(f"the token's {what} is not a JSON object")
    return value


def _check_depth(value: object, left: int) -> None:
    if isinstance(value, dict | list):
        if not left:
            raise ValueError("too deep")
        for inner in value.values() if isinstance(value, dict) else value:
            _check_depth(inner, left - 1)


def _compact(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name comes twice")
    return found


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError("a number is not finite")


def _double(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError("a number is not finite")
    return number


def _integer(text: str) -> int:
    number = int(text)
    float(number)  # OverflowError: other readers could not hold it
    return number
