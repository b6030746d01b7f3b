"""The server's configuration: every key, its default and its meaning (docs/config.md is made from this)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import model_validator

from ca.masked import Masked
from sds.config.admin import AdminSection
from sds.config.audit import AuditSection
from sds.config.ca.profiles import profile_problems
from sds.config.ca.section import CaSection
from sds.config.ca.upstream import DownstreamSection
from sds.config.common import HealthSection, LogSection, below, cross_check, same_port, with_default
from sds.config.database import DatabaseSection
from sds.config.endpoints import EndpointsSection
from sds.config.federation import FederationSection
from sds.config.grpc import GrpcSection
from sds.config.join_token import TokenSection
from sds.config.jwt import JwtSection
from sds.config.kek import KekSection
from sds.config.limits import ServerLimits
from sds.config.named_secrets.section import SecretsSection
from sds.config.noticing.section import NoticesSection
from sds.config.revocation import RevocationSection
from sds.config.rotation import RotationSection
from sds.config.types import Address, Count, FilePath, ListenAddress, Section, SocketPath, TrustDomainName, key
from sds.config.vault import VaultSection
from sds.config.vault_uses import vault_problems

_DATA_DIR = Path("/var/lib/sds/server")
_LISTEN = Address("127.0.0.1", 8443)


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
    audit: AuditSection = AuditSection()
    admin: AdminSection = AdminSection()
    notices: NoticesSection = NoticesSection()
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
        addresses = {
            "listen": self.listen,
            "attest_listen": self.attest_listen,
            "health.listen": self.health.listen,
            "admin.listen": self.admin.listen,
        }
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
