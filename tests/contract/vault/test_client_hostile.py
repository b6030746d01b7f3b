"""Who else may answer in Vault's place, and where its secrets may not show."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import structlog
from prometheus_client import CollectorRegistry, generate_latest

from ca.masked import Masked
from sds.clock import SystemClock
from sds.logs import configure_logging, get_logger
from sds.metrics.vault import VaultMetrics
from sds.redaction import describe_exception
from sds.server.vault.telemetry import VaultTelemetry
from sds.vault.auth.approle import AppRole, AppRoleConfig
from sds.vault.auth.token_file import TokenFile
from sds.vault.breaker import BreakerRules
from sds.vault.client import ClientOptions, VaultClient
from sds.vault.errors import VaultError, VaultUnavailable
from sds.vault.http import HttpOptions, HttpTransport
from sds.vault.line import Line
from sds.vault.retry import RetryRules
from sds.vault.session import Session
from tests.fakes.pki import make
from tests.fakes.vault_client import QUICK, Parts, http_options, put_together, token_file
from tests.fakes.vault_relay import odd_server
from tests.fakes.vault_server import VaultServer

ONCE = ClientOptions(retries=RetryRules(0))


def client_of(http: HttpOptions, folder: Path, token: str) -> Parts:
    return put_together(http, TokenFile(token_file(folder, token)), ONCE)


# TLS


async def test_a_vault_of_another_root_gets_no_token(vault_on_disk: VaultServer, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    other = make("Vault Root", before=now - timedelta(hours=1), after=now + timedelta(days=1))
    roots = tmp_path / "roots.pem"
    roots.write_bytes(other.pem)
    parts = client_of(replace(http_options(vault_on_disk), ca_file=roots), tmp_path, vault_on_disk.root)
    with pytest.raises(VaultUnavailable, match="does not verify"):
        await parts.client.request("GET", "sys/mounts")

    assert vault_on_disk.ca_file is not None
    roots.write_bytes(vault_on_disk.ca_file.read_bytes())
    async with asyncio.timeout(30):  # there is a pause after a login that failed
        while True:
            with suppress(VaultUnavailable):
                answer = await parts.client.request("GET", "sys/mounts")
                break
            await asyncio.sleep(0.1)
    assert answer.data, "roots that were replaced are read again"
    await parts.client.close()


async def test_without_roots_of_its_own_those_of_the_system_count(vault_on_disk: VaultServer, tmp_path: Path) -> None:
    parts = client_of(replace(http_options(vault_on_disk), ca_file=None), tmp_path, vault_on_disk.root)
    with pytest.raises(VaultUnavailable, match="does not verify"):
        await parts.client.request("GET", "sys/mounts")
    await parts.client.close()


async def test_the_certificate_must_be_for_the_name(vault_on_disk: VaultServer, tmp_path: Path) -> None:
    right = replace(http_options(vault_on_disk), server_name="localhost")
    parts = client_of(right, tmp_path, vault_on_disk.root)
    assert (await parts.client.request("GET", "sys/mounts")).data
    await parts.client.close()
    wrong = client_of(replace(right, server_name="vault.example.org"), tmp_path, vault_on_disk.root)
    with pytest.raises(VaultUnavailable, match="does not verify"):
        await wrong.client.request("GET", "sys/mounts")
    await wrong.client.close()


async def test_roots_that_cannot_be_read(vault_on_disk: VaultServer, tmp_path: Path) -> None:
    for content in (None, b"", b"no pem"):
        roots = tmp_path / "roots.pem"
        if content is not None:
            roots.write_bytes(content)
        parts = client_of(replace(http_options(vault_on_disk), ca_file=roots), tmp_path, vault_on_disk.root)
        with pytest.raises(VaultUnavailable, match="cannot be read"):
            await parts.client.request("GET", "sys/mounts")
        await parts.client.close()


async def test_proxies_and_passwords_of_the_environment_are_not_used(
    vault_shared: VaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with odd_server(lambda handler: say(handler, 200, b"{}")) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        parts = client_of(http_options(vault_shared), tmp_path, vault_shared.root)
        assert (await parts.client.request("GET", "sys/mounts")).data
        assert proxy.asked == []
        await parts.client.close()


# Answers that Vault would not give


def say(handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


async def test_no_redirect_takes_the_token_elsewhere(tmp_path: Path) -> None:
    with (
        odd_server(lambda handler: say(handler, 200, b"{}")) as thief,
        odd_server(lambda handler: say(handler, 307, b"", Location=f"{thief.url}/v1/x")) as odd,
    ):
        parts = client_of(HttpOptions(odd.url), tmp_path, "some-token")
        with pytest.raises(VaultUnavailable, match=r"points to another server \(307\)"):
            await parts.client.request("GET", "secret/data/a", token=Masked("some-token"))
        assert thief.asked == []
        await parts.client.close()


def drip(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    for _ in range(1000):
        handler.wfile.write(b" ")
        time.sleep(0.05)


def flood(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    while True:
        handler.wfile.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (drip, "took too long"),
        (flood, "larger than"),
        (lambda handler: say(handler, 200, b"\x1f\x8b", Content_Encoding="gzip"), "compressed"),
        (lambda handler: say(handler, 200, b"<html>hello</html>"), "not as it should be"),
        (lambda handler: handler.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n"), "cannot be reached"),
        (
            lambda handler: handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort"),
            "cannot be reached",
        ),
        (lambda handler: None, "cannot be reached"),
    ],
    ids=["dripping", "endless", "compressed", "html", "ssh", "short", "nothing"],
)
async def test_what_answers_is_no_vault(tmp_path: Path, answer: object, said: str) -> None:
    def once(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        answer(handler)  # type: ignore[operator]

    with odd_server(once) as odd:
        parts = client_of(HttpOptions(odd.url, timeout=2.0, max_response_bytes=1_000_000), tmp_path, "some-token")
        with pytest.raises(VaultUnavailable, match=said):
            await parts.client.request("GET", "secret/data/a", token=Masked("some-token"))
        await parts.client.close()


async def test_nobody_listens(tmp_path: Path) -> None:
    parts = client_of(HttpOptions("http://127.0.0.1:9"), tmp_path, "some-token")
    with pytest.raises(VaultUnavailable, match="Connection refused"):
        await parts.client.request("GET", "secret/data/a", token=Masked("some-token"))
    await parts.client.close()


async def test_the_namespace_goes_with_every_request(tmp_path: Path) -> None:
    seen: list[str | None] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        seen.append(handler.headers.get("X-Vault-Namespace"))
        say(handler, 200, json.dumps({"data": {}}).encode())

    with odd_server(answer) as odd:
        parts = client_of(HttpOptions(odd.url, namespace="team/one"), tmp_path, "some-token")
        await parts.client.request("GET", "secret/data/a", token=Masked("some-token"))
        await parts.client.close()
    assert seen == ["team/one"]


async def test_a_namespace_of_openbao(vault_shared: VaultServer, tmp_path: Path) -> None:
    """OpenBao has them; Vault has them in its Enterprise edition alone, and says so."""
    made = vault_shared.call_blocking("sys/namespaces/team", {})
    if not made.is_success:
        assert vault_shared.name == "vault"
        assert made.status_code == 404
        return
    headers = {"X-Vault-Namespace": "team"}
    vault_shared.call_blocking("sys/mounts/kv", {"type": "kv"}, headers=headers)
    vault_shared.call_blocking("kv/a", {"b": "c"}, headers=headers)
    parts = client_of(replace(http_options(vault_shared), namespace="team"), tmp_path, vault_shared.root)
    assert (await parts.client.request("GET", "kv/a")).data == {"b": "c"}
    assert (await parts.client.request("GET", "sys/mounts")).data["kv/"]["type"] == "kv"
    await parts.client.close()


# Canaries


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """All that is logged, at the finest level; the process's logging is put back afterwards."""
    before = logging.getLogger()
    kept = (list(before.handlers), before.level, sys.excepthook, threading.excepthook)
    stream = io.StringIO()
    configure_logging(level="debug", stream=stream)
    yield stream
    logging.captureWarnings(False)
    structlog.reset_defaults()
    before.handlers[:], level, sys.excepthook, threading.excepthook = kept
    before.setLevel(level)


