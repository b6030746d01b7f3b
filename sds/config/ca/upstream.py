"""What is above this server, and what may be below it."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal, Self

from pydantic import model_validator

from sds.config.common import cross_check
from sds.config.problems import Problem
from sds.config.types import Count, Duration, FilePath, RemoteAddress, Section, key
from sds.config.vault_uses import VaultPkiUpstreamSection

UpstreamName = Literal["self_signed", "disk", "sds", "vault_pki"]

_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)


class DiskUpstreamSection(Section):
    """A company's own authority in files. They are read again when they change."""

    cert_file: FilePath | None = key(
        "The issuing authority's certificate (PEM), then those above it in order; the root may be left out if "
        "`bundle_file` has it.",
        default=None,
        shown="none",
    )
    key_file: FilePath | None = key(
        "Its private key (PEM, PKCS #8 or the older forms, not encrypted), closed to other users.",
        default=None,
        shown="none",
    )
    bundle_file: FilePath | None = key(
        "All roots that are to be trusted (PEM). Without it: the self-signed certificate that ends `cert_file`.",
        default=None,
        shown="none",
    )
    reload_interval: Duration = key(
        "How often the files are looked at.",
        default=5 * _SECOND,
        ge=timedelta(milliseconds=100),
        le=timedelta(hours=1),
    )


class SdsUpstreamSection(Section):
    """Another sds server of the same trust domain. This one is its agent, and keeps its SVID in `data_dir`/upstream."""

    server: RemoteAddress | None = key("The upstream server's `listen` address.", default=None, shown="none")
    attest_server: RemoteAddress | None = key(
        "The upstream server's `attest_listen` address.", default=None, shown="`server`, next port"
    )
    trust_bundle: FilePath | None = key(
        "File with the trust domain's bundle (PEM or SPIFFE JSON), needed until the data folder holds one.",
        default=None,
        shown="none",
    )
    join_token_file: FilePath | None = key(
        "File with a token of `sds token create --downstream`, needed until the data folder holds an SVID.",
        default=None,
        shown="none",
    )
    call_timeout: Duration = key("How long one call may take.", default=30 * _SECOND, ge=timedelta(milliseconds=100))
    backoff_min: Duration = key(
        "First pause after a failure; doubled, with jitter.",
        default=timedelta(milliseconds=500),
        ge=timedelta(milliseconds=10),
    )
    backoff_max: Duration = key("Longest pause after a failure.", default=30 * _SECOND, le=timedelta(hours=1))

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.backoff_min > self.backoff_max:
            cross_check([Problem("backoff_min", "is longer than ca.upstream.sds.backoff_max")])
        return self


class UpstreamAuthoritySection(Section):
    """Who certifies new authorities. Those that there are keep what they have."""

    plugin: UpstreamName = key(
        "`self_signed`: nobody, each authority is its own root. `disk`: an authority whose key lies in a file. "
        "`sds`: another sds server. `vault_pki`: an authority in Vault.",
        default="self_signed",
    )
    disk: DiskUpstreamSection = DiskUpstreamSection()
    sds: SdsUpstreamSection = SdsUpstreamSection()
    vault_pki: VaultPkiUpstreamSection = VaultPkiUpstreamSection()

    @model_validator(mode="after")
    def _check(self) -> Self:
        needed: dict[str, dict[str, object]] = {
            "disk": {"disk.cert_file": self.disk.cert_file, "disk.key_file": self.disk.key_file},
            "sds": {"sds.server": self.sds.server},
            "vault_pki": {"vault_pki.mount": self.vault_pki.mount or None},
        }
        missing = [name for name, value in needed.get(self.plugin, {}).items() if value is None]
        cross_check([Problem(name, f'is needed for ca.upstream.plugin = "{self.plugin}"') for name in missing])
        return self


class DownstreamSection(Section):
    """Signing certificates for sds servers below this one, enrolled with `sds token create --downstream`."""

    default_ttl: Duration = key(
        "Lifetime of one whose server names none.", default=7 * _DAY, ge=timedelta(minutes=1), le=3650 * _DAY
    )
    max_ttl: Duration = key(
        "Longest lifetime. It ends with our own authority at the latest. Sidecars do not learn that one was revoked: "
        "this bounds what a stolen one is good for.",
        default=30 * _DAY,
        ge=timedelta(minutes=1),
        le=3650 * _DAY,
    )
    path_length: Count = key("How many levels of servers may be below those.", default=0, ge=0, le=4)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.default_ttl > self.max_ttl:
            cross_check([Problem("default_ttl", "is longer than downstream.max_ttl")])
        return self
