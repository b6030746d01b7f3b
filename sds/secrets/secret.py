"""A named secret: its name, its kind and where its values come from. Pure; the values themselves are elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType

from ca.masked import Masked

TICKETS = "tickets"
"""The reserved name under which every identity has its own session-ticket keys."""

_NOTHING: Mapping[str, str] = MappingProxyType({})


class SecretKind(StrEnum):
    """What Envoy is sent. The names of its fields, as `SecretValue` has them, stand behind each."""

    GENERIC = "generic"
    """One value, under the empty field name (Envoy's GenericSecret.secret)."""
    MAP = "map"
    """Several values by name (Envoy's GenericSecret.secrets)."""
    CERTIFICATE = "certificate"
    """`chain`, leaf first, and `private_key`, both PEM (Envoy's TlsCertificate)."""
    CA_BUNDLE = "ca_bundle"
    """`ca`: certificates to trust, PEM (Envoy's CertificateValidationContext)."""
    TICKETS = "tickets"
    """Keys of 80 bytes each, named by their place: `0` encrypts, all decrypt (Envoy's TlsSessionTicketKeys)."""


@dataclass(frozen=True, slots=True)
class EmbeddedSource:
    """Versions are kept here, encrypted, and written with `sds secret put`."""


@dataclass(frozen=True, slots=True)
class KvSource:
    """A secret of a Vault KV version 2 engine. `fields`: our field to the engine's; empty takes them as they are."""

    mount: str
    path: str
    fields: Mapping[str, str] = field(default_factory=lambda: _NOTHING)


@dataclass(frozen=True, slots=True)
class DatabaseSource:
    """Credentials that Vault's database engine makes for each identity by itself: fields `username`, `password`."""

    mount: str
    role: str


@dataclass(frozen=True, slots=True)
class PkiSource:
    """A certificate, with its key, that Vault's PKI engine issues by `role`. `ttl` None: the role's."""

    mount: str
    role: str
    common_name: str
    dns_names: tuple[str, ...] = ()
    ttl: timedelta | None = None


Source = EmbeddedSource | KvSource | DatabaseSource | PkiSource


@dataclass(frozen=True, slots=True)
class RotationPolicy:
    """When a value is too old. `generate` bytes of randomness replace one of the embedded backend by themselves.

    `every` None: no age is too old. Without `generate` a value that is older raises an alarm and stays.
    """

    every: timedelta | None = None
    generate: int = 0


@dataclass(frozen=True, slots=True)
class SecretSpec:
    """What an operator defines; `sds.secrets.rules` judges it. `refresh` None: the adaptive interval."""

    name: str
    kind: SecretKind
    source: Source
    owner: str = ""
    labels: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    refresh: timedelta | None = None
    rotation: RotationPolicy = RotationPolicy()


@dataclass(frozen=True, slots=True)
class Secret:
    """A stored definition. `revision` starts at 1 and grows by one with every change of it.

    `pinned`: the version that is delivered instead of the newest, after a rollback.
    """

    id: str
    revision: int
    created_at: datetime
    updated_at: datetime
    spec: SecretSpec
    pinned: int | None = None

    @property
    def name(self) -> str:
        return self.spec.name


@dataclass(frozen=True, slots=True)
class SecretState:
    """How a secret stands at its source. `version` is the one in use, "" before the first; `problem` "" if none."""

    version: str = ""
    changed_at: datetime | None = None
    checked_at: datetime | None = None
    not_after: datetime | None = None
    problem: str = ""
    problem_code: str = ""
    problem_since: datetime | None = None


@dataclass(frozen=True, slots=True, eq=False)
class SecretValue:
    """A value that has been judged fit to be sent. `version` names it, and is not made from it.

    `not_after`: when it ends by itself (a certificate, leased credentials), else None.
    """

    kind: SecretKind
    version: str
    fields: tuple[tuple[str, Masked[bytes]], ...] = field(repr=False)
    not_after: datetime | None = None


@dataclass(frozen=True, slots=True)
class VersionInfo:
    """One version as operators see it."""

    version: str
    created_at: datetime | None = None
    created_by: str = ""
    state: str = "live"
    """`live`, `deleted` or `destroyed`."""