async def test_no_credential_shows_anywhere(vault_own: VaultServer, tmp_path: Path, lines: io.StringIO) -> None:
    """Through a login, a use, a revocation, a failed login and an outage."""
    vault_own.write_blocking("sys/auth/approle", {"type": "approle"})
    vault_own.write_blocking("auth/approle/role/sds", {"token_ttl": "1h"})
    vault_own.write_blocking("auth/approle/role/sds/role-id", {"role_id": "the-role"})
    secret_id = vault_own.write_blocking("auth/approle/role/sds/secret-id", {})["data"]["secret_id"]
    registry = CollectorRegistry()
    clock = SystemClock()
    telemetry = VaultTelemetry(VaultMetrics(registry), clock)
    transport = HttpTransport(http_options(vault_own), clock.monotonic)
    line = Line(transport, BreakerRules(backoff=QUICK), clock, telemetry)
    method = AppRole(AppRoleConfig("approle", "the-role", token_file(tmp_path, secret_id, "secret-id")))
    session = Session(line, method, QUICK, clock, telemetry)
    client = VaultClient(session, line, ONCE, clock)

    token = str((await client.request("GET", "auth/token/lookup-self")).data["id"])
    value = "canary-value-8832"
    shown: list[str] = []

    async def fails(*request: object) -> None:
        try:
            await client.request(*request)  # type: ignore[arg-type]
        except VaultError as error:
            get_logger("test").error("it failed", exc_info=error)
            shown.extend([str(error), repr(error), repr(error.__dict__), describe_exception(error)])
        else:
            raise AssertionError("it was to fail")

    await fails("POST", "secret/data/x", {"data": {"password": value}})
    await fails("POST", "sys/wrapping/unwrap", {"token": Masked(value)})
    vault_own.call_blocking("auth/approle/role/sds/secret-id/destroy", {"secret_id": secret_id})
    vault_own.write_blocking("auth/token/revoke", {"token": token})
    await fails("GET", "auth/token/lookup-self")
    vault_own.kill()
    await fails("GET", "auth/token/lookup-self")
    shown += [repr(one) for one in (client, session, line, transport, method, vars(session), vars(method))]
    shown += [str(client.problem()), generate_latest(registry).decode(), lines.getvalue()]
    await client.close()
    for canary in (token, secret_id, value):
        assert [text for text in shown if canary in text] == [], canary
    assert "logged in to Vault" in lines.getvalue()
    assert 'sds_server_vault_requests_total{method="POST",operation="login",outcome="success"} 1.0' in "".join(shown)
