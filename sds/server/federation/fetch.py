"""Asks a bundle endpoint: one authenticated GET with bounds on everything (SPIFFE Federation 5.2)."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from attestation.spiffe_id import SpiffeId, TrustDomain
from ca.bundle import MAX_BUNDLE_BYTES, TrustBundle, parse_spiffe_json
from ca.errors import InvalidBundle, InvalidSvid
from ca.svid import parse_svid
from sds import __version__
from sds.http.tls import CIPHERS
from sds.logs import get_logger
from sds.server.federation.endpoint import redirected
from sds.server.federation.errors import BundleRefused, EndpointNotAuthentic, EndpointUnreachable, InvalidEndpoint
from sds.store.federations import BundleSource, EndpointProfile

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HEADERS = {"accept": "application/json", "accept-encoding": "identity", "user-agent": f"sds/{__version__}"}


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """`timeout` is for all of one fetch. `web_ca_file`: roots for https_web; None: the operating system's."""

    timeout: timedelta = timedelta(seconds=10)
    max_redirects: int = 3
    web_ca_file: Path | None = None


class BundleFetcher:
    """Keeps nothing between two fetches: no connection, cookie, cached answer or remembered redirect (5.2.1.4)."""

    def __init__(self, options: FetchOptions) -> None:
        self._options = options
        self._log = get_logger(__name__)

    async def fetch(self, trust_domain: TrustDomain, source: BundleSource, trusted: TrustBundle | None) -> TrustBundle:
        """The bundle that the endpoint serves. The name of its trust domain is ours to know, not the document's (5.1).

        `trusted`: the bundle of the trust domain of `source.endpoint_id`, for https_spiffe. Raises PollFailed.
        """
        try:
            async with asyncio.timeout(self._options.timeout.total_seconds()):
                document = await self._document(source, trusted)
        except TimeoutError:
            raise EndpointUnreachable(f"no answer within {self._options.timeout.total_seconds():g} s") from None
        try:
            return parse_spiffe_json(trust_domain, document)
        except InvalidBundle as error:
            raise BundleRefused(str(error)) from None

    async def _document(self, source: BundleSource, trusted: TrustBundle | None) -> bytes:
        tls = await self._tls(source, trusted)
        url = source.endpoint_url
        for _ in range(self._options.max_redirects + 1):
            answer = await self._get(url, tls, source.endpoint_id)
            if isinstance(answer, bytes):
                return answer
            url = self._follow(source.endpoint_url, url, answer.location)
        raise EndpointUnreachable(f"more than {self._options.max_redirects} redirects")

    def _follow(self, configured: str, url: str, unverified_location: str) -> str:
        """The next URL. Raises EndpointUnreachable for one that no endpoint may have."""
        try:
            target = redirected(url, unverified_location)
        except InvalidEndpoint as error:
            raise EndpointUnreachable(f"the redirect's target {error}") from None
        host = urlsplit(target).hostname or ""
        if _inward(host) and host != urlsplit(configured).hostname:
            raise EndpointUnreachable("the redirect leads to this host or its neighbourhood")
        self._log.info("a bundle endpoint redirects", endpoint=configured, target=target)
        return target

    async def _get(self, url: str, tls: ssl.SSLContext, expected: SpiffeId | None) -> bytes | _Redirect:
        """One request. Nothing of the answer is looked at before its sender is known."""
        try:
            async with (
                httpx.AsyncClient(verify=tls, trust_env=False, timeout=None, headers=_HEADERS) as client,  # noqa: S113  # the caller's
                client.stream("GET", url) as answer,
            ):
                if expected is not None:
                    _check_peer(answer.extensions, expected)
                if answer.status_code in _REDIRECTS and "location" in answer.headers:
                    return _Redirect(answer.headers["location"])
                return await _body(answer)
        except httpx.HTTPError as error:
            raise _failure(error) from None
        except httpx.InvalidURL:
            raise EndpointUnreachable("the URL cannot be used") from None

    async def _tls(self, source: BundleSource, trusted: TrustBundle | None) -> ssl.SSLContext:
        """Raises EndpointNotAuthentic where there is nothing to trust the endpoint by."""
        if source.profile is EndpointProfile.HTTPS_WEB:
            try:
                return await asyncio.to_thread(_web_context, self._options.web_ca_file)
            except (OSError, ssl.SSLError) as error:
                raise EndpointNotAuthentic(
                    f"the web's authorities cannot be read: {error.strerror or 'not PEM'}"
                ) from None
        if source.endpoint_id is None or trusted is None or not trusted.x509_authorities:
            domain = source.endpoint_id.trust_domain if source.endpoint_id else "its trust domain"
            raise EndpointNotAuthentic(f"there is no authority of {domain} to know the endpoint by; set a bundle")
        return _spiffe_context(trusted)


@dataclass(frozen=True, slots=True)
class _Redirect:
    location: str


def _web_context(ca_file: Path | None) -> ssl.SSLContext:
    """RFC 6125 by the standard library: a trusted authority, and the host's name or address in the certificate."""
    context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    return context


def _spiffe_context(trusted: TrustBundle) -> ssl.SSLContext:
    """X509-SVID 5.1: a path to an authority of that trust domain and no other. `_check_peer` does the rest.

    An authority need not be self-signed to end a path (X509-SVID 5.1: trust anchors are what the bundle holds).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # 5.2.2: the SPIFFE ID is the server's identity, not where it is
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=trusted.pem().decode())
    return context


def _check_peer(extensions: Any, expected: SpiffeId) -> None:
    """5.2.2.4: a valid X509-SVID for exactly the configured SPIFFE ID. Raises EndpointNotAuthentic."""
    tls = extensions["network_stream"].get_extra_info("ssl_object")
    der = tls.getpeercert(binary_form=True) if tls is not None else None
    if not der:
        raise EndpointNotAuthentic("the endpoint showed no certificate")
    try:
        svid = parse_svid([der])
    except InvalidSvid as error:
        raise EndpointNotAuthentic(f"the endpoint's certificate is no X.509-SVID: {error}") from None
    if svid.spiffe_id != expected:
        raise EndpointNotAuthentic(f"the endpoint is {svid.spiffe_id}, not {expected}")


async def _body(answer: httpx.Response) -> bytes:
    """Raises EndpointUnreachable for another status than 200, BundleRefused for more bytes than a bundle may have."""
    if answer.status_code != httpx.codes.OK:
        raise EndpointUnreachable(f"the endpoint answered {answer.status_code}")
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise BundleRefused("the endpoint compresses its answer, which was not asked for")
    document = bytearray()
    async for part in answer.aiter_raw():
        document += part
        if len(document) > MAX_BUNDLE_BYTES:
            raise BundleRefused(f"the answer has more than {MAX_BUNDLE_BYTES} bytes")
    return bytes(document)


def _failure(error: httpx.HTTPError) -> EndpointUnreachable | EndpointNotAuthentic:
    """What lies below the library's error, in words that hold nothing of the other side's."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return EndpointNotAuthentic(f"the endpoint's certificate does not verify: {cause.verify_message}")
        if isinstance(cause, ssl.SSLError):
            return EndpointUnreachable(f"TLS failed: {cause.reason or 'unknown'}")
        if isinstance(cause, OSError) and cause.strerror:
            return EndpointUnreachable(f"cannot connect: {cause.strerror}")
        cause = cause.__cause__ or cause.__context__
    return EndpointUnreachable(f"no usable answer ({type(error).__name__})")


def _inward(host: str) -> bool:
    """Whether a name or address is certain to lead to this host or the link it is on."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast
