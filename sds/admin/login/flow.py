"""The authorization code flow with PKCE, without I/O (OpenID Connect Core 3.1, RFC 7636, RFC 9207, RFC 9700).

All that ties an answer of the provider to the browser that began is derived from that browser's cookie, so that nothing
is kept here for logins that nobody ends.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

from ca.masked import Masked

_COOKIE = re.compile(r"([0-9a-f]{64})\.([A-Za-z0-9_-]{0,1024})", re.ASCII)
MAX_PAGE_PATH = 512
HOME = "/"


@dataclass(frozen=True, slots=True)
class Flow:
    """One login that is under way. `then`: the page that it leads to."""

    seed: Masked[str]
    then: str = HOME

    @classmethod
    def parse(cls, unverified_cookie: str) -> Flow | None:
        """None for what no cookie of ours looks like."""
        found = _COOKIE.fullmatch(unverified_cookie)
        if found is None:
            return None
        try:
            then = base64.urlsafe_b64decode(found[2] + "=" * (-len(found[2]) % 4)).decode("ascii")
        except (binascii.Error, ValueError):
            return None
        return cls(Masked(found[1]), own_path(then))

    @property
    def cookie(self) -> Masked[str]:
        then = base64.urlsafe_b64encode(self.then.encode()).decode().rstrip("=")
        return Masked(f"{self.seed.reveal()}.{then}")

    @property
    def state(self) -> str:
        return self._derived("state")

    @property
    def nonce(self) -> str:
        return self._derived("nonce")

    @property
    def verifier(self) -> Masked[str]:
        """64 characters of the 43 to 128 that RFC 7636 section 4.1 asks for."""
        return Masked(self._derived("verifier"))

    @property
    def challenge(self) -> str:
        """S256 (RFC 7636 section 4.2)."""
        digest = hashlib.sha256(self.verifier.reveal().encode()).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    def _derived(self, purpose: str) -> str:
        return hmac.new(self.seed.reveal().encode(), purpose.encode(), hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class Client:
    """What the provider knows this server as. `secret` None: a public client."""

    client_id: str
    redirect_url: str
    scopes: tuple[str, ...]
    secret: Masked[str] | None = field(default=None, repr=False)


def authorization_url(endpoint: str, client: Client, flow: Flow) -> str:
    """Where the browser is sent (OpenID Connect Core 3.1.2.1)."""
    asked = {
        "response_type": "code",
        "client_id": client.client_id,
        "redirect_uri": client.redirect_url,
        "scope": " ".join(dict.fromkeys(("openid", *client.scopes))),
        "state": flow.state,
        "nonce": flow.nonce,
        "code_challenge": flow.challenge,
        "code_challenge_method": "S256",
    }
    return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(asked)}"


def own_path(unverified: str) -> str:
    r"""A path of this server, or HOME: what a login leads to must never lead away.

    Browsers take ``//host`` and ``/\host`` for another host, and drop tabs and line ends.
    """
    fits = len(unverified) <= MAX_PAGE_PATH and unverified.isascii() and unverified.isprintable()
    if not fits or not unverified.startswith("/") or unverified.startswith("//") or "\\" in unverified:
        return HOME
    if unverified.startswith(("/login", "/logout", "/v1/")):
        return HOME
    return unverified
