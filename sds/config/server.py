"""The server's configuration: every key, its default and its meaning (docs/config.md is made from this)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import model_validator

from ca.masked import Masked
from ca.profile import ProfileName
from sds.config.common import HealthSection, LogSection, below, cross_check, same_port, with_default
from sds.config.endpoints import EndpointsSection
from sds.config.federation import FederationSection
from sds.config.jwt import JwtSection
from sds.config.key_manager import TOKEN_KEY_TYPES, KeyManagerSection
from sds.config.problems import Problem
from sds.config.profiles import BuiltIn, Lifetimes, ProfileSection, profile_problems
from sds.config.revocation import RevocationSection
from sds.config.rotation import RotationSection
from sds.config.secrets import SecretsSection
from sds.config.types import (
    Address,
    AuthorityKeyTypeName,
    Count,
    DatabaseUrl,
    Duration,
    FilePath,
    ListenAddress,
    Number,
    Section,
    SocketPath,
    TrustDomainName,
    key,
)
from sds.config.upstream import DownstreamSection, UpstreamAuthoritySection
from sds.config.vault import VaultSection
from sds.config.vault_uses import TRANSIT_KEY_TYPES, VAULT_TRANSIT, TransitKekSection, vault_problems
from sds.durations import format_duration

_DATA_DIR = Path("/var/lib/sds/server")
_LISTEN = Address("127.0.0.1", 8443)
_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)
KekPlugin = Literal["file", "vault_transit"]
_WORKERS = min(max(len(os.sched_getaffinity(0)) - 1, 0), 4)


class DatabaseSection(Section):
    """Where entries, certificates, authorities and the audit log are kept."""

    url: DatabaseUrl = key(
        "`sqlite:///PATH` or `postgresql://USER@HOST/DATABASE`. A password in it is masked everywhere, but a "
        "`password_file` is better.",
        shown="sqlite:///DATA_DIR/sds.sqlite3",
    )
    password_file: FilePath | None = key("File with the database password, read at start.", default=None, shown="none")
    migrate: bool = key("Upgrade an older schema at start. If false, run `sds db upgrade` first.", default=True)
    pool_size: Count = key("Most connections at once.", default=10, ge=2, le=200)
    busy_timeout: Duration = key(
        "How long one transaction waits for a lock before it is refused.",
        default=timedelta(seconds=5),
        ge=timedelta(milliseconds=100),
        le=timedelta(minutes=5),
    )
    poll_interval: Duration = key(
        "PostgreSQL: how often the change feed is read when no notification came.",
        default=5 * _SECOND,
        ge=timedelta(milliseconds=100),
        le=timedelta(minutes=5),
    )


class KekSection(Section):
    """The key-encryption key that wraps the authorities' private keys and the secrets' data keys at rest."""

    plugin: KekPlugin = key(
        "Where it is. `file`: in a file on each host. `vault_transit`: in the database, encrypted by a key in Vault. A "
        "change of this moves it at the next start.",
        default="file",
    )
    file: FilePath = key(
        "Key file, made with mode 0600 at first start. Keep a copy off the host.", shown="DATA_DIR/kek"
    )
    vault_transit: TransitKekSection = TransitKekSection()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.plugin == VAULT_TRANSIT and not self.vault_transit.mount:
            cross_check([Problem("vault_transit.mount", 'is needed for kek.plugin = "vault_transit"')])
        return self


class CaSection(Section):
    """The certificate authority and the lifetimes of what it issues."""

    key_type: AuthorityKeyTypeName = key("Key type of new authorities; see key-types.md.", default="ecdsa-p256")
    post_quantum: bool = key(
        "Allow ML-DSA in `key_type`. Envoy verifies such certificates, few others do; see key-types.md.",
        default=False,
    )
    ttl: Duration = key(
        "Lifetime of a new authority.", default=365 * _DAY, ge=timedelta(minutes=1), le=timedelta(days=7300)
    )
    default_x509_ttl: Duration = key(
        "Lifetime of a workload's X.509-SVID whose entry names none.",
        default=timedelta(hours=1),
        ge=_SECOND,
        le=365 * _DAY,
    )
    min_x509_ttl: Duration = key(
        "Shortest lifetime an entry may ask for.", default=timedelta(seconds=5), ge=_SECOND, le=365 * _DAY
    )
    max_x509_ttl: Duration = key("Longest lifetime an entry may ask for.", default=_DAY, ge=_SECOND, le=365 * _DAY)
    agent_ttl: Duration = key(
        "Lifetime of an agent's own SVID, and so the longest time an agent may be away without a new join token.",
        default=_DAY,
        ge=5 * _SECOND,
        le=365 * _DAY,
    )
    server_ttl: Duration = key(
        "Lifetime of the server's own SVID.", default=timedelta(hours=1), ge=5 * _SECOND, le=365 * _DAY
    )
    backdate: Duration = key(
        "How far `not before` lies in the past, for hosts whose clocks lag.",
        default=timedelta(seconds=10),
        le=timedelta(hours=1),
    )
    refresh_hint: Duration = key(
        "How often users of the published bundle should fetch it again.",
        default=timedelta(minutes=5),
        ge=_SECOND,
        le=7 * _DAY,
    )
    key_manager: KeyManagerSection = KeyManagerSection()
    upstream: UpstreamAuthoritySection = UpstreamAuthoritySection()
    profiles: dict[str, ProfileSection] = key(
        "Certificate profiles.", default_factory=dict, shown="none beside the built-in ones", reload=True
    )

    @property
    def profile_lifetimes(self) -> BuiltIn:
        """Those of the built-in profiles."""
        second = _SECOND
        return {
            ProfileName.WORKLOAD: Lifetimes(self.default_x509_ttl, self.min_x509_ttl, self.max_x509_ttl),
            ProfileName.AGENT: Lifetimes(self.agent_ttl, second, self.agent_ttl),
            ProfileName.SERVER: Lifetimes(self.server_ttl, second, self.server_ttl),
        }

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems: list[Problem] = []
        if self.key_type.startswith("mldsa-") and not self.post_quantum:
            problems.append(
                Problem("key_type", "is one that few programs verify", "set ca.post_quantum to use it all the same")
            )
        elif self.key_manager.plugin == "pkcs11" and self.key_type not in TOKEN_KEY_TYPES:
            kinds = ", ".join(sorted(TOKEN_KEY_TYPES))
            problems.append(Problem("key_type", "is not made in PKCS #11 tokens", f"use one of {kinds}"))
        elif self.key_manager.plugin == VAULT_TRANSIT and self.key_type not in TRANSIT_KEY_TYPES:
            kinds = ", ".join(sorted(TRANSIT_KEY_TYPES))
            problems.append(Problem("key_type", "is not made in Vault's Transit engine", f"use one of {kinds}"))
        if self.min_x509_ttl > self.max_x509_ttl:
            problems.append(Problem("min_x509_ttl", "is longer than ca.max_x509_ttl"))
        elif not self.min_x509_ttl <= self.default_x509_ttl <= self.max_x509_ttl:
            span = f"{format_duration(self.min_x509_ttl)} to {format_duration(self.max_x509_ttl)}"
            problems.append(Problem("default_x509_ttl", f"is outside ca.min_x509_ttl to ca.max_x509_ttl ({span})"))
        problems.extend(
            Problem(name, "is longer than the authority's own lifetime", "raise ca.ttl or lower this")
            for name in ("max_x509_ttl", "agent_ttl", "server_ttl")
            if getattr(self, name) > self.ttl
        )
        cross_check(problems)
        return self


class TokenSection(Section):
    """One-time join tokens for agents."""

    default_ttl: Duration = key(
        "Lifetime of a token that names none.", default=timedelta(minutes=10), ge=_SECOND, le=30 * _DAY
    )
    max_ttl: Duration = key("Longest lifetime that can be asked for.", default=_DAY, ge=_SECOND, le=30 * _DAY)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.default_ttl > self.max_ttl:
            cross_check([Problem("default_ttl", "is longer than join_token.max_ttl")])
        return self


class ServerLimits(Section):
    """What one peer, or all together, may ask for. Each is a ceiling on memory, processor time or disk."""

    attest_rate: Number = key("Attestations a second from one address.", default=1.0, reload=True, gt=0, le=10_000)
    attest_burst: Count = key("Attestations one address may make at once.", default=10, reload=True, ge=1, le=100_000)
    connection_rate: Number = key("New connections (TLS handshakes) a second from one address.", default=50.0, gt=0)
    connection_burst: Count = key("New connections one address may make at once.", default=200, ge=1)
    max_connections: Count = key("Connections at once on each listener.", default=10_000, ge=1)
    max_connections_per_address: Count = key("Connections at once from one address.", default=1_000, ge=1)
    handshake_timeout: Duration = key(
        "How long a new connection may take to say something.", default=10 * _SECOND, ge=_SECOND
    )
    max_watch_streams: Count = key("WatchAuthorized streams at once.", default=10_000, ge=1)
    max_watch_streams_per_agent: Count = key("WatchAuthorized streams of one agent at once.", default=4, ge=1)
    max_csr_batch: Count = key("Requests in one SignX509Svids call.", default=500, ge=1, le=10_000)
    max_csr_bytes: Count = key("Size of one CSR.", default=16_384, ge=1_024, le=1_048_576)
    max_message_bytes: Count = key("Size of one gRPC message.", default=4_194_304, ge=65_536, le=67_108_864)
    max_signing_queue: Count = key(
        "Requests that may wait for a signature, a quarter of them of one agent (or one full call, where that is "
        "more); more are refused as unavailable.",
        default=20_000,
        ge=1,
    )
    max_signing_batch: Count = key("Requests signed in one database transaction.", default=256, ge=1, le=10_000)
    signing_workers: Count = key(
        "Processes that prepare and sign large batches, started when first needed; 0: this process does it all. Each "
        "holds the active authority's key in memory, as the server does. Keys that never leave a PKCS #11 token or "
        "Vault are used by the server alone.",
        default=_WORKERS,
        ge=0,
        le=64,
        shown="processor cores less one, at most 4",
    )
    max_admin_body_bytes: Count = key("Size of one admin API request.", default=16_777_216, ge=65_536)


class GrpcSection(Section):
    """The node API's listeners."""

    reflection: bool = key("Serve gRPC reflection. Off: it tells everyone who connects what there is.", default=False)
    keepalive: Duration = key("Time of silence after which a peer is probed.", default=30 * _SECOND, ge=_SECOND)
    keepalive_timeout: Duration = key(
        "Time without an answer to a probe after which the connection is closed.", default=10 * _SECOND, ge=_SECOND
    )
    heartbeat: Duration = key(
        "How often a WatchAuthorized stream tells the server's time when nothing changes.",
        default=15 * _SECOND,
        ge=_SECOND,
    )
    drain_timeout: Duration = key(
        "How long SIGTERM waits for calls that are under way.", default=10 * _SECOND, le=timedelta(minutes=10)
    )


