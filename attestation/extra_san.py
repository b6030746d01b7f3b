"""Subject alternative names beside the SPIFFE ID and DNS names: IP addresses and mailboxes, as ``ip:`` and ``email:``.

There is never another URI: an X.509-SVID has exactly one (X509-SVID 2).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address

from attestation.dns_name import dns_problem, spelling
from attestation.errors import InvalidSan

MAX_EMAIL_BYTES = 254  # RFC 5321 4.5.3.1.3, without the brackets of a path
MAX_LOCAL_BYTES = 64  # RFC 5321 4.5.3.1.1

_DOT_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")  # RFC 5322 3.2.3


class SanKind(StrEnum):
    """RFC 5280 4.2.1.6: iPAddress and rfc822Name."""

    IP = "ip"
    EMAIL = "email"


@dataclass(frozen=True, slots=True)
class ExtraSan:
    """One further name; `value` is its only spelling."""

    kind: SanKind
    value: str

    @classmethod
    def parse(cls, text: str) -> ExtraSan:
        """Read ``ip:10.0.0.1``, ``ip:2001:db8::1`` or ``email:ops@example.org``. Raises InvalidSan."""
        kind, colon, value = text.strip().partition(":")
        if not colon or kind.lower() not in _READERS:
            raise InvalidSan(_OTHERS.get(kind.lower(), "is neither ip:ADDRESS nor email:MAILBOX"))
        known = SanKind(kind.lower())
        return cls(known, _READERS[known](value.strip()))

    @property
    def address(self) -> IPv4Address | IPv6Address:
        """For `SanKind.IP`."""
        return ip_address(self.value)

    @property
    def domain(self) -> str:
        """The mailbox's host, for `SanKind.EMAIL`."""
        return self.value.rpartition("@")[2]

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}"


def _ip(text: str) -> str:
    """One address in the spelling of RFC 5952. Not one that names no host, or that two families could claim."""
    if len(text) > 64:
        raise InvalidSan("is not an IP address")
    try:
        address = ip_address(text)
    except ValueError:
        raise InvalidSan("is not an IP address") from None
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            raise InvalidSan("has a zone; a certificate's address has none")
        if address.ipv4_mapped is not None:
            raise InvalidSan("is an IPv4 address in an IPv6 one; write it as IPv4")
    if address.is_unspecified or address.is_multicast:
        raise InvalidSan("is an address that names no host")
    return str(address)


def _email(text: str) -> str:
    """A mailbox in ASCII (RFC 5280 4.2.1.6, rfc822Name) with a plain local part; its domain in lower case."""
    local, at, domain = text.rpartition("@")
    if len(text) > MAX_EMAIL_BYTES or not at or not 1 <= len(local) <= MAX_LOCAL_BYTES:
        raise InvalidSan(f"is not a mailbox such as ops@example.org of at most {MAX_EMAIL_BYTES} bytes")
    if not _DOT_ATOM.fullmatch(local):
        raise InvalidSan("has something before the @ that a plain mailbox has not")
    problem = dns_problem(domain) or ("has a wildcard" if domain.startswith("*") else "")
    if problem:
        raise InvalidSan(f"has a domain that {problem}")
    return f"{local}@{spelling(domain)}"


_READERS = {SanKind.IP: _ip, SanKind.EMAIL: _email}
_OTHERS = {
    "dns": "is a DNS name; those have a list of their own",
    "uri": "is a URI; an X.509-SVID has one, the SPIFFE ID",
    "spiffe": "is a URI; an X.509-SVID has one, the SPIFFE ID",
}
