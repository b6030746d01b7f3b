"""Federation for the admin API's tests, in memory; no endpoint is ever asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from typing import TypeAlias

from attestation.spiffe_id import TrustDomain
from ca.bundle import TrustBundle, parse_pem, parse_spiffe_json
from ca.errors import InvalidBundle
from sds.admin.errors import AlreadyFederated, FieldProblem, InvalidInput
from sds.admin.services import AdminCall, CreatedFederation, FederationInfo
from sds.admin.services.conditions import ANY, Condition
from sds.admin.services.versions import federation_version
from sds.audit.event import Outcome
from sds.store.errors import NotFound
from sds.store.federations import BundleSource, EndpointProfile, FederationRecord

Append: TypeAlias = Callable[[AdminCall, str, str, Outcome], Awaitable[None]]


class FakeFederations:
    """Implements sds.admin.services.FederationAdmin. `answers`: what a refresh brings, a bundle or a problem."""

    def __init__(self, now: Callable[[], datetime], append: Append, own: TrustDomain) -> None:
        self._now = now
        self._append = append
        self._own = own
        self.rows: dict[TrustDomain, FederationRecord] = {}
        self.entries: Counter[TrustDomain] = Counter()
        self.answers: dict[TrustDomain, TrustBundle | str] = {}

    async def create(
        self, call: AdminCall, trust_domain: TrustDomain, source: BundleSource, unverified_bundle: bytes | None
    ) -> CreatedFederation:
        bundle = None if unverified_bundle is None else _read(trust_domain, unverified_bundle)
        if trust_domain == self._own:
            raise InvalidInput([FieldProblem("trust_domain", "is our own trust domain")])
        standing = self.rows.get(trust_domain)
        if standing is not None and standing.source != source:
            raise AlreadyFederated(trust_domain.name)
        if standing is None:
            now = self._now()
            self.rows[trust_domain] = FederationRecord(trust_domain, source, bundle, created_at=now, updated_at=now)
            await self._append(call, "federation.create", trust_domain.name, Outcome.SUCCESS)
        return CreatedFederation(await self.get(trust_domain), standing is None)

    async def all(self) -> tuple[FederationInfo, ...]:
        return tuple([await self.get(domain) for domain in sorted(self.rows)])

    async def get(self, trust_domain: TrustDomain) -> FederationInfo:
        if trust_domain not in self.rows:
            raise NotFound("federated trust domain", trust_domain.name)
        return FederationInfo(self.rows[trust_domain], self.entries[trust_domain])

    async def bundle(self, trust_domain: TrustDomain) -> TrustBundle:
        bundle = (await self.get(trust_domain)).record.bundle
        if bundle is None:
            raise NotFound("bundle of the trust domain", trust_domain.name)
        return bundle

    async def update(
        self, call: AdminCall, trust_domain: TrustDomain, source: BundleSource, condition: Condition = ANY
    ) -> FederationInfo:
        await self._as_wanted(trust_domain, condition)
        await self._append(call, "federation.update", trust_domain.name, Outcome.SUCCESS)
        return await self._put(trust_domain, source=source, tried_at=None, problem="")

    async def set_bundle(
        self, call: AdminCall, trust_domain: TrustDomain, unverified_bundle: bytes, condition: Condition = ANY
    ) -> FederationInfo:
        await self._as_wanted(trust_domain, condition)
        bundle = _read(trust_domain, unverified_bundle)
        await self._append(call, "federation.bundle", trust_domain.name, Outcome.SUCCESS)
        return await self._put(trust_domain, bundle=bundle, problem="")

    async def refresh(self, call: AdminCall, trust_domain: TrustDomain) -> FederationInfo:
        record = (await self.get(trust_domain)).record
        if record.source.profile is EndpointProfile.STATIC:
            raise InvalidInput([FieldProblem("profile", "is static: there is no endpoint to ask; set a bundle")])
        answer = self.answers.get(trust_domain, "cannot connect: nobody there")
        now = self._now()
        if isinstance(answer, str):
            return await self._put(trust_domain, tried_at=now, problem=answer)
        await self._append(call, "federation.bundle", trust_domain.name, Outcome.SUCCESS)
        return await self._put(trust_domain, bundle=answer, tried_at=now, fetched_at=now, problem="")

    async def delete(self, call: AdminCall, trust_domain: TrustDomain, condition: Condition = ANY) -> FederationInfo:
        gone = await self._as_wanted(trust_domain, condition)
        del self.rows[trust_domain]
        await self._append(call, "federation.delete", trust_domain.name, Outcome.SUCCESS)
        return gone

    async def _as_wanted(self, trust_domain: TrustDomain, condition: Condition) -> FederationInfo:
        info = await self.get(trust_domain)
        condition.check(f"federation {trust_domain.name}", federation_version(info.record))
        return info

    async def _put(self, trust_domain: TrustDomain, **changes: object) -> FederationInfo:
        self.rows[trust_domain] = replace(self.rows[trust_domain], **changes)  # type: ignore[arg-type]
        return await self.get(trust_domain)


def _read(trust_domain: TrustDomain, unverified: bytes) -> TrustBundle:
    parse = parse_spiffe_json if unverified.lstrip()[:1] == b"{" else parse_pem
    try:
        return parse(trust_domain, unverified)
    except InvalidBundle as error:
        raise InvalidInput([FieldProblem("bundle", str(error))]) from None