class ServerConfig(Section):
    """Everything `sds server run` can be told."""

    trust_domain: TrustDomainName = key("The trust domain that this server issues for, e.g. `example.org`.")
    data_dir: FilePath = key("Folder for the key file, SQLite and the admin socket; made 0700.", default=_DATA_DIR)
    listen: ListenAddress = key("Agents with an SVID connect here (mTLS).", default=_LISTEN)
    attest_listen: ListenAddress = key(
        "Agents without an SVID attest here (the server's TLS only).", shown="`listen`, next port"
    )
    admin_socket: SocketPath = key("Unix socket (0600) of the admin API.", shown="DATA_DIR/admin.sock")
    nofile: Count = key("Open files asked for at start (RLIMIT_NOFILE).", default=65_536, ge=256)
    database: DatabaseSection
    kek: KekSection
    ca: CaSection = CaSection()
    join_token: TokenSection = TokenSection()
    downstream: DownstreamSection = DownstreamSection()
    limits: ServerLimits = ServerLimits()
    grpc: GrpcSection = GrpcSection()
    jwt: JwtSection = JwtSection()
    rotation: RotationSection = RotationSection()
    revocation: RevocationSection = RevocationSection()
    endpoints: EndpointsSection = EndpointsSection()
    federation: FederationSection = FederationSection()
    secrets: SecretsSection = SecretsSection()
    vault: VaultSection = VaultSection()
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
        listen = data.get("listen", _LISTEN)
        try:
            main = listen if isinstance(listen, Address) else Address.parse(str(listen))
        except ValueError:
            main = _LISTEN
        filled = with_default(data, ("attest_listen",), main.next_port())
        filled = with_default(filled, ("admin_socket",), folder / "admin.sock")
        filled = with_default(filled, ("kek", "file"), folder / "kek")
        return with_default(filled, ("database", "url"), Masked(f"sqlite:///{folder.absolute() / 'sds.sqlite3'}"))

    @model_validator(mode="after")
    def _check(self) -> Self:
        addresses = {"listen": self.listen, "attest_listen": self.attest_listen, "health.listen": self.health.listen}
        ca = self.ca
        profiles = profile_problems(ca.profiles, ca.profile_lifetimes, self.trust_domain, ca.ttl)
        cross_check(
            [
                *same_port({**addresses, **self.endpoints.addresses}),
                *below("endpoints", self.endpoints.problems(self.jwt.issuer)),
                *below("ca.profiles", profiles),
                *self.vault.problems(self.jwt.issuer),
                *vault_problems(self),
                *below("rotation", self.rotation.problems(ca.ttl, self.jwt.max_ttl)),
            ]
        )
        return self
