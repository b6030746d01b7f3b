"""Other trust domains: where their bundles are had, and what is known of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from attestation.spiffe_id import TrustDomain
from ca.bundle import TrustBundle
from sds.admin.services.common import AdminCall
from sds.admin.services.conditions import ANY, Condition
from sds.store.federations import BundleSource, FederationRecord


@dataclass(frozen=True, slots=True)
class FederationInfo:
    """A relationship, and how many entries federate with the trust domain."""

    record: FederationRecord
    entries: int


@dataclass(frozen=True, slots=True)
class CreatedFederation:
    """`created` is False for one that stood already with the same endpoint."""

    federation: FederationInfo
    created: bool


class FederationAdmin(Protocol):
    """Methods that name a trust domain raise NotFound where there is no relationship, Conflict if a condition fails."""

    async def create(
        self, call: AdminCall, trust_domain: TrustDomain, source: BundleSource, unverified_bundle: bytes | None
    ) -> CreatedFederation:
        """Begins to federate; the endpoint is polled at once. `unverified_bundle`: what to start from, PEM or SPIFFE.

        Raises InvalidInput (fields trust_domain, endpoint_url, endpoint_id, profile, bundle), or AlreadyFederated for
        one that stands with another endpoint.
        """
        ...

    async def all(self) -> tuple[FederationInfo, ...]:
        """In order of their names."""
        ...

    async def get(self, trust_domain: TrustDomain) -> FederationInfo: ...

    async def bundle(self, trust_domain: TrustDomain) -> TrustBundle:
        """Raises NotFound, too, while there is none."""
        ...

    async def update(
        self, call: AdminCall, trust_domain: TrustDomain, source: BundleSource, condition: Condition = ANY
    ) -> FederationInfo:
        """Another endpoint from now on. Raises InvalidInput."""
        ...

    async def set_bundle(
        self, call: AdminCall, trust_domain: TrustDomain, unverified_bundle: bytes, condition: Condition = ANY
    ) -> FederationInfo:
        """Replaces the bundle whatever its sequence is. Raises InvalidInput (field bundle)."""
        ...

    async def refresh(self, call: AdminCall, trust_domain: TrustDomain) -> FederationInfo:
        """Polls the endpoint now; `record.problem` says what came of it. Raises InvalidInput where there is none."""
        ...

    async def delete(self, call: AdminCall, trust_domain: TrustDomain, condition: Condition = ANY) -> FederationInfo:
        """Ends the relationship; what stood. Workloads lose the bundle at once."""
        ...
