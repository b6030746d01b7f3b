"""An OpenID provider with a page of its own: discovery, keys, the authorization code flow with PKCE, and ways to go wrong.

It does what a provider has to (OpenID Connect Core 3.1, RFC 6749, RFC 7636 section 4.6, RFC 9207), and no more.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html import escape
from typing import Any
from urllib.parse import parse_qs, urlencode

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from ca.jwk import to_jwk
from ca.jws import JwtAlgorithm, compact, raw_signature, signing_input
from sds.clock import SystemClock
from sds.http.unix import serve_tcp

CLIENT, SECRET, PASSWORD = "sds", "a-secret-of-the-client", "wonderland"
PAGE = """<!doctype html><html lang="en"><title>Provider</title><h1>Who are you?</h1>
<form method="post" action="/authorize?{query}"><input name="name" aria-label="Name"><input name="password"
type="password" aria-label="Password"><button name="deed" value="in">Sign in</button>
<button name="deed" value="no">Cancel</button></form></html>"""
Answer = dict[str, str]


@dataclass
class OidcProvider:
    """`groups`: whom it knows, and the groups of each.

    `answers` changes what a browser brings back, `claims` what an ID token says; both change nothing unless told to.
    `codes`: what was asked when a code was given, which is then good for one use.
    """

    redirect: str
    groups: dict[str, list[str]]
    issuer: str = ""
    answers: Callable[[Answer], Answer] = lambda answer: answer
    claims: Callable[[dict[str, Any]], dict[str, Any]] = lambda claims: claims
    codes: dict[str, Answer] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    _key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._configuration),
                Route("/keys", self._keys),
                Route("/authorize", self._authorize, methods=["GET", "POST"]),
                Route("/token", self._token, methods=["POST"]),
            ]
        )

    def give(self, asked: Answer, name: str) -> str:
        """A code for what was asked, as if that person had agreed."""
        code = secrets.token_urlsafe(24)
        self.codes[code] = {**asked, "name": name}
        return code

    async def _configuration(self, request: Request) -> Response:
        return JSONResponse(
            {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/keys",
                "authorization_response_iss_parameter_supported": True,
            }
        )

    async def _keys(self, request: Request) -> Response:
        return JSONResponse({"keys": [{**to_jwk(self._key.public_key()), "kid": "1", "use": "sig"}]})

    async def _authorize(self, request: Request) -> Response:
        """A page with a form, and what follows from it: a redirect that comes from a POST, as with most providers."""
        asked = dict(request.query_params)
        fits = asked.get("client_id") == CLIENT and asked.get("redirect_uri") == self.redirect
        if not fits or asked.get("response_type") != "code" or asked.get("code_challenge_method") != "S256":
            return Response("not a request of a client that is known", 400)
        if request.method == "GET":
            return HTMLResponse(PAGE.format(query=escape(urlencode(asked))))
        form = {key: values[0] for key, values in parse_qs((await request.body()).decode()).items()}
        known = form.get("name", "") in self.groups and form.get("password") == PASSWORD
        outcome = (
            {"code": self.give(asked, form["name"])} if known and form["deed"] == "in" else {"error": "access_denied"}
        )
        answer = self.answers({**outcome, "state": asked["state"], "iss": self.issuer})
        return RedirectResponse(f"{self.redirect}?{urlencode(answer)}", status_code=303)

    async def _token(self, request: Request) -> Response:
        form = {key: values[0] for key, values in parse_qs((await request.body()).decode()).items()}
        asked = self.codes.pop(form.get("code", ""), None)
        if why := self._amiss(request, form, asked):
            self.refused.append(why)
            return JSONResponse({"error": "invalid_grant"}, 400)
        assert asked is not None
        return JSONResponse({"token_type": "Bearer", "access_token": "-", "id_token": self._id_token(asked)})

    def _amiss(self, request: Request, form: Answer, asked: Answer | None) -> str:
        """Why the code gives nothing; "" if it does."""
        basic = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        if not hmac.compare_digest(request.headers.get("authorization", ""), f"Basic {basic}"):
            return "client"
        if asked is None or form.get("grant_type") != "authorization_code" or form.get("redirect_uri") != self.redirect:
            return "code"
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        return "" if challenge == asked["code_challenge"] else "verifier"

    def _id_token(self, asked: Answer) -> str:
        now, name = int(SystemClock().now().timestamp()), asked["name"]
        said = {
            "iss": self.issuer, "sub": f"id-of-{name}", "aud": CLIENT, "iat": now, "exp": now + 300,
            "nonce": asked["nonce"], "email": f"{name}@example.org", "groups": self.groups[name],
        }  # fmt: skip
        signed = signing_input({"alg": "ES256", "kid": "1", "typ": "JWT"}, self.claims(said))
        signature = self._key.sign(signed, ec.ECDSA(hashes.SHA256()))
        return compact(signed, raw_signature(JwtAlgorithm.ES256, signature))


@asynccontextmanager
async def oidc_provider(redirect: str, groups: dict[str, list[str]]) -> AsyncIterator[OidcProvider]:
    """At the loopback's address, and not by its name: for a browser that is another site than `localhost`."""
    provider = OidcProvider(redirect, groups)
    server = serve_tcp(provider.app(), "127.0.0.1", 0)
    await server.start()
    provider.issuer = f"http://127.0.0.1:{server.port}"
    try:
        yield provider
    finally:
        await server.stop(1.0)
