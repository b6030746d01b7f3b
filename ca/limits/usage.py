"""What a profile's certificates are for, and where their issuer can be asked about them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import urlsplit

from cryptography.x509.oid import ExtendedKeyUsageOID

AUTHORITY = "{authority}"
"""Stands in an address for the authority's ID: revocation lists and responders are each authority's own."""
MAX_ADDRESSES = 4
MAX_ADDRESS_CHARS = 1024

SERVER_AUTH = ExtendedKeyUsageOID.SERVER_AUTH.dotted_string
CLIENT_AUTH = ExtendedKeyUsageOID.CLIENT_AUTH.dotted_string
PURPOSES: Mapping[str, str] = MappingProxyType(
    {
        "server_auth": SERVER_AUTH,
        "client_auth": CLIENT_AUTH,
        "email_protection": ExtendedKeyUsageOID.EMAIL_PROTECTION.dotted_string,
        "code_signing": ExtendedKeyUsageOID.CODE_SIGNING.dotted_string,
        "ipsec_ike": ExtendedKeyUsageOID.IPSEC_IKE.dotted_string,
        "smartcard_logon": ExtendedKeyUsageOID.SMARTCARD_LOGON.dotted_string,
        "pkinit_client": "1.3.6.1.5.2.3.4",  # RFC 4556 3.2.2
        "pkinit_kdc": ExtendedKeyUsageOID.KERBEROS_PKINIT_KDC.dotted_string,
    }
)
"""Extended key usages that have a name in the configuration."""
_FORBIDDEN = frozenset(
    oid.dotted_string
    for oid in (
        ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,  # would lift every other limit
        ExtendedKeyUsageOID.OCSP_SIGNING,  # would let a workload answer for its authority (RFC 6960 4.2.2.2)
        ExtendedKeyUsageOID.TIME_STAMPING,  # must stand alone (RFC 3161 2.3)
        ExtendedKeyUsageOID.CERTIFICATE_TRANSPARENCY,  # a precertificate's signer (RFC 6962 3.1)
    )
)
_OID = re.compile(r"(?:[01]\.(?:0|[1-3]?[0-9])|2\.(?:0|[1-9][0-9]{0,3}))(?:\.(?:0|[1-9][0-9]{0,9})){1,20}")
_URL = re.compile(r"[!-~]+")  # RFC 3986: printable ASCII without blanks


@dataclass(frozen=True, slots=True)
class Usage:
    """Key usage and extended key usage (X509-SVID 4.3, 4.4).

    Digital signature is always set. Key encipherment is for RSA keys alone and key agreement for elliptic curves, so
    each is set only in certificates for such keys. `purposes` are the object identifiers beside those of TLS servers
    and clients, both of which an X.509-SVID with extended key usages has to have.
    """

    key_encipherment: bool = True
    key_agreement: bool = False
    purposes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for oid in self.purposes:
            if problem := purpose_problem(oid):
                raise ValueError(problem)
        if len({SERVER_AUTH, CLIENT_AUTH, *self.purposes}) != len(self.purposes) + 2:
            raise ValueError("a purpose is given twice")

    @property
    def all_purposes(self) -> tuple[str, ...]:
        return (SERVER_AUTH, CLIENT_AUTH, *self.purposes)


@dataclass(frozen=True, slots=True)
class Addresses:
    """URLs in which ``{authority}`` stands for the issuing authority's ID: CRL distribution points (RFC 5280
    4.2.1.13), OCSP responders and copies of the issuer's certificate (4.2.2.1).
    """

    crl: tuple[str, ...] = ()
    ocsp: tuple[str, ...] = ()
    ca_issuers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for urls in (self.crl, self.ocsp, self.ca_issuers):
            if len(urls) > MAX_ADDRESSES or len(set(urls)) != len(urls):
                raise ValueError(f"there are more than {MAX_ADDRESSES} addresses, or one is given twice")
            for url in urls:
                if problem := address_problem(url):
                    raise ValueError(problem)

    def of(self, authority_id: str) -> Addresses:
        """The addresses in certificates of one authority."""
        crl, ocsp, ca_issuers = (
            tuple(url.replace(AUTHORITY, authority_id) for url in urls)
            for urls in (self.crl, self.ocsp, self.ca_issuers)
        )
        return Addresses(crl, ocsp, ca_issuers)


def purpose_problem(oid: str) -> str:
    """What is wrong with an object identifier as a further purpose; empty if nothing is."""
    if not _OID.fullmatch(oid):
        return "is neither a purpose's name nor a dotted object identifier"
    if oid in _FORBIDDEN:
        return "is a purpose that no workload may have"
    return ""


def address_problem(url: str) -> str:
    """What is wrong with a URL for certificates; empty if nothing is."""
    if len(url) > MAX_ADDRESS_CHARS or not _URL.fullmatch(url):
        return f"is not a URL of at most {MAX_ADDRESS_CHARS} printable ASCII characters"
    plain = url.replace(AUTHORITY, "0" * 40)
    if "{" in plain or "}" in plain:
        return f"has braces other than {AUTHORITY}"
    try:
        parts = urlsplit(plain)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is not a URL"
    if parts.scheme not in {"http", "https"} or not host:
        return "is not an http:// or https:// URL with a host"
    if "@" in parts.netloc or parts.fragment or "#" in plain:
        return "has a user or a fragment, which an address in a certificate has not"
    if AUTHORITY in url.partition("://")[2].partition("/")[0]:
        return f"has {AUTHORITY} in its host"
    return ""
