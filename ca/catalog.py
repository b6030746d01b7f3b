"""Which key managers and upstream authorities there are: explicit tables, name to factory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType

from attestation.spiffe_id import TrustDomain
from ca.key_manager import KeyManager
from ca.key_managers import pkcs11, transit, wrapped
from ca.key_managers.pkcs11 import Pkcs11KeyManager
from ca.key_managers.token import TokenConfig
from ca.key_managers.transit import TransitConfig, TransitKeyManager
from ca.key_managers.wrapped import WrappedKeyManager
from ca.upstream import UpstreamAuthority
from ca.upstreams import disk, nested, self_signed, vault_pki
from ca.upstreams.disk import DiskUpstream, IssuerFiles
from ca.upstreams.nested import IntermediateSource, NestedUpstream
from ca.upstreams.self_signed import SelfSignedUpstream
from ca.upstreams.vault_pki import PkiMount, VaultPkiUpstream


@dataclass(frozen=True, slots=True)
class KeyManagerParts:
    """What key managers are made of. One without a config is off."""

    trust_domain: TrustDomain
    random_bytes: Callable[[int], bytes]
    """Fit for secrets (os.urandom)."""
    monotonic: Callable[[], float]
    wrapped: WrappedKeyManager
    """Made with the key file that it needs to open its keys."""
    pkcs11: TokenConfig | None = None
    vault_transit: TransitConfig | None = None


KEY_MANAGERS: Mapping[str, Callable[[KeyManagerParts], KeyManager | None]] = MappingProxyType(
    {
        wrapped.NAME: lambda parts: parts.wrapped,
        pkcs11.NAME: lambda parts: _pkcs11(parts, parts.pkcs11) if parts.pkcs11 else None,
        transit.NAME: lambda parts: (
            TransitKeyManager(parts.vault_transit, parts.trust_domain, parts.random_bytes)
            if parts.vault_transit
            else None
        ),
    }
)
"""Any number may be configured, one of which makes new keys."""


def key_managers(parts: KeyManagerParts) -> dict[str, KeyManager]:
    """All that are configured, by name. Opens nothing."""
    made = {name: factory(parts) for name, factory in KEY_MANAGERS.items()}
    return {name: manager for name, manager in made.items() if manager is not None}


def _pkcs11(parts: KeyManagerParts, config: TokenConfig) -> KeyManager:
    return Pkcs11KeyManager(config, parts.trust_domain, parts.random_bytes, parts.monotonic)


@dataclass(frozen=True, slots=True)
class UpstreamParts:
    """What upstream authorities are made of. One without its source cannot be chosen."""

    serial_source: Callable[[], int]
    backdate: timedelta
    disk: IssuerFiles | None = None
    sds: IntermediateSource | None = None
    vault_pki: PkiMount | None = None


UPSTREAMS: Mapping[str, Callable[[UpstreamParts], UpstreamAuthority | None]] = MappingProxyType(
    {
        self_signed.NAME: lambda parts: SelfSignedUpstream(parts.serial_source, parts.backdate),
        disk.NAME: lambda parts: (
            DiskUpstream(parts.disk, parts.serial_source, parts.backdate) if parts.disk is not None else None
        ),
        nested.NAME: lambda parts: NestedUpstream(parts.sds) if parts.sds is not None else None,
        vault_pki.NAME: lambda parts: (
            VaultPkiUpstream(parts.vault_pki, parts.backdate) if parts.vault_pki is not None else None
        ),
    }
)
"""Exactly one certifies new authorities."""


def upstream_authority(parts: UpstreamParts, chosen: str) -> UpstreamAuthority:
    """Raises ValueError for one whose source is not among `parts`."""
    made = UPSTREAMS[chosen](parts)
    if made is None:
        raise ValueError(f"the upstream {chosen!r} lacks what it is made of")
    return made
