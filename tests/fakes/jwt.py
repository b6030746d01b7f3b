"""A JWT authority in memory, and tokens as no honest issuer would write them."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.authority import Authority, AuthorityKind, AuthorityState
from ca.bundle import TrustBundle
from ca.jws import JwtAlgorithm
from ca.jwt_svid import (
    KEY_TYPES,
    IssuedJwtSvid,
    JwtIssuer,
    JwtPolicy,
    JwtRequest,
    JwtSigningAuthority,
    PreparedJwt,
    algorithm_for,
)
from ca.keys import KeyType, PrivateKey, generate, spki_der
from ca.signer import LocalSigner
from ca.template import subject_key_id
from tests.fakes.ca import TRUST_DOMAIN
from tests.fakes.clock import EPOCH

AUDIENCE = "reports"


def make_jwt_authority(
    trust_domain: TrustDomain = TRUST_DOMAIN,
    *,
    algorithm: JwtAlgorithm = JwtAlgorithm.ES256,
    key: PrivateKey | None = None,
    key_type: KeyType | None = None,
    now: datetime = EPOCH,
    lifetime: timedelta = timedelta(days=30),
    state: AuthorityState = AuthorityState.ACTIVE,
) -> JwtSigningAuthority:
    """A JWT authority with its key; ACTIVE unless told otherwise."""
    key_type = key_type or KEY_TYPES[algorithm]
    signer = LocalSigner.of(key or generate(key_type))
    spki = spki_der(signer.public_key)
    authority = Authority(
        id=subject_key_id(spki).hex(),
        trust_domain=trust_domain,
        kind=AuthorityKind.JWT,
        state=state,
        key_ref="fake:jwt",
        key_type=key_type,
        public_key=spki,
        certificate=b"",
        not_before=now,
        not_after=now + lifetime,
        created_at=now,
        activated_at=now if state is AuthorityState.ACTIVE else None,
    )
    return JwtSigningAuthority.open(authority, signer, algorithm_for(key_type, algorithm))


def counted_ids() -> Callable[[], str]:
    """Token IDs that are told apart easily."""
    numbers = itertools.count(1)
    return lambda: f"jti-{next(numbers)}"


def jwt_bundle(*authorities: JwtSigningAuthority, **changes: Any) -> TrustBundle:
    """A bundle with the keys of these authorities, which are of one trust domain."""
    domain = authorities[0].authority.trust_domain
    return TrustBundle(domain, (), jwt_keys=tuple(one.key for one in authorities), **changes)


def bundles_of(*authorities: JwtSigningAuthority) -> Mapping[TrustDomain, TrustBundle]:
    domains = {one.authority.trust_domain for one in authorities}
    return {td: jwt_bundle(*(one for one in authorities if one.authority.trust_domain == td)) for td in domains}


def issue_jwt(
    authority: JwtSigningAuthority,
    spiffe_id: str = "spiffe://example.org/web",
    audience: tuple[str, ...] = (AUDIENCE,),
    *,
    ttl: timedelta | None = None,
    now: datetime = EPOCH,
    policy: JwtPolicy | None = None,
    issuer: JwtIssuer | None = None,
) -> IssuedJwtSvid:
    """Prepare and issue at once; raises the CaError that stands in the way."""
    issuer = issuer or JwtIssuer(policy or JwtPolicy(), counted_ids())
    (prepared,) = issuer.prepare([JwtRequest(SpiffeId.parse(spiffe_id), audience, ttl)], authority, now)
    if not isinstance(prepared, PreparedJwt):
        raise prepared
    (issued,) = issuer.issue([prepared])
    if not isinstance(issued, IssuedJwtSvid):
        raise issued
    return issued


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def forge(
    authority: JwtSigningAuthority,
    claims: Mapping[str, Any] | bytes | None = None,
    header: Mapping[str, Any] | bytes | None = None,
    *,
    now: datetime = EPOCH,
    without: tuple[str, ...] = (),
    **more: Any,
) -> str:
    """A token with a sound signature and whatever else one wants in it. `...` takes a header away."""
    usual: dict[str, Any] = {
        "sub": f"spiffe://{authority.authority.trust_domain.name}/web",
        "aud": [AUDIENCE],
        "exp": int(now.timestamp()) + 300,
        "iat": int(now.timestamp()),
    }
    if not isinstance(claims, bytes):
        whole = {**usual, **(claims or {}), **more}
        claims = json.dumps({name: value for name, value in whole.items() if name not in without}).encode()
    if not isinstance(header, bytes):
        members = {"alg": str(authority.algorithm), "kid": authority.authority.id, "typ": "JWT", **(header or {})}
        header = json.dumps({name: value for name, value in members.items() if value is not ...}).encode()
    unsigned = f"{b64(header)}.{b64(claims)}"
    (signature,) = authority.sign([unsigned.encode()])
    return f"{unsigned}.{b64(signature)}"
