"""The agent's configuration: every key, its default and its meaning (docs/config.md is made from this)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from pydantic import model_validator

from sds.config.agent_secrets import AgentSecretsSection
from sds.config.agent_spool import SpoolSection
from sds.config.ca.profile_values import ProfileNames
from sds.config.common import HealthSection, LogSection, below, cross_check, with_default
from sds.config.jwt import AgentJwtSection
from sds.config.problems import Problem
from sds.config.sinks import SinkSection, sink_problems
from sds.config.types import (
    Address,
    Count,
    Duration,
    FileMode,
    FilePath,
    KeyTypeName,
    Number,
    RemoteAddress,
    Section,
    SocketPath,
    key,
)

_DATA_DIR = Path("/var/lib/sds/agent")
_SOCKET = Path("/run/sds/sds.sock")
_MS = timedelta(milliseconds=1)
_SECOND = timedelta(seconds=1)
_HOUR = timedelta(hours=1)


class SdsSection(Section):
    """The names and habits of the Secret Discovery Service."""

    default_name: str = key(
        "Name that answers with the workload's default X.509-SVID.", default="default", min_length=1
    )
    bundle_name: str = key("Name that answers with the own trust domain's bundle.", default="ROOTCA", min_length=1)
    all_bundles_name: str = key(
        "Name that answers with every bundle, as Envoy's SPIFFE validator.", default="ALL", min_length=1
    )
    silent_stream_grace: Duration = key(
        "How long a new stream may stay silent before it is answered from remembered subscriptions (MOSN).",
        default=timedelta(seconds=1),
        le=timedelta(minutes=5),
    )
    max_remembered: Count = key("Processes whose subscriptions are remembered.", default=10_000, ge=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = {"default_name": self.default_name, "bundle_name": self.bundle_name}
        problems = [
            Problem(name, "must differ from the other two names")
            for name, value in names.items()
            if value in {self.all_bundles_name, *(v for n, v in names.items() if n != name)}
        ]
        problems.extend(
            Problem(name, "cannot be a SPIFFE ID", "SPIFFE IDs are always names of their own")
            for name in ("default_name", "bundle_name", "all_bundles_name")
            if getattr(self, name).startswith("spiffe://")
        )
        cross_check(problems)
        return self


class WorkloadApiSection(Section):
    """The SPIFFE Workload API, beside SDS on the same socket."""

    enabled: bool = key("Whether it is served.", default=True)


class AgentLimits(Section):
    """What one local user, one stream, or all together, may ask for."""

    max_connections: Count = key("Connections at once on the public socket.", default=20_000, ge=1)
    max_connections_per_uid: Count = key("Connections of one user at once.", default=10_000, ge=1)
    connection_rate: Number = key("New connections a second of one user.", default=1_000.0, gt=0)
    connection_burst: Count = key("New connections one user may make at once.", default=4_000, ge=1)
    max_streams: Count = key("Streams at once.", default=40_000, ge=1)
    max_streams_per_uid: Count = key("Streams of one user at once.", default=20_000, ge=1)
    max_streams_per_connection: Count = key("Streams on one connection.", default=200, ge=1, le=10_000)
    max_names: Count = key("Resource names one stream may subscribe to.", default=256, ge=1, le=10_000)
    max_name_bytes: Count = key("Length of one resource name.", default=2_048, ge=64, le=65_536)
    max_message_bytes: Count = key("Size of one message from a client.", default=262_144, ge=16_384, le=67_108_864)
    max_attestations: Count = key("Processes being attested at once; more wait.", default=64, ge=1)


class UnixAttestorSection(Section):
    """Facts about a caller that the kernel knows."""

    discover_names: bool = key("Selectors `unix:user`, `unix:group`, `unix:supplementary_group`.", default=True)
    discover_path: bool = key("Selector `unix:path`.", default=True)
    discover_sha256: bool = key("Selector `unix:sha256`; reads the whole binary once.", default=True)
    sha256_max_bytes: Count = key(
        "Binaries larger than this get no `unix:sha256`.", default=536_870_912, ge=0, le=2**40
    )


class AttestorsSection(Section):
    """Workload attestors, one table each."""

    unix: UnixAttestorSection = UnixAttestorSection()


class SvidSection(Section):
    """The workloads' certificates: their keys, and how they are kept fresh."""

    key_type: KeyTypeName = key(
        "Key type of the workloads' certificates: `ecdsa-p256`, `ecdsa-p384`, `ed25519`, `rsa-2048`, `rsa-3072` or "
        "`rsa-4096`. Not every sidecar takes every one: see key-types.md.",
        default="ecdsa-p256",
    )
    warm_for: Duration = key(
        "How long a certificate is kept and renewed after its last stream closed.", default=timedelta(minutes=10)
    )
    renewal_jitter: Number = key(
        "Renewal is at half-life, moved by up to this share of the half to either side.", default=0.1, ge=0, le=0.5
    )
    replace_within: Duration = key(
        "The certificates of a tainted authority are replaced over this time, or over a tenth of the life that each "
        "has left if that is less. Revoked ones are replaced at once.",
        default=timedelta(minutes=5),
        le=timedelta(days=1),
    )
    ocsp_staple: ProfileNames = key(
        "Certificate profiles whose certificates get an OCSP answer to staple, for clients that look at it; entries "
        "without a profile have `workload`.",
        default=(),
        shown="none",
    )
    reattest_interval: Duration = key(
        "How often the process behind a live stream is attested again.", default=timedelta(minutes=1), ge=_SECOND
    )


