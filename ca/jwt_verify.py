"""Validates JWT-SVIDs (JWT-SVID sections 2 to 5, RFC 7519 section 7.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from attestation.errors import InvalidSpiffeId
from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.bundle import TrustBundle
from ca.errors import InvalidJwtSvid
from ca.jws import Jws, JwtAlgorithm, parse, verify
from ca.keys import PublicKey

DEFAULT_LEEWAY = timedelta(seconds=30)
"""How far clocks may differ (RFC 7519 4.1.4: usually no more than a few minutes)."""
MAX_NAMELESS_KEYS = 16
"""How many keys are tried on a token that names none."""
MAX_AUDIENCES = 256

_HEADERS = {"alg", "kid", "typ"}
_TYPES = {"JWT", "JOSE"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class JwtSvid:
    """A JWT-SVID that was validated. Times are aware UTC; `claims` has all that the token says."""

    spiffe_id: SpiffeId
    audience: tuple[str, ...]
    expires_at: datetime
    key_id: str
    claims: Mapping[str, Any] = field(repr=False)


def validate(
    unverified_token: str,
    bundles: Mapping[TrustDomain, TrustBundle],
    audience: str,
    now: datetime,
    leeway: timedelta = DEFAULT_LEEWAY,
) -> JwtSvid:
    """What `unverified_token` says to `audience` at `now`, if it may be believed. Raises InvalidJwtSvid.

    1. It is a JWS in the compact serialisation (JWT-SVID 5.1), read strictly (ca.jws.parse).
    2. Its header has nothing but `alg`, `kid` and `typ` (JWT-SVID 2): no key or certificate of its own (`jwk`, `jku`,
       `x5u`, `x5c`), no extension that had to be understood (`crit`), no encryption.
    3. `alg` is one of JWT-SVID 2.1: neither `none` nor a MAC.
    4. `typ`, where it is set, is JWT or JOSE (JWT-SVID 2.3).
    5. `sub` is the SPIFFE ID of a workload (JWT-SVID 3.1).
    6. There is a bundle of that trust domain, and only its keys count (Workload API 6.3).
    7. `kid` names a key of it; a token without one may be by any of the first few (JWT-SVID 2.2: it is optional).
    8. The key is of the kind that goes with `alg` (RFC 8725 3.1) and made the signature (JWT-SVID 4).
    9. `aud` has the audience that asks (JWT-SVID 3.2).
    10. `exp` is there and not past (JWT-SVID 3.3), give or take `leeway`.
    11. `nbf` (RFC 7519 4.1.5) and `iat`, where they are set, are not in the future, give or take `leeway`.
    """
    jws = parse(unverified_token)  # 1
    algorithm = _algorithm(jws.unverified_header)  # 2, 3, 4
    unverified_id = _subject(jws.unverified_claims)  # 5
    bundle = bundles.get(unverified_id.trust_domain)  # 6
    if bundle is None or not bundle.jwt_keys:
        raise InvalidJwtSvid(f"there are no JWT keys of the trust domain {unverified_id.trust_domain}")
    key_id = _verified_by(jws, algorithm, bundle, now - leeway)  # 7, 8
    claims, spiffe_id = jws.unverified_claims, unverified_id  # verified from here on
    audiences = _audiences(claims)
    if not audience or audience not in audiences:  # 9
        raise InvalidJwtSvid("the token is not meant for this audience")
    expires_at = _current(claims, now, leeway)  # 10, 11
    return JwtSvid(spiffe_id, audiences, expires_at, key_id, claims)


def _current(claims: Mapping[str, Any], now: datetime, leeway: timedelta) -> datetime:
    """When it expires."""
    expires_at = _moment(claims, "exp")
    if expires_at is None:  # 10
        raise InvalidJwtSvid("the token has no expiry")
    if expires_at <= now - leeway:
        raise InvalidJwtSvid("the token has expired")
    for name in ("nbf", "iat"):  # 11
        begin = _moment(claims, name)
        if begin is not None and begin > now + leeway:
            raise InvalidJwtSvid(f"the token is not valid yet ({name}): check the clocks")
    return expires_at


def _algorithm(header: Mapping[str, Any]) -> JwtAlgorithm:
    if not header.keys() <= _HEADERS:
        raise InvalidJwtSvid("the token's header has more than alg, kid and typ (JWT-SVID 2)")
    algorithm, kind, key_id = header.get("alg"), header.get("typ", "JWT"), header.get("kid", "")
    if not isinstance(algorithm, str) or algorithm not in frozenset(JwtAlgorithm):
        raise InvalidJwtSvid("the token's algorithm is none that a JWT-SVID may have (JWT-SVID 2.1)")
    if not isinstance(kind, str) or kind not in _TYPES:
        raise InvalidJwtSvid("the token's type is neither JWT nor JOSE (JWT-SVID 2.3)")
    if not isinstance(key_id, str):
        raise InvalidJwtSvid("the token's key ID is not a text (RFC 7515 4.1.4)")
    return JwtAlgorithm(algorithm)


def _subject(claims: Mapping[str, Any]) -> SpiffeId:
    subject = claims.get("sub")
    if not isinstance(subject, str):
        raise InvalidJwtSvid("the token has no subject (JWT-SVID 3.1)")
    try:
        spiffe_id = SpiffeId.parse(subject)
    except InvalidSpiffeId:
        raise InvalidJwtSvid("the token's subject is not a SPIFFE ID (JWT-SVID 3.1)") from None
    if not spiffe_id.path:
        raise InvalidJwtSvid("the token's subject is a trust domain, which is no workload (JWT-SVID 3.1)")
    return spiffe_id


def _verified_by(jws: Jws, algorithm: JwtAlgorithm, bundle: TrustBundle, now: datetime) -> str:
    """The ID of the key that made the signature."""
    key_id = jws.unverified_header.get("kid", "")
    standing = [key for key in bundle.jwt_keys if key.not_after is None or key.not_after > now]
    candidates = [key for key in standing if key.id == key_id] if key_id else standing[-MAX_NAMELESS_KEYS:]
    if not candidates:
        raise InvalidJwtSvid(f"the bundle of {bundle.trust_domain} does not have the token's key")
    for key in candidates:
        public_key = _loaded(key.public_key)
        if public_key is not None and verify(jws, algorithm, public_key):
            return key.id
    raise InvalidJwtSvid("the token's signature does not verify")


def _audiences(claims: Mapping[str, Any]) -> tuple[str, ...]:
    """RFC 7519 4.1.3: one text or several."""
    value = claims.get("aud")
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not found or len(found) > MAX_AUDIENCES:
        raise InvalidJwtSvid("the token has no audience, or too many (JWT-SVID 3.2)")
    if not all(isinstance(one, str) for one in found):
        raise InvalidJwtSvid("the token's audience is not made of texts (RFC 7519 4.1.3)")
    return tuple(found)


def _moment(claims: Mapping[str, Any], name: str) -> datetime | None:
    """RFC 7519 2, NumericDate: seconds, with or without a fraction."""
    value = claims.get(name)
    if name not in claims:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise InvalidJwtSvid(f"the token's {name} is not a number of seconds")
    try:
        return _EPOCH + timedelta(seconds=value)
    except OverflowError:
        raise InvalidJwtSvid(f"the token's {name} is no time that there will be") from None


@lru_cache(maxsize=1024)
def _loaded(spki: bytes) -> PublicKey | None:
    try:
        key = load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey) else None
