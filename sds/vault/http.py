"""HTTP to Vault by hvac's adapter: one server, verified, no redirects, no proxies, bounded time and size. Blocks."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import BoundedSemaphore, Lock
from typing import Any, Protocol
from urllib.parse import urlsplit

import requests
import urllib3.exceptions
from hvac.adapters import RawAdapter
from requests.adapters import HTTPAdapter

from ca.masked import Masked
from sds import __version__
from sds.http.tls import CIPHERS
from sds.vault.answers import Reply, retry_after
from sds.vault.call import Call
from sds.vault.errors import Replay, VaultUnavailable

_CHUNK = 64 * 1024
_USER_AGENT = f"sds/{__version__}"


class Transport(Protocol):
    """Sends one request, once. Blocks."""

    def send(self, call: Call, token: Masked[str] | None) -> Reply:
        """Raises VaultUnavailable where there is no answer of HTTP's."""
        ...

    def renew(self) -> None:
        """Read the certificate files anew before the next connection."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """`address`: https://HOST:PORT, or http:// on loopback. `timeout`: seconds for a connection, and for an answer.

    `ca_file`: roots to trust; None: the operating system's. `server_name`: what the certificate must be for; empty: the
    host of `address`. `cert_file` and `key_file`: a client certificate.
    """

    address: str
    namespace: str = ""
    ca_file: Path | None = None
    server_name: str = ""
    cert_file: Path | None = None
    key_file: Path | None = None
    timeout: float = 10.0
    max_connections: int = 8
    max_response_bytes: int = 8 * 1024 * 1024


class _Pinned(HTTPAdapter):
    """Connections of one TLS context. What requests would otherwise trust besides is left out."""

    def __init__(self, context: ssl.SSLContext | None, server_name: str) -> None:
        self._tls: dict[str, Any] = {} if context is None else {"ssl_context": context}
        if context is not None and server_name:
            self._tls["server_hostname"] = server_name
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **more: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, **more, **self._tls)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """The context verifies; requests would add the roots of certifi to those that were configured."""
        del url, verify, cert
        conn.cert_reqs = "CERT_REQUIRED"
        conn.ca_certs = conn.ca_cert_dir = None


class HttpTransport:
    """Implements Transport. At most `max_connections` requests are under way; a connection serves one at a time."""

    def __init__(self, options: HttpOptions, monotonic: Callable[[], float]) -> None:
        self._options = options
        self._monotonic = monotonic
        self._slots = BoundedSemaphore(options.max_connections)
        self._lock = Lock()
        self._idle: list[RawAdapter] = []
        self._generation = 0
        self._context: ssl.SSLContext | None = None
        self._closed = False

    def send(self, call: Call, token: Masked[str] | None) -> Reply:
        until = self._monotonic() + self._options.timeout
        if not self._slots.acquire(timeout=self._options.timeout):
            raise VaultUnavailable("all connections to Vault are busy", replay=Replay.NEVER)
        try:
            adapter, generation = self._take()
            try:
                reply = self._exchange(adapter, call, token, until)
            except BaseException:
                adapter.close()
                raise
            self._put(adapter, generation)
            return reply
        finally:
            self._slots.release()

    def renew(self) -> None:
        with self._lock:
            self._generation += 1
            self._context = None
            idle, self._idle = self._idle, []
        for adapter in idle:
            adapter.close()

    def close(self) -> None:
        self._closed = True
        self.renew()

    def _take(self) -> tuple[RawAdapter, int]:
        with self._lock:
            if self._closed:
                raise VaultUnavailable("the connection to Vault was closed", replay=Replay.NEVER)
            if self._idle:
                return self._idle.pop(), self._generation
            if self._context is None and urlsplit(self._options.address).scheme == "https":
                self._context = _tls_context(self._options)
            return self._adapter(self._context), self._generation

    def _put(self, adapter: RawAdapter, generation: int) -> None:
        with self._lock:
            if generation == self._generation and not self._closed:
                self._idle.append(adapter)
                return
        adapter.close()

    def _adapter(self, context: ssl.SSLContext | None) -> RawAdapter:
        options = self._options
        session = requests.Session()
        session.trust_env = False  # no proxies, no netrc, no roots from the environment
        session.adapters.clear()
        session.mount(f"{options.address}/", _Pinned(context, options.server_name))
        return RawAdapter(
            base_uri=options.address,
            session=session,
            timeout=(options.timeout, options.timeout),
            allow_redirects=False,
            strict_http=True,
        )

    def _exchange(self, adapter: RawAdapter, call: Call, token: Masked[str] | None, until: float) -> Reply:
        try:
            answer = adapter.request(
                call.method.lower(),
                f"/v1/{call.path}",
                headers=self._headers(call, token),
                raise_exception=False,
                params=dict(call.params),
                data=call.body,
                stream=True,
            )
            with answer:
                return Reply(
                    answer.status_code, self._read(answer, until), retry_after(answer.headers.get("Retry-After"))
                )
        except (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
            failure = _failure(error)
        # Raised here, so that the library's error, which knows the request, is not its context.
        if failure.replay is Replay.ALWAYS:
            self.renew()  # the files may have been replaced since
        raise failure

    def _headers(self, call: Call, token: Masked[str] | None) -> dict[str, str]:
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": _USER_AGENT}
        if self._options.namespace and call.namespaced:
            headers["X-Vault-Namespace"] = self._options.namespace
        if token is not None:
            headers["X-Vault-Token"] = token.reveal()
        if call.body is not None:
            headers["Content-Type"] = "application/merge-patch+json" if call.method == "PATCH" else "application/json"
        return headers

    def _read(self, answer: requests.Response, until: float) -> bytes:
        """All of the body. Each piece may take as long as a connection; all of them together no longer than that."""
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise VaultUnavailable("Vault's answer is compressed, which was not asked for", status=answer.status_code)
        body = bytearray()
        while chunk := answer.raw.read1(_CHUNK, decode_content=False):
            body += chunk
            if len(body) > self._options.max_response_bytes:
                limit = self._options.max_response_bytes
                raise VaultUnavailable(
                    f"Vault's answer is larger than {limit} bytes", status=answer.status_code, replay=Replay.NEVER
                )
            if self._monotonic() > until:
                raise VaultUnavailable("Vault's answer took too long")
        return bytes(body)


def _tls_context(options: HttpOptions) -> ssl.SSLContext:
    """Raises VaultUnavailable."""
    try:
        context = ssl.create_default_context(cafile=None if options.ca_file is None else str(options.ca_file))
    except (OSError, ssl.SSLError):
        raise VaultUnavailable(
            f"the roots in {options.ca_file} cannot be read, so that Vault cannot be verified", replay=Replay.NEVER
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    if options.cert_file is not None:
        try:
            context.load_cert_chain(str(options.cert_file), str(options.key_file), password=_no_password)
        except (OSError, ssl.SSLError, ValueError):
            raise VaultUnavailable(
                f"the client certificate in {options.cert_file} and its key in {options.key_file} cannot be used",
                replay=Replay.NEVER,
            ) from None
    return context


def _no_password() -> str:
    """OpenSSL would ask the terminal for the password of an encrypted key."""
    raise ValueError


def _failure(error: BaseException) -> VaultUnavailable:
    """What lies below the library's error, in words that hold nothing of the request or of the answer."""
    replay = Replay.ALWAYS if isinstance(error, requests.ConnectTimeout) else Replay.IF_IDEMPOTENT
    said = ""
    for link in _chain(error):
        if isinstance(link, ssl.SSLCertVerificationError):
            return VaultUnavailable(f"Vault's certificate does not verify: {link.verify_message}", replay=Replay.ALWAYS)
        if isinstance(link, ssl.SSLError):
            return VaultUnavailable(f"TLS with Vault failed: {link.reason or 'unknown'}")
        if isinstance(link, urllib3.exceptions.NewConnectionError):
            replay = Replay.ALWAYS
        if isinstance(link, TimeoutError | requests.Timeout | urllib3.exceptions.TimeoutError):
            said = said or "it does not answer in time"
        elif isinstance(link, OSError) and link.strerror:
            said = link.strerror
    return VaultUnavailable(f"Vault cannot be reached: {said or 'the connection broke'}", replay=replay)


def _chain(error: BaseException) -> list[BaseException]:
    """An error, what it was raised for, and what the libraries wrap in their errors' arguments."""
    todo: list[BaseException] = [error]
    seen: list[BaseException] = []
    while todo and len(seen) < 16:
        link = todo.pop(0)
        if any(link is one for one in seen):
            continue
        seen.append(link)
        todo += [one for one in (link.__cause__, link.__context__, *link.args) if isinstance(one, BaseException)]
        reason = getattr(link, "reason", None)
        if isinstance(reason, BaseException):
            todo.append(reason)
    return seen
