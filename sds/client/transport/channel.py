"""The HTTP client for a target: a Unix socket, or TLS with the certificates that stand in their files now."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from pathlib import Path

import httpx

from sds import __version__
from sds.client.errors import Unreachable, Unusable
from sds.client.targets import Https, Target, UnixSocket
from sds.http.no_tls import NO_TLS

LONGEST_SOCKET_PATH = 107
"""Bytes of sockaddr_un.sun_path without its closing NUL (unix(7))."""
_HEADERS = {"User-Agent": f"sds/{__version__}", "Accept-Encoding": "identity"}
_REASONS = {
    errno.ENOENT: "there is no such socket",
    errno.ENOTDIR: "there is no such socket",
    errno.ECONNREFUSED: "nothing listens there",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.ENOTSOCK: "it is not a socket",
    errno.EHOSTUNREACH: "there is no route to it",
    errno.ENETUNREACH: "there is no route to it",
}
_Stamp = tuple[tuple[int, int, int], ...]


class Channel:
    """Gives out the HTTP client of its target; a new one when a certificate's file has changed."""

    def __init__(self, target: Target, timeout: float) -> None:
        self._target = target
        self._timeout = timeout
        self._http: httpx.Client | None = None
        self._stamp: _Stamp = ()
        self._known_to_listen = False

    def close(self) -> None:
        if self._http is not None:
            self._http.close()
            self._http = None

    def http(self) -> httpx.Client:
        """Raises Unreachable, Unusable."""
        if isinstance(self._target, UnixSocket):
            self._knock(self._target.path)
            if self._http is None:
                transport = httpx.HTTPTransport(uds=str(self._target.path), verify=NO_TLS)
                self._http = self._client("http://sds", transport)
            return self._http
        return self._https(self._target)

    def _https(self, target: Https) -> httpx.Client:
        stamp = tuple(_stamp(path) for path in _files(target))
        if self._http is None or stamp != self._stamp:
            made = self._client(target.base_url, httpx.HTTPTransport(verify=_context(target)))
            self.close()
            self._http, self._stamp = made, stamp
        return self._http

    def _client(self, base_url: str, transport: httpx.BaseTransport) -> httpx.Client:
        """No proxies, no netrc, no redirects: whatever the environment says, a token goes to the target alone."""
        return httpx.Client(
            transport=transport,
            base_url=base_url,
            timeout=self._timeout,
            trust_env=False,
            follow_redirects=False,
            headers=_HEADERS,
        )

    def _knock(self, path: Path) -> None:
        """Connect once ourselves: httpx hides why it could not, and leaves the failed socket open."""
        if self._known_to_listen:
            return
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(self._timeout)
                probe.connect(str(path))
        except OSError as error:
            raise unreachable(self._target, error) from None
        self._known_to_listen = True


def unreachable(target: Target, error: Exception) -> Unreachable:
    """Why, in words of ours: a library's may quote what was sent."""
    where = str(target)
    if isinstance(target, UnixSocket) and len(os.fsencode(target.path)) > LONGEST_SOCKET_PATH:
        return Unreachable(where, "its path is too long for a Unix socket", errno=errno.ENAMETOOLONG)
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return Unreachable(where, "it did not answer in time", timed_out=True)
    found = _cause(error)
    if isinstance(found, ssl.SSLCertVerificationError):
        return Unreachable(where, f"its certificate is not to be trusted: {found.verify_message}")
    if isinstance(found, ssl.SSLError):
        return Unreachable(where, f"TLS failed ({(found.reason or 'unknown').replace('_', ' ').lower()})")
    if isinstance(found, socket.gaierror):
        return Unreachable(where, "there is no such host")
    if isinstance(found, OSError) and (
        not isinstance(error, httpx.TransportError) or isinstance(error, httpx.ConnectError)
    ):
        return Unreachable(where, _REASONS.get(found.errno or 0, "connecting failed"), errno=found.errno or 0)
    return Unreachable(where, "it broke off before it answered")


def _cause(error: BaseException) -> BaseException:
    """What the operating system or OpenSSL said, which libraries wrap."""
    seen: BaseException | None = error
    for _ in range(8):
        if seen is None or isinstance(seen, OSError):
            break
        seen = seen.__cause__ or seen.__context__
    return seen or error


def _files(target: Https) -> list[Path]:
    certificate = target.certificate
    pair = [] if certificate is None else [certificate.certificate_file, certificate.key_file]
    return pair if target.ca_file is None else [target.ca_file, *pair]


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise Unusable(f"{path} cannot be read: {error.strerror}") from None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _context(target: Https) -> ssl.SSLContext:
    context = ssl.create_default_context() if target.ca_file is None else _trusting(target.ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if target.server_id is not None:
        context.check_hostname = False  # an X.509-SVID is told by its URI; the chain is verified all the same
        context.sslsocket_class = _told_by(str(target.server_id))
    own = target.certificate
    if own is None:
        return context
    try:
        context.load_cert_chain(own.certificate_file, own.key_file, password=_no_password)
    except (OSError, ValueError) as error:  # ssl.SSLError is one of the former
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or "it is encrypted"
        raise Unusable(f"{own.certificate_file} with the key {own.key_file} cannot be used: {reason}") from None
    return context


def _trusting(ca_file: Path) -> ssl.SSLContext:
    """A context that trusts these alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=ca_file)
    except OSError:
        raise Unusable(f"{ca_file} holds no certificates that can be read") from None
    return context


def _told_by(spiffe_id: str) -> type[ssl.SSLSocket]:
    """Connections that end right after the handshake, before anything is sent, with whoever is somebody else."""

    class Checked(ssl.SSLSocket):
        def do_handshake(self, block: bool = False) -> None:
            super().do_handshake(block)
            names = (self.getpeercert() or {}).get("subjectAltName", ())
            uris = [each[1] for each in names if each[0] == "URI"]  # X.509-SVID section 2: exactly one
            if uris != [spiffe_id]:
                refused = ssl.SSLCertVerificationError("another SPIFFE ID")
                refused.verify_message = f"it is not that of {spiffe_id}"
                raise refused

    return Checked


def _no_password() -> str:
    """OpenSSL would ask the terminal."""
    raise ValueError("the key is encrypted")
