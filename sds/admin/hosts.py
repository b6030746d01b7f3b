"""Where a request says that it goes to, and where a browser says that it comes from. Pure.

What stands against pages of other sites: by DNS rebinding, which makes a name of theirs lead here, and by requests that
they have an administrator's browser send.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from sds.admin.errors import NotAdmitted, WrongHost

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing (RFC 9110 section 9.2.1)."""
CLIENTS_NAME = "sds"
"""What our own client calls the server at the other end of a Unix socket."""
_HOST_PORT = re.compile(r"(\[[0-9a-f:]{2,39}\]|[0-9a-z.]{1,64})(?::[0-9]{1,5})?", re.ASCII)


class ForeignSite(NotAdmitted):
    """A page of another site sent what changes something."""

    def __init__(self) -> None:
        super().__init__("the request was sent by a page of another site", told="sent by another site", final=True)


def check_host(headers: Headers, known: Callable[[str], bool], why: str) -> str:
    """The one Host header, in small letters. Raises WrongHost, which says `why`, unless it is `known`."""
    given = headers.getlist("host")
    if len(given) != 1 or not known(given[0].lower()):
        raise WrongHost(why, told="", final=True)
    return given[0].lower()


def check_origin(headers: Headers, host: str, schemes: Collection[str]) -> None:
    """Fetch Metadata and RFC 6454 section 7: what a browser says of where a request comes from. Raises ForeignSite."""
    site = headers.getlist("sec-fetch-site")
    if any(each != "same-origin" for each in site):
        raise ForeignSite
    for origin in headers.getlist("origin"):
        if not _is_of(origin, host, schemes):
            raise ForeignSite


def is_loopback(host: str) -> bool:
    """Whether a Host header, in small letters, names a Unix socket or this very host: what no DNS has a say in.

    `sds`, or `localhost` or a loopback address with whatever port a tunnel has (RFC 6761 section 6.3).
    """
    if host == CLIENTS_NAME:
        return True
    found = _HOST_PORT.fullmatch(host)
    if found is None:
        return False
    name = found[1].strip("[]")
    try:
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


def _is_of(origin: str, host: str, schemes: Collection[str]) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:  # an address in brackets that is none
        return False
    return parts.scheme in schemes and parts.netloc.lower() == host
