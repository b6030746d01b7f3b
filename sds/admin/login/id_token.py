"""Validates tokens of an OpenID provider (OpenID Connect Core 3.1.3.7, RFC 7519 section 7.2, RFC 8725)."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ca.errors import InvalidJwk, InvalidJwtSvid
from ca.jwk import from_jwk
from ca.jws import JwtAlgorithm, parse, verify
from ca.keys import PublicKey
from sds.admin.access.people import GROUP

LEEWAY = timedelta(seconds=60)
MAX_KEYS = 64
MAX_GROUPS = 256
MAX_TEXT = 255
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})


class TokenRefused(Exception):
    """The token may not be believed; the message is safe to log and repeats nothing of it."""


@dataclass(frozen=True, slots=True)
class ProviderKey:
    """A key of the provider, by its ID ("" where it has none)."""

    id: str
    key: PublicKey


@dataclass(frozen=True, slots=True)
class Expected:
    """What a token must say. `nonce` "": of a login none is expected. `max_age`: since it was issued."""

    issuer: str
    audience: str
    nonce: str = ""
    max_age: timedelta | None = None
    groups_claim: str = "groups"
    name_claim: str = "email"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the provider says it is. `subject`: ``oidc:ISSUER#SUBJECT``."""

    subject: str
    name: str
    groups: tuple[str, ...]

    @property
    def subjects(self) -> tuple[str, ...]:
        return (self.subject, *(f"{GROUP}{name}" for name in self.groups))


class UnknownKey(TokenRefused):
    """No key that is known has the token's ID; newer ones may."""


def keys_of(document: Mapping[str, Any]) -> tuple[ProviderKey, ...]:
    """The signing keys of a JWKS (RFC 7517 section 5); what is not for signatures or not understood is passed over."""
    listed = document.get("keys")
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise TokenRefused("the provider's keys are no list, or too many")
    found = []
    for each in listed:
        if not isinstance(each, dict) or each.get("use", "sig") != "sig":
            continue
        try:
            key = from_jwk(each)
        except InvalidJwk:
            continue
        if key is not None:
            found.append(ProviderKey(each["kid"] if isinstance(each.get("kid"), str) else "", key))
    return tuple(found)


def validate(unverified: str, keys: Sequence[ProviderKey], expected: Expected, now: datetime) -> Identity:
    """Whom the token names, if it may be believed at `now`. Raises TokenRefused.

    1. It is a JWS in the compact serialisation, read strictly; no extension has to be understood (RFC 7515 4.1.11).
    2. `alg` is an asymmetric algorithm that we know: neither `none` nor a MAC (RFC 8725 3.1, 3.2).
    3. The key is the provider's, by `kid`: never one that the token brings along.
    4. `iss` is the provider's, to the letter (Core 3.1.3.7 step 2).
    5. `aud` has us. Of a login: `azp`, where there is one or `aud` has others as well, is us (steps 3 to 5). What a
       machine shows was given to that machine, so there `azp` says nothing.
    6. `exp` is there and not past, `iat` and `nbf` not in the future; it is not older than we take it (steps 9, 10).
    7. `nonce` is the one that this login was begun with (step 11).
    8. `sub` is there and printable (Core 2).
    """
    try:
        jws = parse(unverified)  # 1
    except InvalidJwtSvid as error:
        raise TokenRefused(str(error)) from None
    header, claims = jws.unverified_header, jws.unverified_claims
    algorithm, kid = header.get("alg"), header.get("kid", "")
    if "crit" in header or str(header.get("typ", "JWT")).lower() not in _TYPES:
        raise TokenRefused("the token is of another type, or has extensions that have to be understood")
    if not isinstance(algorithm, str) or algorithm not in frozenset(JwtAlgorithm):  # 2
        raise TokenRefused("the token's algorithm is none that is taken here")
    candidates = [each.key for each in keys if not kid or each.id == kid]  # 3
    if not candidates:
        raise UnknownKey("the token's key is none of the provider's")
    if not any(verify(jws, JwtAlgorithm(algorithm), key) for key in candidates):
        raise TokenRefused("the token's signature does not verify")
    if claims.get("iss") != expected.issuer:  # 4
        raise TokenRefused("the token is of another issuer")
    _check_audience(claims, expected.audience, login=bool(expected.nonce))  # 5
    _check_times(claims, expected.max_age, now)  # 6
    nonce = claims.get("nonce", "")
    if expected.nonce and not (
        isinstance(nonce, str) and hmac.compare_digest(nonce.encode(), expected.nonce.encode())
    ):  # 7
        raise TokenRefused("the token is not of this login")
    return _identity(claims, expected)  # 8


def _check_audience(claims: Mapping[str, Any], audience: str, *, login: bool) -> None:
    value = claims.get("aud")
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or audience not in found:
        raise TokenRefused("the token is not meant for this server")
    if login and (len(found) > 1 or "azp" in claims) and claims.get("azp") != audience:
        raise TokenRefused("the token was given to another client")


def _check_times(claims: Mapping[str, Any], max_age: timedelta | None, now: datetime) -> None:
    expires, issued, begins = (_moment(claims, name) for name in ("exp", "iat", "nbf"))
    if expires is None or expires <= now - LEEWAY:
        raise TokenRefused("the token has no expiry, or has expired")
    if issued is None or issued > now + LEEWAY or (begins is not None and begins > now + LEEWAY):
        raise TokenRefused("the token is not valid yet, or does not say since when: check the clocks")
    if max_age is not None and issued < now - max_age:
        raise TokenRefused("the token was issued too long ago")


def _moment(claims: Mapping[str, Any], name: str) -> datetime | None:
    value = claims.get(name)
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TokenRefused(f"the token's {name} is not a number of seconds")
    try:
        return _EPOCH + timedelta(seconds=value)
    except OverflowError:
        raise TokenRefused(f"the token's {name} is no time that there will be") from None


def _identity(claims: Mapping[str, Any], expected: Expected) -> Identity:
    subject = claims.get("sub")
    if not isinstance(subject, str) or not subject or len(subject) > MAX_TEXT or not subject.isprintable():
        raise TokenRefused("the token has no subject, or none that can be shown")
    groups = claims.get(expected.groups_claim, [])
    groups = [groups] if isinstance(groups, str) else groups
    if not isinstance(groups, list) or len(groups) > MAX_GROUPS:
        raise TokenRefused("the token's groups are no list, or too many")
    names = [each for each in groups if isinstance(each, str) and 0 < len(each) <= MAX_TEXT and each.isprintable()]
    name = claims.get(expected.name_claim)
    shown = name if isinstance(name, str) and 0 < len(name) <= MAX_TEXT and name.isprintable() else subject
    return Identity(f"oidc:{expected.issuer}#{subject}", shown, tuple(dict.fromkeys(names)))
