"""The audit log: to whom it is told beside the database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import model_validator

from sds.config.common import cross_check
from sds.config.problems import Problem
from sds.config.types import Count, Duration, FilePath, RemoteAddress, Section, VariableName, key

MAX_SINKS = 16
_SECOND = timedelta(seconds=1)
SinkKind = Literal["stdout", "file", "syslog", "webhook", "otlp"]
Transport = Literal["unix", "udp", "tcp", "tls"]
Facility = Literal[
    "user", "daemon", "auth", "authpriv", "audit",
    "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
]  # fmt: skip

_COMMON = {"kind", "start", "batch", "timeout", "backoff_max"}
_TLS = {"ca_file", "cert_file", "key_file"}
_BEARER = {"bearer_file", "bearer_env"}
_KEYS: Mapping[SinkKind, set[str]] = {
    "stdout": set(),
    "file": {"path"},
    "syslog": {"transport", "address", "socket", "facility", "enterprise_number", "max_bytes", "server_name", *_TLS},
    "webhook": {"url", "signing_key_file", "signing_key_env", *_BEARER, *_TLS},
    "otlp": {"url", *_BEARER, *_TLS},
}


class AuditSinkSection(Section):
    """Someone who is told every audit event and every checkpoint, at least once and in order."""

    kind: SinkKind = key("`stdout`, `file`, `syslog` (RFC 5424), `webhook` (signed) or `otlp` (logs over HTTP).")
    start: Literal["oldest", "newest"] = key(
        "Where a sink begins that was never configured before: with the oldest event that is kept, or with what "
        "happens from now on.",
        default="oldest",
    )
    batch: Count = key("Most events in one delivery.", default=500, ge=1, le=5_000)
    timeout: Duration = key(
        "How long one delivery may take.", default=10 * _SECOND, ge=_SECOND, le=timedelta(minutes=2)
    )
    backoff_max: Duration = key(
        "Longest pause after a delivery that failed; the first is half a second.",
        default=30 * _SECOND,
        ge=_SECOND,
        le=timedelta(minutes=10),
    )
    path: FilePath | None = key(
        "`file`: the file, one JSON object a line, made with mode 0600. It is opened anew when it was renamed.",
        default=None,
        shown="none",
    )
    transport: Transport = key(
        "`syslog`: a Unix datagram socket, or UDP, TCP or TLS. UDP loses what does not arrive.", default="unix"
    )
    socket: FilePath = key("`syslog` over `unix`: the socket.", default=Path("/dev/log"))
    address: RemoteAddress | None = key("`syslog` over `udp`, `tcp`, `tls`: host and port.", default=None, shown="none")
    facility: Facility = key("`syslog`: the facility (RFC 5424 6.2.1); `audit` is 13, log audit.", default="audit")
    enterprise_number: Count = key(
        "`syslog`: the private enterprise number in the name of the structured data, `sds@32473`; that one is for "
        "examples (RFC 5612).",
        default=32_473,
        ge=1,
        le=2**32 - 1,
    )
    max_bytes: Count = key(
        "`syslog`: size of one message. An event that is larger is sent without its details, and says so.",
        default=8_192,
        ge=2_048,
        le=1_048_576,
    )
    server_name: str | None = key(
        "`syslog` over `tls`: the name in the receiver's certificate.", default=None, shown="the host of `address`"
    )
    url: str | None = key(
        "`webhook`, `otlp`: where to POST, e.g. `https://siem.example.org/v1/logs`.", default=None, shown="none"
    )
    ca_file: FilePath | None = key(
        "PEM certificates that the receiver's is verified by.", default=None, shown="the system's"
    )
    cert_file: FilePath | None = key("PEM certificate that is shown to the receiver.", default=None, shown="none")
    key_file: FilePath | None = key("Its private key.", default=None, shown="none")
    signing_key_file: FilePath | None = key(
        "`webhook`: file with the key (at least 32 bytes) of the signatures: HMAC-SHA256 over the time, a dot and the "
        "body. Read at start.",
        default=None,
        shown="none",
    )
    signing_key_env: VariableName | None = key(
        "`webhook`: environment variable with that key, instead of a file.", default=None, shown="none"
    )
    bearer_file: FilePath | None = key(
        "`webhook`, `otlp`: file with a token for `Authorization: Bearer`. Read at start.", default=None, shown="none"
    )
    bearer_env: VariableName | None = key(
        "`webhook`, `otlp`: environment variable with that token.", default=None, shown="none"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        cross_check([*self._foreign(), *self._needed(), *self._pairs()])
        return self

    def _foreign(self) -> Iterator[Problem]:
        """A key of another kind is a mistake that would otherwise go unseen."""
        allowed = _COMMON | _KEYS[self.kind]
        if self.kind == "syslog":
            allowed = allowed - ({"address"} if self.transport == "unix" else {"socket"})
            allowed = allowed - (set() if self.transport == "tls" else {"server_name", *_TLS})
        for name in sorted(self.model_fields_set - allowed):
            yield Problem(name, f"has no meaning for this sink of kind {self.kind}")

    def _needed(self) -> Iterator[Problem]:
        if self.kind == "file" and self.path is None:
            yield Problem("path", "is needed for a file")
        elif self.kind == "file" and self.path is not None and not self.path.is_absolute():
            yield Problem("path", "is not absolute")
        if self.kind == "syslog" and self.transport != "unix" and self.address is None:
            yield Problem("address", f"is needed for {self.transport}")
        if self.kind in {"webhook", "otlp"}:
            yield from self._url()
        if self.kind == "webhook" and self.signing_key_file is None and self.signing_key_env is None:
            yield Problem("signing_key_file", "or signing_key_env is needed for a webhook")

    def _url(self) -> Iterator[Problem]:
        if self.url is None:
            yield Problem("url", f"is needed for {self.kind}")
            return
        try:
            parts = urlsplit(self.url)
            host, _port = parts.hostname, parts.port
        except ValueError:
            host, parts = None, urlsplit("")
        if not host or parts.scheme not in {"http", "https"} or parts.username is not None or parts.fragment:
            yield Problem("url", "is not https://HOST/PATH without a user and a fragment")
        elif parts.scheme == "http" and not _loopback(host):
            yield Problem("url", "may be http on a loopback address only")

    def _pairs(self) -> Iterator[Problem]:
        if (self.cert_file is None) != (self.key_file is None):
            yield Problem("cert_file", "and key_file go together")
        for name in ("signing_key", "bearer"):
            if getattr(self, f"{name}_file") is not None and getattr(self, f"{name}_env") is not None:
                yield Problem(f"{name}_env", f"and {name}_file exclude each other")


class AuditSection(Section):
    """The audit log."""

    sinks: dict[str, AuditSinkSection] = key(
        "To whom the log is told, one table each.", default_factory=dict, shown="none"
    )

    retention: Duration | None = key(
        "How long events are kept; older ones are taken away, with a signed statement, once every sink has been given "
        "them. Their hashes stay.",
        default=None,
        ge=timedelta(days=1),
        shown="for ever",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems: list[Problem] = []
        if len(self.sinks) > MAX_SINKS:
            problems.append(Problem("sinks", f"has more than {MAX_SINKS} sinks"))
        taken: dict[str, str] = {}
        for name, sink in self.sinks.items():
            place = str(sink.path) if sink.kind == "file" else "standard output" if sink.kind == "stdout" else ""
            if place and place in taken:
                problems.append(Problem(f"sinks.{name}", f"writes where sinks.{taken[place]} does"))
            taken.setdefault(place, name)
            if not name.isascii() or not name.replace("-", "").replace("_", "").isalnum() or len(name) > 64:
                problems.append(Problem(f"sinks.{name}", "has a name that is not 1 to 64 letters, digits, - and _"))
        cross_check(problems)
        return self


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
