"""How notices are sent: by mail, and to a webhook."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from ipaddress import ip_address
from typing import Literal
from urllib.parse import urlsplit

from sds.config.problems import Problem
from sds.config.types import Count, Duration, FilePath, Section, VariableName, key

_SECOND, _MINUTE = timedelta(seconds=1), timedelta(minutes=1)
ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*", re.ASCII)
HOST = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*", re.ASCII)


class SmtpSection(Section):
    """The mail server that takes messages over."""

    host: str | None = key("Name or address. Without it no mail is sent.", default=None, shown="none")
    port: Count | None = key("Port.", default=None, ge=1, le=65535, shown="587; 465 for `tls`; 25 for `none`")
    security: Literal["starttls", "tls", "none"] = key(
        "`starttls` demands STARTTLS, `tls` is TLS from the beginning; the certificate is verified with either. `none` "
        "is for a mail server on this host, by a loopback address only.",
        default="starttls",
    )
    ca_file: FilePath | None = key(
        "Authorities (PEM) that its certificate must lead to, in place of those of the operating system.",
        default=None,
        shown="none",
    )
    user: str = key("User name, if it wants one.", default="", max_length=255, pattern="^[ -~]*$")
    password_file: FilePath | None = key(
        "File with the password; read for each connection.", default=None, shown="none"
    )
    password_env: VariableName | None = key(
        "Environment variable with the password, instead of a file.", default=None, shown="none"
    )
    sender: str | None = key(
        "Address that messages come from. Needed with `host`.",
        default=None,
        shown="none",
        max_length=254,
        pattern="^[!-~]+$",
    )
    timeout: Duration = key("Time to hand over one message.", default=30 * _SECOND, ge=_SECOND, le=5 * _MINUTE)

    @property
    def port_or_default(self) -> int:
        return self.port or {"starttls": 587, "tls": 465, "none": 25}[self.security]

    def problems(self) -> Iterator[Problem]:
        """What contradicts itself."""
        if self.host is None:
            return
        if not (HOST.fullmatch(self.host) or _is_address(self.host)) or len(self.host) > 253:
            yield Problem("host", "is neither an IP address nor a DNS name")
        if self.sender is None or not ADDRESS.fullmatch(self.sender):
            yield Problem("sender", "is needed, as a plain e-mail address")
        if self.security == "none" and not _loopback(self.host):
            yield Problem("security", "may be none on a loopback address only", "use starttls or tls")
        if self.password_file is not None and self.password_env is not None:
            yield Problem("password_env", "and password_file are two ways to say one thing", "give one of them")
        if bool(self.user) != (self.password_file is not None or self.password_env is not None):
            yield Problem("password_file", "or password_env and user need each other")


class NoticeWebhook(Section):
    """A webhook that is sent all notices as JSON, signed."""

    url: str | None = key(
        "https URL; http on a loopback address only. Redirects are not followed.", default=None, shown="none"
    )
    signing_key_file: FilePath | None = key(
        "File with the key (at least 32 bytes) that calls are signed with, as those of `secrets.webhook`: HMAC-SHA256 "
        "over the time, a dot and the body, in `X-SDS-Time` and `X-SDS-Signature`. Needed with `url`. Read at start.",
        default=None,
        shown="none",
    )
    signing_key_env: VariableName | None = key(
        "Environment variable with that key, instead of a file.", default=None, shown="none"
    )
    ca_file: FilePath | None = key(
        "Authorities (PEM) that its certificate must lead to, in place of those of the operating system.",
        default=None,
        shown="none",
    )
    timeout: Duration = key("Time for one call.", default=10 * _SECOND, ge=_SECOND, le=5 * _MINUTE)

    def problems(self) -> Iterator[Problem]:
        """What contradicts itself."""
        if self.url is None:
            return
        try:
            url = urlsplit(self.url)
            host, _ = url.hostname or "", url.port
        except ValueError:
            yield Problem("url", "is not a URL")
            return
        plain = self.url.isascii() and self.url.isprintable() and " " not in self.url and len(self.url) <= 2048
        if not plain or not host or url.username is not None or url.password is not None or url.fragment:
            yield Problem("url", "is not a URL without user, password and fragment")
        elif url.scheme != "https" and not (url.scheme == "http" and _loopback(host)):
            yield Problem("url", "is neither https nor http on a loopback address")
        if (self.signing_key_file is None) == (self.signing_key_env is None):
            yield Problem("signing_key_file", "or signing_key_env is needed with url, and not both")


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ip_address(host).is_loopback)
