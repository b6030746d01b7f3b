"""OpenID Connect discovery, so that those who know nothing of SPIFFE can verify JWT-SVIDs by their issuer's URL.

OpenID Connect Discovery 1.0 section 3 (the document) and 4 (how it is had); RFC 7517 section 5 (the keys).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import timedelta
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from ca.bundle import JwtKey, TrustBundle
from ca.jws import JwtAlgorithm
from sds.server.public.app import cached

WELL_KNOWN = "/.well-known/openid-configuration"
KEYS = "/keys"
AUTHORIZE = "/authorize"
ALGORITHMS = (JwtAlgorithm.RS256, JwtAlgorithm.ES256, JwtAlgorithm.ES384, JwtAlgorithm.PS256)
"""Discovery 1.0 section 3: RS256 must be among them, whether or not a key for it is there."""
_OF_CURVE = {"P-256": JwtAlgorithm.ES256, "P-384": JwtAlgorithm.ES384, "P-521": JwtAlgorithm.ES512}


def discovery_document(issuer: str) -> bytes:
    """What must be in it, and which claims our tokens have. `issuer` is an https URL, and `iss` of the tokens.

    `authorization_endpoint` must be there too, though nobody logs in here: it refuses (RFC 6749 section 4.1.2.1).
    """
    base = issuer.rstrip("/")
    document = {
        "issuer": issuer,
        "authorization_endpoint": base + AUTHORIZE,
        "jwks_uri": base + KEYS,
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [str(each) for each in ALGORITHMS],
        "claims_supported": ["iss", "sub", "aud", "exp", "iat", "jti"],
    }
    return json.dumps(document, indent=2).encode() + b"\n"


def key_set(keys: Iterable[JwtKey], rsa: JwtAlgorithm) -> bytes:
    """The keys as a JWK Set, each with the one algorithm that it is used by (RFC 7517 section 4.4).

    Consumers may take a key without one for whatever their library's first guess is. `rsa`: what RSA keys sign with.
    """
    found = [key.jwk("sig") for key in keys]
    return json.dumps({"keys": [{**jwk, "alg": str(_OF_CURVE.get(jwk.get("crv", ""), rsa))} for jwk in found]}).encode()


def oidc_routes(
    bundle: Callable[[], TrustBundle], issuer: str, max_age: timedelta, algorithm: JwtAlgorithm
) -> list[BaseRoute]:
    """Below the path of the issuer's URL (section 4: the well-known path is appended to it).

    `algorithm` is what tokens are signed with where the key leaves a choice.

    The keys are those of the trust bundle: the next one, the one in use, and each former one until the last token that
    it signed has expired.
    """
    base = urlsplit(issuer).path.rstrip("/")
    document = discovery_document(issuer)
    rsa = algorithm if algorithm is JwtAlgorithm.PS256 else JwtAlgorithm.RS256

    async def discovery(request: Request) -> Response:
        return cached(request, document, "application/json", max_age=max_age)

    async def keys(request: Request) -> Response:
        return cached(request, key_set(bundle().jwt_keys, rsa), "application/json", max_age=max_age)

    async def authorize(_request: Request) -> Response:
        problem = {
            "error": "unsupported_response_type",
            "error_description": "nobody logs in here: JWT-SVIDs come from the SPIFFE Workload API",
        }
        return JSONResponse(problem, status_code=400, headers={"cache-control": "no-store"})

    return [
        Route(base + WELL_KNOWN, discovery, methods=["GET"], name="oidc"),
        Route(base + KEYS, keys, methods=["GET"], name="jwks"),
        Route(base + AUTHORIZE, authorize, methods=["GET"], name="oidc"),
    ]
