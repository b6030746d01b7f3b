"""The OpenID provider: its configuration and keys, kept for a while, and codes exchanged for tokens."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from ca.errors import InvalidJwtSvid
from ca.jws import json_object
from sds import __version__
from sds.admin.login.flow import Client, Flow
from sds.admin.login.id_token import Expected, Identity, ProviderKey, TokenRefused, UnknownKey, keys_of, validate
from sds.clock import Clock
from sds.http.tls import CIPHERS
from sds.logs import get_logger

FRESH = timedelta(minutes=10)
"""How long configuration and keys are kept without asking again."""
AGAIN = timedelta(seconds=10)
"""How often unknown keys can make us ask again, whoever shows them."""
_TIMEOUT = 10.0
_MAX_BYTES = 256 * 1024
_HEADERS = {"accept": "application/json", "accept-encoding": "identity", "user-agent": f"sds/{__version__}"}


class ProviderUnavailable(Exception):
    """The provider cannot be asked, or answers nonsense; the message is safe to log."""


@dataclass(frozen=True, slots=True)
class ProviderOptions:
    """`client` None: no logins. `audience` None: no bearer tokens."""

    issuer: str
    client: Client | None
    audience: str | None
    groups_claim: str
    name_claim: str
    max_token_age: timedelta
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Discovered:
    """What the provider says of itself (OpenID Connect Discovery 3)."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    names_itself: bool
    post_secret: bool


class Provider:
    """One for the process. Everything that it is sent is bounded, and no redirect is followed."""

    def __init__(self, options: ProviderOptions, clock: Clock) -> None:
        self.options = options
        self._clock = clock
        self._lock = asyncio.Lock()
        self._found: Discovered | None = None
        self._keys: tuple[ProviderKey, ...] = ()
        self._asked: float | None = None
        self._tls: ssl.SSLContext | None = None
        self._log = get_logger(__name__)

    async def discovered(self) -> Discovered:
        """Raises ProviderUnavailable."""
        await self._refresh(FRESH)
        if self._found is None:
            raise ProviderUnavailable("the OpenID provider could not be reached a moment ago")
        return self._found

    async def bearer(self, unverified: str) -> Identity | None:
        """Of a machine's token for the configured audience."""
        if self.options.audience is None:
            return None
        expected = self._expected(self.options.audience, "", self.options.max_token_age)
        try:
            return await self._validated(unverified, expected)
        except (TokenRefused, ProviderUnavailable) as error:
            self._log.info("a bearer token of the OpenID provider is refused", reason=str(error))
            return None

    async def exchange(self, code: str, flow: Flow) -> Identity:
        """Who has logged in (OpenID Connect Core 3.1.3). Raises TokenRefused, ProviderUnavailable."""
        client = self.options.client
        if client is None:
            raise ProviderUnavailable("logins at an OpenID provider are not configured")
        found = await self.discovered()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": client.redirect_url,
            "client_id": client.client_id,
            "code_verifier": flow.verifier.reveal(),
        }
        auth = None
        if client.secret is not None and found.post_secret:
            form["client_secret"] = client.secret.reveal()
        elif client.secret is not None:  # RFC 6749 section 2.3.1: form-encoded first
            auth = httpx.BasicAuth(quote(client.client_id, safe=""), quote(client.secret.reveal(), safe=""))
        answer = await self._ask("POST", found.token_endpoint, form=form, auth=auth)
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise TokenRefused("the provider gave no ID token")
        return await self._validated(token, self._expected(client.client_id, flow.nonce, timedelta(minutes=10)))

    async def _validated(self, unverified: str, expected: Expected) -> Identity:
        await self.discovered()
        try:
            return validate(unverified, self._keys, expected, self._clock.now())
        except UnknownKey:
            await self._refresh(AGAIN)
        return validate(unverified, self._keys, expected, self._clock.now())

    def _expected(self, audience: str, nonce: str, max_age: timedelta) -> Expected:
        options = self.options
        return Expected(options.issuer, audience, nonce, max_age, options.groups_claim, options.name_claim)

    async def _refresh(self, age: timedelta) -> None:
        """Ask anew what was asked longer ago than that. What was known stays if it cannot be asked now."""
        async with self._lock:
            now = self._clock.monotonic()
            missing = self._found is None
            limit = min(age, AGAIN) if missing else age
            if self._asked is not None and now - self._asked < limit.total_seconds():
                return
            self._asked = now
            try:
                found = await self._discover()
                self._keys, self._found = keys_of(await self._ask("GET", found.jwks_uri)), found
            except (ProviderUnavailable, TokenRefused) as error:
                # From its end on: whoever waits for this answer has one, too, and does not wait for another.
                self._asked = self._clock.monotonic()
                self._log.warning("the OpenID provider cannot be asked", reason=str(error))
                if missing:
                    raise ProviderUnavailable(str(error)) from None

    async def _discover(self) -> Discovered:
        """OpenID Connect Discovery 4: the document has to be about the issuer that was asked for."""
        issuer = self.options.issuer
        document = await self._ask("GET", f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        if document.get("issuer") != issuer:
            raise ProviderUnavailable("the provider's configuration is about another issuer")
        methods = document.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        return Discovered(
            _endpoint(document, "authorization_endpoint"),
            _endpoint(document, "token_endpoint"),
            _endpoint(document, "jwks_uri"),
            document.get("authorization_response_iss_parameter_supported") is True,
            isinstance(methods, list) and "client_secret_basic" not in methods,
        )

    async def _ask(
        self, method: str, url: str, *, form: Mapping[str, str] | None = None, auth: httpx.BasicAuth | None = None
    ) -> dict[str, Any]:
        """One JSON object. Raises ProviderUnavailable, which says nothing of what was sent."""
        try:
            tls = await self._context()
            async with (
                asyncio.timeout(_TIMEOUT),
                httpx.AsyncClient(verify=tls, trust_env=False, timeout=None, headers=_HEADERS) as client,  # noqa: S113  # above
                client.stream(method, url, data=form, auth=auth) as answer,
            ):
                body = bytearray()
                async for chunk in answer.aiter_raw():
                    body += chunk
                    if len(body) > _MAX_BYTES:
                        raise ProviderUnavailable(f"the provider sent more than {_MAX_BYTES} bytes")
                if answer.status_code != httpx.codes.OK:
                    raise ProviderUnavailable(f"the provider answered {answer.status_code}")
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError) as error:
            raise ProviderUnavailable(f"the provider cannot be reached ({type(error).__name__})") from None
        try:
            return json_object(bytes(body), "answer")
        except InvalidJwtSvid:
            raise ProviderUnavailable("the provider's answer is no JSON object") from None

    async def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = await asyncio.to_thread(_web_context, self.options.ca_file)
        return self._tls


def _web_context(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    return context


def _endpoint(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    try:
        parts = urlsplit(value) if isinstance(value, str) and value.isascii() and value.isprintable() else None
        safe = parts is not None and (parts.scheme == "https" or (parts.scheme == "http" and _loopback(parts.hostname)))
    except ValueError:
        safe = False
    if not safe or not isinstance(value, str):
        raise ProviderUnavailable(f"the provider's {name} is no https:// URL")
    return value


def _loopback(host: str | None) -> bool:
    try:
        return ip_address(host or "").is_loopback
    except ValueError:
        return False
