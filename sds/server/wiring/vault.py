"""The client of Vault, put together from the configuration."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from ca.masked import Masked
from sds.backoff import Backoff
from sds.clock import Clock
from sds.config.vault import VaultAuthSection, VaultSection
from sds.vault.auth.approle import AppRole, AppRoleConfig
from sds.vault.auth.certificate import ClientCertificate
from sds.vault.auth.method import AuthMethod
from sds.vault.auth.token_file import TokenFile
from sds.vault.auth.web_token import Kubernetes, OwnJwt
from sds.vault.breaker import BreakerRules
from sds.vault.client import ClientOptions, VaultClient
from sds.vault.http import HttpOptions, HttpTransport
from sds.vault.line import Line, VaultObserver
from sds.vault.retry import RetryRules
from sds.vault.session import Session

LOGIN_PAUSES = Backoff(timedelta(seconds=1), timedelta(seconds=30))


def open_vault(
    config: VaultSection, clock: Clock, observer: VaultObserver, mint: Callable[[], Masked[str]]
) -> VaultClient | None:
    """None where there is no Vault. Nothing is sent before it is needed. `mint` makes our own JWT-SVIDs, and blocks."""
    if not config.address:
        return None
    transport = HttpTransport(_http(config), clock.monotonic)
    line = Line(transport, BreakerRules(), clock, observer)
    session = Session(line, _method(config.auth, mint, line.renew), LOGIN_PAUSES, clock, observer)
    return VaultClient(session, line, _options(config), clock)


def _http(config: VaultSection) -> HttpOptions:
    shows_certificate = config.auth.method == "cert"
    return HttpOptions(
        config.address,
        config.namespace,
        config.ca_file,
        config.tls_server_name,
        config.auth.cert_file if shows_certificate else None,
        config.auth.key_file if shows_certificate else None,
        config.timeout.total_seconds(),
        config.max_connections,
        config.max_response_bytes,
    )


def _options(config: VaultSection) -> ClientOptions:
    timeout = config.timeout.total_seconds()
    return ClientOptions(
        requests_per_second=config.requests_per_second,
        burst=config.burst,
        longest_wait=timeout,
        threads=config.max_connections,
        retries=RetryRules(config.max_retries, longest=timeout),
    )


def _method(auth: VaultAuthSection, mint: Callable[[], Masked[str]], renew: Callable[[], None]) -> AuthMethod:
    """The configuration's own checks leave nothing out that a method needs."""
    mount = auth.mounted_at
    match auth.method:
        case "token_file" if auth.token_file is not None:
            return TokenFile(auth.token_file)
        case "approle" if auth.secret_id_file is not None:
            return AppRole(AppRoleConfig(mount, auth.role_id, auth.secret_id_file, auth.secret_id_wrapped))
        case "kubernetes":
            return Kubernetes(mount, auth.role, auth.pod_token)
        case "jwt":
            return OwnJwt(mount, auth.role, mint)
        case "cert" if auth.cert_file is not None and auth.key_file is not None:
            return ClientCertificate(mount, auth.role, auth.cert_file, auth.key_file, renew)
        case _:
            raise ValueError("the configuration was not checked")
