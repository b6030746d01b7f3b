"""The public HTTP endpoints of the server: SPIFFE bundle, OpenID Connect discovery, revocation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from ipaddress import ip_address
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, model_validator

from sds.config.common import cross_check
from sds.config.problems import Problem
from sds.config.types import Address, Duration, FilePath, ListenAddress, Section, key

BundleProfile = Literal["https_spiffe", "https_web", "http"]
WebProfile = Literal["https_web", "http"]
SecretsProfile = Literal["https_spiffe", "https_web"]

_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+|/", re.ASCII)
_LONGEST_PATH = 255


def _url_path(value: object) -> str:
    if not isinstance(value, str) or not _PATH.fullmatch(value) or len(value) > _LONGEST_PATH:
        raise ValueError("is not a path of a URL without a slash at its end, e.g. /bundle.json")
    return value


UrlPath = Annotated[str, BeforeValidator(_url_path)]


class BundleEndpointSection(Section):
    """The SPIFFE bundle endpoint, from which other trust domains learn our authorities (SPIFFE Federation 5)."""

    listen: ListenAddress | None = key("TCP address of the endpoint.", default=None, shown="none")
    profile: BundleProfile = key(
        "`https_spiffe`: the server's own X.509-SVID, `spiffe://TRUST_DOMAIN/sds/server`. `https_web`: `cert_file`. "
        "`http`: for a proxy on this host that adds TLS; on a loopback address only.",
        default="https_spiffe",
    )
    path: UrlPath = key("Path of the bundle in its URL.", default="/")
    cert_file: FilePath | None = key(
        "Certificate chain (PEM, leaf first) for `https_web`. Read again when it changes.", default=None, shown="none"
    )
    key_file: FilePath | None = key(
        "Private key (PEM, not encrypted) for `https_web`. Read again when it changes.", default=None, shown="none"
    )


class OidcSection(Section):
    """OpenID Connect discovery, by which Vault, clouds and Kubernetes verify our JWT-SVIDs. Needs `jwt.issuer`."""

    listen: ListenAddress | None = key("TCP address of the endpoint.", default=None, shown="none")
    profile: WebProfile = key(
        "`https_web`: `cert_file`. `http`: for a proxy on this host that adds TLS; on a loopback address only.",
        default="https_web",
    )
    cert_file: FilePath | None = key("As in `endpoints.bundle`.", default=None, shown="none")
    key_file: FilePath | None = key("As in `endpoints.bundle`.", default=None, shown="none")
    max_age: Duration = key(
        "How long consumers may keep the keys without asking again. A new JWT authority waits that long before it "
        "signs.",
        default=timedelta(minutes=5),
        ge=timedelta(0),
        le=timedelta(days=1),
    )


class RevocationEndpointSection(Section):
    """CRLs and OCSP answers over plain HTTP: they are signed, and must be had before any certificate is trusted."""

    listen: ListenAddress | None = key("TCP address of the endpoint.", default=None, shown="none")


class SecretsEndpointSection(Section):
    """Secrets over HTTPS for workloads without an agent: they prove themselves by a JWT-SVID."""

    listen: ListenAddress | None = key("TCP address of the endpoint.", default=None, shown="none")
    profile: SecretsProfile = key(
        "`https_spiffe`: the server's own X.509-SVID, `spiffe://TRUST_DOMAIN/sds/server`. `https_web`: `cert_file`.",
        default="https_spiffe",
    )
    cert_file: FilePath | None = key("As in `endpoints.bundle`.", default=None, shown="none")
    key_file: FilePath | None = key("As in `endpoints.bundle`.", default=None, shown="none")
    audience: str | None = key(
        "What the audience of the JWT-SVIDs has to be.",
        default=None,
        pattern=r"^[!-~]{1,255}$",
        shown="`spiffe://TRUST_DOMAIN/sds/server`",
    )


_WithTls = BundleEndpointSection | OidcSection | SecretsEndpointSection
_Endpoint = _WithTls | RevocationEndpointSection


class EndpointsSection(Section):
    """Public HTTP endpoints. Those with the same `listen` share one listener, and must then have the same TLS."""

    bundle: BundleEndpointSection = BundleEndpointSection()
    oidc: OidcSection = OidcSection()
    revocation: RevocationEndpointSection = RevocationEndpointSection()
    secrets: SecretsEndpointSection = SecretsEndpointSection()

    @property
    def addresses(self) -> dict[str, Address]:
        """Where these listen, each address once, by the first key that names it."""
        found: dict[Address, str] = {}
        for name, section in self._sections():
            if section.listen is not None:
                found.setdefault(section.listen, f"endpoints.{name}.listen")
        return {name: address for address, name in found.items()}

    def problems(self, issuer: str | None) -> list[Problem]:
        """What does not fit `jwt.issuer`."""
        if self.oidc.listen is not None and issuer is None:
            return [Problem("oidc.listen", "serves discovery for jwt.issuer, which is not set", "set jwt.issuer")]
        return []

    def _sections(self) -> Iterator[tuple[str, _Endpoint]]:
        yield from (("bundle", self.bundle), ("oidc", self.oidc), ("revocation", self.revocation))
        yield ("secrets", self.secrets)

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = [
            *_tls_problems("bundle", self.bundle),
            *_tls_problems("oidc", self.oidc),
            *_tls_problems("secrets", self.secrets),
        ]
        first: dict[Address, tuple[str, tuple[object, ...]]] = {}
        for name, section in self._sections():
            if section.listen is None or not section.listen.port:
                continue
            sharer, tls = first.setdefault(section.listen, (name, _tls_of(section)))
            if tls != _tls_of(section):
                problems.append(
                    Problem(
                        f"{name}.listen",
                        f"is that of endpoints.{sharer}, whose TLS is another",
                        "give it a port of its own, or the same profile and files",
                    )
                )
        cross_check(problems)
        return self


def _tls_problems(
    name: str, section: BundleEndpointSection | OidcSection | SecretsEndpointSection
) -> Iterator[Problem]:
    if section.listen is None:
        return
    for file in ("cert_file", "key_file"):
        given = getattr(section, file) is not None
        if section.profile == "https_web" and not given:
            yield Problem(f"{name}.{file}", "is needed for the profile https_web")
        if section.profile != "https_web" and given:
            yield Problem(f"{name}.{file}", f"means nothing for the profile {section.profile}", "remove it")
    if section.profile == "http" and not _loopback(section.listen.host):
        yield Problem(
            f"{name}.listen", "is not a loopback address", "serve TLS, or put a proxy with TLS on this host in front"
        )


def _tls_of(section: _Endpoint) -> tuple[object, ...]:
    if isinstance(section, RevocationEndpointSection):
        return ("http", None, None)
    return (section.profile, section.cert_file, section.key_file)


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
