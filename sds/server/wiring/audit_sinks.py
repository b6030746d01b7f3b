"""The audit log's sinks, put together from the configuration."""

from __future__ import annotations

import os
import socket
import ssl
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

from ca.masked import Masked
from sds.audit.sinks.syslog import SyslogFormat
from sds.backoff import Backoff
from sds.clock import Clock
from sds.config import ConfigError, Problem, ServerConfig
from sds.config.audit import AuditSinkSection
from sds.http.tls import CIPHERS
from sds.server.audit_sinks.blocking import Threaded
from sds.server.audit_sinks.engine import AuditSinks
from sds.server.audit_sinks.feeder import Feeder, FeedParts, SinkPlan
from sds.server.audit_sinks.file import FileWriter
from sds.server.audit_sinks.http import HttpOutlet, HttpPlace, Otlp, Webhook
from sds.server.audit_sinks.outlet import Outlet
from sds.server.audit_sinks.stdout import StdoutWriter
from sds.server.audit_sinks.syslog import SyslogPlace, SyslogWriter
from sds.server.audit_sinks.telemetry import SinkTelemetry
from sds.server.audit_sinks.watch import LedgerWatch
from sds.server.events import Events
from sds.server.telemetry import Telemetry
from sds.server.transactions import Transactions

_FIRST_PAUSE = timedelta(milliseconds=500)
SHORTEST, LONGEST = 32, 4096  # bytes of a signing key or a token


def open_audit_sinks(
    config: ServerConfig, store: Transactions, events: Events, telemetry: Telemetry, clock: Clock
) -> AuditSinks:
    """Nothing is opened or connected yet. Raises ConfigError. Blocks."""
    sections = config.audit.sinks
    observer = SinkTelemetry(telemetry.metrics.audit_sinks)
    watch = LedgerWatch(store, sections, clock, observer)
    parts = FeedParts(store, events, watch, clock, observer, f"{events.node}/{uuid4().hex}")
    plans = [sink_plan(name, section) for name, section in sections.items()]
    outlets = [sink_outlet(name, section, clock) for name, section in sections.items()]
    feeders = [Feeder(plan, outlet, parts) for plan, outlet in zip(plans, outlets, strict=True)]
    return AuditSinks(plans, feeders, watch)


def sink_plan(name: str, section: AuditSinkSection) -> SinkPlan:
    backoff = Backoff(_FIRST_PAUSE, section.backoff_max)
    return SinkPlan(name, section.kind, section.batch, section.start == "newest", section.timeout, backoff)


def sink_outlet(name: str, section: AuditSinkSection, clock: Clock) -> Outlet:
    """Raises ConfigError."""
    where, seconds = f"audit.sinks.{name}", section.timeout.total_seconds()
    match section.kind:
        case "stdout":
            return Threaded(name, StdoutWriter(clock.monotonic), seconds)
        case "file" if section.path is not None:
            return Threaded(name, FileWriter(section.path), seconds)
        case "syslog":
            form = SyslogFormat(section.facility, section.enterprise_number, section.max_bytes, socket.gethostname())
            writer = SyslogWriter(_syslog(where, section), form, clock.now, clock.monotonic)
            return Threaded(name, writer, seconds)
        case "webhook":
            key = _secret(f"{where}.signing_key", section.signing_key_file, section.signing_key_env)
            if key is not None:
                return HttpOutlet(_http(where, section), Webhook(name, key, clock.now))
        case "otlp":
            return HttpOutlet(_http(where, section), Otlp(name, socket.gethostname(), clock.now))
    raise ValueError("the configuration was not checked")


def _syslog(where: str, section: AuditSinkSection) -> SyslogPlace:
    if section.transport == "unix":
        return SyslogPlace("unix", path=section.socket)
    if section.address is None:
        raise ValueError("the configuration was not checked")
    host, port = section.address.host, section.address.port
    tls = _tls(where, section) if section.transport == "tls" else None
    return SyslogPlace(section.transport, None, host, port, tls, section.server_name or host)


def _http(where: str, section: AuditSinkSection) -> HttpPlace:
    url = section.url or ""
    tls = _tls(where, section) if url.startswith("https:") else None
    bearer = _secret(f"{where}.bearer", section.bearer_file, section.bearer_env, shortest=1)
    return HttpPlace(url, section.timeout.total_seconds(), tls, bearer)


def _tls(where: str, section: AuditSinkSection) -> ssl.SSLContext:
    """RFC 6125 by the standard library, RFC 5425 for syslog. Raises ConfigError."""
    try:
        context = ssl.create_default_context(cafile=None if section.ca_file is None else str(section.ca_file))
        if section.cert_file is not None:
            context.load_cert_chain(section.cert_file, section.key_file, password=lambda: "")
    except (OSError, ssl.SSLError) as error:
        reason = "is not PEM, or the two do not fit" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigError([Problem(where, f"has a ca_, cert_ or key_file that cannot be used: {reason}")]) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    return context


def _secret(name: str, path: Path | None, variable: str | None, shortest: int = SHORTEST) -> Masked[bytes] | None:
    """From the file, or the environment. Raises ConfigError, which shows nothing of it."""
    if path is not None:
        content = _read(f"{name}_file", path)
    elif variable is not None:
        name, content = f"{name}_env", os.environb.get(variable.encode(), b"").strip()
    else:
        return None
    if not shortest <= len(content) <= LONGEST or b"\n" in content or b"\r" in content:
        raise ConfigError([Problem(name, f"has not {shortest} to {LONGEST} bytes on one line in it")])
    return Masked(content)


def _read(name: str, path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(LONGEST + 1).strip()
            others = os.fstat(file.fileno()).st_mode & 0o007
    except OSError as error:
        raise ConfigError([Problem(f"{name}", f"cannot be read: {error.strerror}")]) from None
    if others:
        raise ConfigError([Problem(name, f"can be read by others: chmod 600 {path}")])
    return content