class UpstreamSection(Section):
    """The connection to the server."""

    connect_timeout: Duration = key("How long one connection attempt may take.", default=10 * _SECOND, ge=100 * _MS)
    call_timeout: Duration = key("How long one call may take.", default=30 * _SECOND, ge=100 * _MS)
    backoff_min: Duration = key("First pause after a failure; doubled, with jitter.", default=500 * _MS, ge=10 * _MS)
    backoff_max: Duration = key("Longest pause after a failure.", default=30 * _SECOND, ge=10 * _MS, le=_HOUR)
    keepalive: Duration = key("Time of silence after which the server is probed.", default=20 * _SECOND, ge=_SECOND)
    keepalive_timeout: Duration = key(
        "Time without an answer to a probe after which the connection is made anew.", default=10 * _SECOND, ge=_SECOND
    )
    sign_batch: Count = key("Most certificates asked for in one call.", default=200, ge=1, le=10_000)
    report_interval: Duration = key("How often deliveries are reported.", default=_SECOND, ge=10 * _MS, le=_HOUR)
    report_queue: Count = key("Events kept for the next report; more are counted and dropped.", default=10_000, ge=1)
    sidecars_return: Duration = key(
        "After a restart sidecars of before may still be on their way back (Envoy waits up to 30s), with older "
        "bundles. For so long the agent tells no server that all have the newest, and a rotation waits.",
        default=timedelta(seconds=35),
        le=timedelta(minutes=10),
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.backoff_min > self.backoff_max:
            cross_check([Problem("backoff_min", "is longer than upstream.backoff_max")])
        return self


class AgentConfig(Section):
    """Everything `sds agent run` can be told."""

    server: RemoteAddress = key("The server's `listen` address.")
    attest_server: RemoteAddress = key("The server's `attest_listen` address.", shown="`server`, next port")
    trust_bundle: FilePath | None = key(
        "File with the trust domain's bundle (PEM or SPIFFE JSON), needed until the data folder holds one. After that "
        "it serves only to attest anew, if it was written since this agent's last SVID was issued.",
        default=None,
        shown="none",
    )
    join_token_file: FilePath | None = key(
        "File with a one-time join token, needed until the data folder holds an SVID.", default=None, shown="none"
    )
    data_dir: FilePath = key("Folder for the agent's own SVID, key and bundle; made 0700.", default=_DATA_DIR)
    socket: SocketPath = key("The public Unix socket that sidecars connect to.", default=_SOCKET)
    socket_mode: FileMode = key(
        "File mode of the public socket. Who may connect is not who gets something: every caller is attested.",
        default=0o666,
        shown='"0666"',
    )
    api_socket: SocketPath | None = key(
        "Unix socket of the HTTP API by which applications read secrets without a sidecar; its mode is `socket_mode`.",
        default=None,
        shown="none",
    )
    admin_socket: SocketPath = key("Unix socket (0600) of the agent's own admin API.", shown="DATA_DIR/admin.sock")
    drain_timeout: Duration = key("How long SIGTERM waits for streams to end.", default=5 * _SECOND, le=_HOUR)
    nofile: Count = key("Open files asked for at start (RLIMIT_NOFILE).", default=131_072, ge=256)
    sds: SdsSection = SdsSection()
    workload_api: WorkloadApiSection = WorkloadApiSection()
    limits: AgentLimits = AgentLimits()
    attestors: AttestorsSection = AttestorsSection()
    svid: SvidSection = SvidSection()
    jwt: AgentJwtSection = AgentJwtSection()
    secrets: AgentSecretsSection = AgentSecretsSection()
    sinks: dict[str, SinkSection] = key(
        "Files that are kept up to date with secrets.", default_factory=dict, shown="none"
    )
    upstream: UpstreamSection = UpstreamSection()
    spool: SpoolSection = SpoolSection()
    health: HealthSection = HealthSection()
    log: LogSection = LogSection()

    @model_validator(mode="before")
    @classmethod
    def _derive(cls, data: Any) -> Any:
        """Fill the defaults that follow from other keys."""
        if not isinstance(data, Mapping):
            return data
        data_dir = data.get("data_dir", _DATA_DIR)
        folder = Path(data_dir).expanduser() if isinstance(data_dir, str | Path) and data_dir else _DATA_DIR
        filled = with_default(data, ("admin_socket",), folder / "admin.sock")
        server = data.get("server")
        try:
            main = server if isinstance(server, Address) else Address.parse(str(server))
        except ValueError:
            main = Address("server.invalid", 1)  # `server` itself is reported; this must not be
        return with_default(filled, ("attest_server",), main.next_port())

    @model_validator(mode="after")
    def _check(self) -> Self:
        paths = {"socket": self.socket, "admin_socket": self.admin_socket, "api_socket": self.api_socket}
        problems, taken = [], dict[Path, str]()
        for name, path in paths.items():
            if path is not None and path in taken:
                problems.append(Problem(name, f"is the same path as {taken[path]}", "give each socket its own path"))
            elif path is not None:
                taken[path] = name
        cross_check([*problems, *below("sinks", sink_problems(self.sinks))])
        return self
