"""The admin API over the network: its listener, how callers prove who they are, and what bounds them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from ipaddress import ip_address
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, model_validator

from sds.config.common import cross_check
from sds.config.problems import Problem
from sds.config.types import Count, Duration, FileMode, FilePath, ListenAddress, Number, Section, TextList, key

AdminProfile = Literal["https_spiffe", "https_web"]
FOUR_EYES = ("authority.revoke", "revocation.mass", "audit.retention")
"""What can be made to need a second pair of eyes."""
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9]([a-z0-9.-]*[a-z0-9])?)(:[0-9]{1,5})?", re.ASCII)
_SCOPE = re.compile(r"[!#-\[\]-~]{1,128}", re.ASCII)
_CLAIM = re.compile(r"[A-Za-z0-9_.:/-]{1,128}", re.ASCII)


def _https_url(value: object) -> str:
    if not isinstance(value, str) or len(value) > 1024 or not value.isascii() or not value.isprintable():
        raise ValueError("is not a URL")
    try:
        parts = urlsplit(value)
        known = parts.hostname and (parts.port or True)
    except ValueError:
        raise ValueError("is not a URL") from None
    plain = parts.scheme == "http" and _loopback(parts.hostname or "")
    if not known or not (parts.scheme == "https" or plain) or parts.query or parts.fragment or parts.username:
        raise ValueError("must be https://HOST[:PORT][/PATH] (http:// for a loopback address alone)")
    return value


def _claim(value: object) -> str:
    if not isinstance(value, str) or not _CLAIM.fullmatch(value):
        raise ValueError("is not the name of a claim")
    return value


HttpsUrl = Annotated[str, BeforeValidator(_https_url)]
ClaimName = Annotated[str, BeforeValidator(_claim)]


class AdminSessionSection(Section):
    """Sessions of people who log in at the pages."""

    idle: Duration = key(
        "A session that is not used for so long ends.",
        default=timedelta(minutes=30),
        ge=timedelta(minutes=1),
        le=timedelta(days=1),
    )
    max: Duration = key(
        "A session ends after so long, used or not.",
        default=timedelta(hours=12),
        ge=timedelta(minutes=1),
        le=timedelta(days=7),
    )
    per_caller: Count = key("Sessions of one caller at once; the longest unused goes first.", default=10, ge=1, le=100)


class AdminLimitsSection(Section):
    """How often callers may ask. On the local socket root and the server's own user are not limited."""

    caller_rate: Number = key("Requests a second of one caller, on average.", default=50.0, gt=0)
    caller_burst: Count = key("Requests of one caller at once.", default=200, ge=1)
    address_rate: Number = key("Requests a second from one address, on average.", default=100.0, gt=0)
    address_burst: Count = key("Requests from one address at once.", default=400, ge=1)
    failed_rate: Number = key("Failed logins a second from one address, on average.", default=0.2, gt=0)
    failed_burst: Count = key(
        "Failed logins from one address at once; beyond, credentials are not even looked at.", default=10, ge=1
    )


class AdminOidcSection(Section):
    """An OpenID provider, at which people log in; machines may show its tokens as bearer tokens."""

    issuer: HttpsUrl | None = key("URL of the issuer, exactly as its tokens name it.", default=None, shown="none")
    client_id: str | None = key("This server's client ID there.", default=None, pattern=r"^[!-~]{1,255}$", shown="none")
    client_secret_file: FilePath | None = key(
        "File with the client's secret. Without one it is a public client, which PKCE protects.",
        default=None,
        shown="none",
    )
    redirect_url: HttpsUrl | None = key(
        "Where the provider sends people back to: `https://HOST/login/callback` of this listener, as registered there.",
        default=None,
        shown="none",
    )
    scopes: TextList = key("Scopes to ask for; `openid` is always among them.", default=("openid", "profile", "email"))
    groups_claim: ClaimName = key(
        "Claim with the caller's groups; bindings of `group:NAME` give them roles.", default="groups"
    )
    name_claim: ClaimName = key("Claim with a name for people to read.", default="email")
    audience: str | None = key(
        "Audience of bearer tokens of machines. Without it the provider's tokens are not taken as bearer tokens.",
        default=None,
        pattern=r"^[!-~]{1,255}$",
        shown="none",
    )
    max_token_age: Duration = key(
        "A bearer token that was issued longer ago is refused, whatever its expiry.",
        default=timedelta(hours=24),
        ge=timedelta(minutes=1),
    )
    ca_file: FilePath | None = key(
        "Roots (PEM) to verify the provider by.", default=None, shown="the operating system's"
    )

    def problems(self) -> Iterator[Problem]:
        """What is missing, or means nothing."""
        if any(not _SCOPE.fullmatch(scope) for scope in self.scopes):
            yield Problem("oidc.scopes", "has something that is no scope (RFC 6749 section 3.3)")
        given = [self.client_id, self.client_secret_file, self.redirect_url, self.audience]
        if self.issuer is None:
            if any(each is not None for each in given):
                yield Problem("oidc.issuer", "is needed for what else the table says")
            return
        if (self.client_id is None) != (self.redirect_url is None):
            yield Problem("oidc.redirect_url", "and client_id are needed both, or neither", "set both to let people in")
        if self.client_id is None and self.audience is None:
            yield Problem("oidc.client_id", "is needed for people to log in", "set it, or audience for machines alone")
        if self.redirect_url is not None and urlsplit(self.redirect_url).path != "/login/callback":
            yield Problem("oidc.redirect_url", "does not end in /login/callback", "that is where this server answers")


