"""The URL of a bundle endpoint (SPIFFE Federation 5.2.1.1, 5.2.2.1). Pure."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

from sds.server.federation.errors import InvalidEndpoint

MAX_URL = 2048


def check_url(unverified: str) -> str:
    """The URL, if it is one that a bundle endpoint may have. Raises InvalidEndpoint.

    1. Printable ASCII of a bounded length.
    2. The scheme is https, and there is a host and, if any, a valid port.
    3. No user information: credentials have no place in it, and it serves to disguise a host.
    """
    _check_text(unverified)  # 1
    try:
        parts = urlsplit(unverified)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise InvalidEndpoint("is not a URL") from None
    if parts.scheme != "https":  # 2
        raise InvalidEndpoint("must be an https URL")
    if not host or port == 0 or "\\" in parts.netloc:
        raise InvalidEndpoint("names no host that one can connect to")
    if "@" in parts.netloc:  # 3
        raise InvalidEndpoint("must not hold a user or a password")
    return unverified


def redirected(url: str, unverified_location: str) -> str:
    """Where a redirect of `url` leads, which must be a valid endpoint's URL too (5.2.1.4). Raises InvalidEndpoint."""
    _check_text(unverified_location)  # urljoin drops some of what must be refused
    try:
        target = urljoin(url, unverified_location)
    except ValueError:
        raise InvalidEndpoint("is not a URL") from None
    return check_url(target)


def _check_text(unverified: str) -> None:
    if len(unverified) > MAX_URL or not unverified.isascii() or not unverified.isprintable() or " " in unverified:
        raise InvalidEndpoint(f"is not a URL of at most {MAX_URL} printable ASCII characters")
