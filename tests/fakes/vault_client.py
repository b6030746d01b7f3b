"""Clients of a test's Vault server, put together as sds/server/wiring/vault.py does it, but quicker to give up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from sds.backoff import Backoff
from sds.clock import Clock, SystemClock
from sds.vault.auth.method import AuthMethod
from sds.vault.auth.token_file import TokenFile
from sds.vault.breaker import BreakerRules
from sds.vault.client import ClientOptions, VaultClient
from sds.vault.http import HttpOptions, HttpTransport
from sds.vault.line import Line
from sds.vault.session import Session
from tests.fakes.vault_server import VaultServer

QUICK = Backoff(timedelta(milliseconds=50), timedelta(milliseconds=500))


@dataclass(slots=True)
class Seen:
    """Implements sds.vault.line.VaultObserver."""

    requests: list[tuple[str, str, str]] = field(default_factory=list)
    up: bool | None = None
    token: float | None = -1.0

    def vault_request(self, method: str, operation: str, outcome: str, seconds: float) -> None:
        assert seconds >= 0
        self.requests.append((method, operation, outcome))

    def vault_up(self, up: bool) -> None:
        self.up = up

    def vault_token(self, seconds: float | None) -> None:
        self.token = seconds

    def count(self, method: str, operation: str, outcome: str = "success") -> int:
        return self.requests.count((method, operation, outcome))


@dataclass(frozen=True, slots=True)
class Parts:
    """A client and what it is made of."""

    client: VaultClient
    session: Session
    line: Line
    transport: HttpTransport
    seen: Seen


def http_options(server: VaultServer, timeout: float = 20.0) -> HttpOptions:
    return HttpOptions(server.url, ca_file=server.ca_file, timeout=timeout)


def put_together(
    http: HttpOptions,
    method: AuthMethod | Callable[[Line], AuthMethod],
    options: ClientOptions | None = None,
    clock: Clock | None = None,
    rules: BreakerRules | None = None,
) -> Parts:
    clock = clock or SystemClock()
    seen = Seen()
    transport = HttpTransport(http, clock.monotonic)
    line = Line(transport, rules or BreakerRules(backoff=QUICK), clock, seen)
    session = Session(line, method(line) if callable(method) else method, QUICK, clock, seen)
    return Parts(VaultClient(session, line, options or ClientOptions(watch=0.5), clock), session, line, transport, seen)


def token_file(folder: Path, token: str, name: str = "vault-token") -> Path:
    """As Vault Agent writes one: whole, and closed to others."""
    path, new = folder / name, folder / f"{name}.new"
    new.touch(mode=0o600)
    new.write_text(token + "\n")
    new.rename(path)
    return path


def root_client(server: VaultServer, folder: Path, **options: float) -> VaultClient:
    """A client that may do everything, for tests of what is built on it. Close it."""
    method = TokenFile(token_file(folder, server.root, "root-token"))
    made = replace(ClientOptions(watch=0.5), **options)
    return put_together(http_options(server), method, made).client