class AdminSection(Section):
    """The admin API and its pages over HTTPS, and who may use them. docs/access.md says how these fit together."""

    listen: ListenAddress | None = key("TCP address of the listener.", default=None, shown="none")
    profile: AdminProfile = key(
        "`https_spiffe`: the server's own X.509-SVID, `spiffe://TRUST_DOMAIN/sds/server`. `https_web`: `cert_file`.",
        default="https_web",
    )
    cert_file: FilePath | None = key("As in `endpoints.bundle`.", default=None, shown="none")
    key_file: FilePath | None = key("As in `endpoints.bundle`.", default=None, shown="none")
    hosts: TextList = key(
        "Names by which callers may address it, `HOST` or `HOST:PORT`. A request for another one is refused.",
        default=(),
        shown="`listen`",
    )
    client_certificates: bool = key(
        "Ask for a client certificate, which may be an X.509-SVID of this trust domain; none has to be shown.",
        default=True,
    )
    socket_mode: FileMode = key(
        "Mode of `admin_socket`. Others than root and the server's own user need it, a folder that they can enter, and "
        "a binding of `uid:N`.",
        default=0o600,
        shown='"0600"',
    )
    token_ttl: Duration = key(
        "How long an API token is good for where nobody says.",
        default=timedelta(days=30),
        ge=timedelta(minutes=1),
    )
    token_max_ttl: Duration = key(
        "The longest that an API token may be good for.", default=timedelta(days=90), ge=timedelta(minutes=1)
    )
    four_eyes: TextList = key(
        "What somebody else has to approve first: `authority.revoke`, `revocation.mass` (whatever ends more than one "
        "identity), `audit.retention`.",
        default=(),
        shown="none",
    )
    approval_ttl: Duration = key(
        "How long a request waits for its approval.", default=timedelta(hours=24), ge=timedelta(minutes=1)
    )
    session: AdminSessionSection = AdminSessionSection()
    limits: AdminLimitsSection = AdminLimitsSection()
    oidc: AdminOidcSection = AdminOidcSection()

    @property
    def allowed_hosts(self) -> frozenset[str]:
        """What a Host header may be, in small letters."""
        assert self.listen is not None  # noqa: S101 - for the type checker; asked only where it listens
        given = self.hosts or (str(self.listen).rpartition(":")[0],)
        found = set[str]()
        for name in given:
            bare = name if name.endswith("]") or ":" not in name else name.rpartition(":")[0]
            found |= {name.lower()} if bare != name else {name.lower(), f"{name}:{self.listen.port}".lower()}
        return frozenset(found)

    @model_validator(mode="after")
    def _check(self) -> Self:
        cross_check([*self._tls(), *self._names(), *self.oidc.problems()])
        return self

    def _tls(self) -> Iterator[Problem]:
        if self.listen is None:
            return
        for file in ("cert_file", "key_file"):
            given = getattr(self, file) is not None
            if self.profile == "https_web" and not given:
                yield Problem(file, "is needed for the profile https_web")
            if self.profile != "https_web" and given:
                yield Problem(file, f"means nothing for the profile {self.profile}", "remove it")
        if not self.hosts and _any_address(self.listen.host):
            yield Problem("hosts", "is needed where it listens on every address", "say how callers address it")

    def _names(self) -> Iterator[Problem]:
        if any(not _HOST.fullmatch(name.lower()) for name in self.hosts):
            yield Problem("hosts", "has something that is neither HOST nor HOST:PORT")
        if unknown := set(self.four_eyes) - set(FOUR_EYES):
            yield Problem("four_eyes", f"has {len(unknown)} that cannot be chosen", f"choose of {', '.join(FOUR_EYES)}")
        if self.token_ttl > self.token_max_ttl:
            yield Problem("token_ttl", "is longer than token_max_ttl")
        if self.session.idle > self.session.max:
            yield Problem("session.idle", "is longer than session.max")


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _any_address(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False
